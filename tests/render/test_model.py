"""Rendering against a field whose pictures are known."""

from __future__ import annotations

import math

import pytest
import torch

from fieldlab.data.cameras import Rays
from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field, FieldConfig
from fieldlab.fields.registry import build_field
from fieldlab.render.model import ModelConfig, RadianceModel, unit_length
from tests.scenes import ball_hit, ring_cameras, tiny_field

BOX = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)


class Shape(Field):
    """A field of given world functions on the box BOX: density, and color by position."""

    kind = "shape"

    def __init__(self, density, scale=2.0):
        super().__init__(FieldConfig(), scale)
        self.world, self.scale = density, scale

    @property
    def latent_size(self):
        return 1

    def geometry(self, x):
        points = x * self.scale - self.scale / 2
        return self.world(points).log(), torch.zeros(len(x), 1)

    def color(self, latent, x, directions, appearance=None):
        return x.clamp(0, 1)

    def param_groups(self):
        return []


def model_of(density, **changes) -> RadianceModel:
    settings = {"aabb": BOX, "step": 0.01, "grid_resolution": 32, **changes}
    return RadianceModel(Shape(density), ModelConfig(**settings))


def ball(points):
    return 2000.0 * (points.norm(dim=-1) < 0.6)


def test_ball_has_the_right_depth_color_and_outline():
    model, cameras = model_of(ball), ring_cameras(3, 32)
    for i in range(3):
        out = model.render_image(cameras, i, channels=("rgb", "depth", "opacity", "normal"))
        rays = cameras.image_rays(i)
        t, hit = ball_hit(rays)
        far = ball_hit(rays, 0.63)[1]
        opacity, depth = out["opacity"].view(-1), out["depth"].view(-1)
        inside = ball_hit(rays, 0.57)[1]
        assert bool((opacity[inside] > 0.999).all())
        assert float(opacity[~far].max()) == 0.0
        assert float((depth[inside] - t[inside]).abs().max()) < 0.015
        assert float(depth[~far].max()) == 0.0
        assert torch.equal(out["rgb"].view(-1, 3)[~far], torch.ones(int((~far).sum()), 3))
        points = (rays.origins + t[:, None] * rays.directions)[inside]
        assert float((out["rgb"].view(-1, 3)[inside] - (points + 1) / 2).abs().max()) < 0.01
        normals = torch.nn.functional.normalize(points, dim=-1)
        cosine = (out["normal"].view(-1, 3)[inside] * normals).sum(-1)
        assert float(cosine.min()) > 0.9
        assert hit.any()


def test_fog_has_the_opacity_of_beer_and_lambert():
    model = model_of(lambda p: torch.full((len(p),), 0.8))
    rays = Rays(torch.tensor([[-3.0, 0, 0], [0, 0, -2], [0, 5, 0]]), torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]]))
    out = model.render_rays(rays)
    assert torch.allclose(out.opacity, torch.tensor([1 - math.exp(-1.6), 1 - math.exp(-1.6), 0.0]), atol=1e-3)


@pytest.mark.parametrize("name", ["white", "black"])
def test_background(name):
    model = model_of(lambda p: torch.zeros(len(p)))
    rays = Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0, 1]]))
    out = model.render_rays(rays, background=model.background(name))
    assert torch.allclose(out.rgb, torch.full((1, 3), 1.0 if name == "white" else 0.0), atol=1e-6)


def test_chunks_do_not_matter():
    model, cameras = model_of(ball), ring_cameras(1, 16)
    whole = model.render_image(cameras, 0, channels=("rgb", "normal"))
    parts = model.render_image(cameras, 0, channels=("rgb", "normal"), chunk=37)
    assert torch.allclose(whole["rgb"], parts["rgb"], atol=1e-6)
    assert torch.allclose(whole["normal"], parts["normal"], atol=1e-3)


def test_dropping_hidden_samples_changes_little():
    model, cameras = model_of(ball), ring_cameras(1, 16)
    rays = cameras.image_rays(0)
    pruned, plain = model(rays, prune=True), model(rays)
    assert len(pruned.samples) < len(plain.samples) == pruned.n_marched
    assert torch.allclose(pruned.rgb, plain.rgb, atol=1e-3)


def test_seen_samples_are_those_light_comes_from_and_composite_as_all_do():
    model, rays = model_of(lambda p: torch.full((len(p),), 20.0)), ring_cameras(2, 8).image_rays(0)
    whole = model(rays, torch.zeros(3), early_stop=0.0)
    for stop in (1e-4, 0.05):
        seen = model.see(rays, early_stop=stop)
        assert seen.n_marched == len(whole.samples) == len(seen.visible) > len(seen.samples)
        assert torch.equal(seen.samples.t_starts, whole.samples.t_starts[seen.visible])
        assert torch.equal(seen.sigmas, model.field.density(model.points(rays, seen.samples)[0]))
        clear = torch.exp(-20.0 * 0.01 * torch.arange(int(seen.samples.counts.max())))
        assert int(seen.samples.counts.max()) == int((clear >= stop).sum())
        found = seen.composite(torch.ones(len(seen.samples), 1))
        assert torch.allclose(found.values[:, 0], whole.opacity, atol=stop)
        assert torch.allclose(found.weights, whole.weights[seen.visible], atol=1e-6)
    some = model.sample(rays, torch.full((len(rays),), 0.5))
    assert len(model.see(rays, some).visible) == len(some)


def test_near_hides_what_is_close():
    model = model_of(lambda p: torch.full((len(p),), 50.0), near=2.5)
    rays = Rays(torch.tensor([[-3.0, 0, 0]]), torch.tensor([[1.0, 0, 0]]))
    assert abs(float(model.render_rays(rays).depth) - 2.52) < 0.02


def test_bounded_scenes_are_empty_outside_the_box():
    model = model_of(lambda p: torch.ones(len(p)))
    points = torch.tensor([[0.0, 0, 0], [1.5, 0, 0], [0, -1.01, 0]])
    assert torch.allclose(model.density(points), torch.tensor([1.0, 0, 0]))


def test_unbounded_scenes_see_beyond_the_box():
    """A wall at x = 6, four cascades out, seen in contracted coordinates."""
    config = ModelConfig(BOX, step=0.02, unbounded=True, cascades=4, cone_angle=1 / 128, grid_resolution=32)
    field = Shape(lambda p: torch.where(p[:, 0] > 0.5 + 0.5 * (1 - 1 / 6), 100.0, 0.0), scale=2.0)
    model = RadianceModel(field, config)
    rays = Rays(torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]]))
    # In the cube the contraction takes u = 6 to (2 - 1/6) / 4 + 1/2; Shape scales the cube to -1..1.
    assert abs(float(model.render_rays(rays).depth) - 6.0) < 0.1


def test_missing_rays_have_no_samples():
    model = model_of(ball)
    out = model(Rays(torch.tensor([[0.0, 0, 5]]), torch.tensor([[0.0, 0, 1]])))
    assert len(out.samples) == 0
    assert float(out.opacity) == 0.0


def test_errors():
    model = model_of(ball)
    with pytest.raises(ConfigError, match="no such channel"):
        model.render_image(ring_cameras(1), 0, channels=("heat",))
    with pytest.raises(ConfigError, match="no such background"):
        model.background("plaid")
    with pytest.raises(ConfigError, match="box is empty"):
        model_of(ball, aabb=(0.0, 0, 0, 1, 1, 0))


def test_rendering_is_differentiable_in_the_field_and_the_rays():
    field = build_field(tiny_field(), 2.0, torch.Generator().manual_seed(0))
    field.encoding.table.data.mul_(1e3)
    model = RadianceModel(field, ModelConfig(BOX, step=0.05, grid_resolution=8))
    rays = ring_cameras(1, 4).image_rays(0)
    origins = rays.origins.clone().requires_grad_()
    model(Rays(origins, rays.directions)).rgb.sum().backward()
    assert float(origins.grad.abs().max()) > 0
    assert all(float(p.grad.abs().max()) > 0 for p in field.parameters())


def test_mean_appearance_is_used_without_images():
    field = build_field(tiny_field().with_appearance(2), 2.0, torch.Generator().manual_seed(0))
    model = RadianceModel(field, ModelConfig(BOX, step=0.05, grid_resolution=8, n_images=3))
    model.appearance.data.copy_(torch.tensor([[3.0, 0], [-3, 0], [0, 0]]))
    rays = ring_cameras(1, 4).image_rays(0)
    mean = model(rays).rgb
    third = model(rays, images=torch.full((16,), 2)).rgb
    first = model(rays, images=torch.zeros(16, dtype=torch.int64)).rgb
    assert torch.allclose(mean, third, atol=1e-6)
    assert not torch.allclose(mean, first, atol=1e-3)
    assert model.rgb(torch.zeros(2, 3), torch.eye(3)[:2]).shape == (2, 3)


def test_unit_length_is_the_side_of_the_cube_in_the_world():
    assert abs(unit_length(ModelConfig((0.0, 0, 0, 4, 4, 4), step=0.1)) - 4) < 1e-6
    assert abs(unit_length(ModelConfig((0.0, 0, 0, 4, 4, 4), step=0.1, unbounded=True)) - 8) < 1e-6
