"""Vector-matrix and CP fields: growth, the box they cover, checkpoints, budgets, and whether they learn."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldProgress
from fieldlab.fields.cp import CPConfig
from fieldlab.fields.low_rank import EMPTY, UPSAMPLE_AT
from fieldlab.fields.registry import build_field, config_from_dict, config_to_dict
from fieldlab.fields.vm import VMConfig
from fieldlab.render.build import build_model
from fieldlab.render.model import ModelConfig
from tests.scenes import ring_cameras

SMALL = [
    VMConfig(density_rank=4, appearance_rank=6, initial_resolution=9, resolution=17),
    CPConfig(density_rank=8, appearance_rank=12, initial_resolution=9, resolution=17),
]
pytestmark = pytest.mark.parametrize("config", SMALL, ids=["vm", "cp"])


def field_of(config, unit_length=1.0):
    return build_field(config, unit_length, torch.Generator().manual_seed(0))


def progress(fraction, occupied=lambda x: torch.ones(len(x), dtype=torch.bool), step=0):
    return FieldProgress(step, fraction, occupied, torch.Generator())


def middle(x):
    """Occupied in a box that ends on vertices of a lattice of nine."""
    return ((x > 0.26) & (x < 0.74)).all(-1)


def test_starts_at_density_one(config):
    field = field_of(config, unit_length=50.0)
    sigma = field.density(torch.rand(1000, 3)).detach() * 50.0
    assert 0.3 < float(sigma.log().mean().exp()) < 1.2
    assert float(sigma.max()) < 10.0


def test_density_is_that_of_the_geometry(config):
    field, x = field_of(config), torch.rand(200, 3)
    log_density, latent = field.geometry(x)
    assert latent.shape == (200, field.latent_size)
    assert torch.allclose(field.density(x), field.sigma(log_density))
    assert field.color(latent, x, torch.nn.functional.normalize(x, dim=-1)).shape == (200, 3)


def test_growth_reaches_the_final_size(config):
    field = field_of(config)
    assert field.n_parameters < config.size().trainable
    for fraction in (0.0, *UPSAMPLE_AT, 1.0):
        grown = field.schedule(progress(fraction))
        assert grown == (fraction in UPSAMPLE_AT)
    assert field.n_parameters == config.size().trainable
    assert field.n_fixed == config.size().fixed
    assert field.n_bytes == config.size().n_bytes
    assert not field.schedule(progress(1.0))


def test_growth_to_nested_vertices_keeps_the_function(config):
    field, x = field_of(config), torch.rand(300, 3)
    before = field.geometry(x)
    assert field.schedule(progress(1.0))  # from 9 to 17 vertices
    for a, b in zip(before, field.geometry(x), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_shrinking_keeps_the_function_inside(config):
    config = replace(config, resolution=config.initial_resolution)
    field = field_of(config)
    x = torch.rand(300, 3) * 0.5 + 0.25
    before = field.geometry(x)
    field._shrink(middle)
    assert torch.allclose(field.box, torch.tensor([[0.25] * 3, [0.75] * 3]))
    for a, b in zip(before, field.geometry(x), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    outside = torch.tensor([[0.2, 0.5, 0.5], [0.5, 0.5, 0.8]])
    assert torch.allclose(field.geometry(outside)[0], torch.tensor(EMPTY))


def test_shrunken_boxes_use_the_values_they_save(config):
    field = field_of(config)
    assert field.schedule(progress(1.0, lambda x: middle(x) & (x[:, 0] < 0.5)))
    assert field.cropped
    assert 0.7 * config.size().trainable < field.n_parameters <= config.size().trainable
    assert not field.schedule(progress(1.0, middle))


def test_nothing_occupied_does_not_shrink(config):
    field = field_of(config)
    field.schedule(progress(1.0, lambda x: torch.zeros(len(x), dtype=torch.bool)))
    assert not field.cropped


@pytest.mark.parametrize("fraction", [0.0, 0.08, 1.0])
def test_any_stage_round_trips(config, fraction):
    field, x = field_of(config), torch.rand(100, 3)
    field.schedule(progress(fraction, middle))
    other = field_of(config)
    arrays = {name: array.clone() for name, array in field.state_dict().items()}
    other.resize_like(arrays)
    other.load_state_dict(arrays)
    for a, b in zip(field.geometry(x), other.geometry(x), strict=True):
        assert torch.equal(a, b)
    assert field.schedule(progress(1.0, middle)) == other.schedule(progress(1.0, middle))
    assert field.specs == other.specs
    assert torch.equal(field.box, other.box)


def test_checkpoints_of_other_sizes_are_refused(config):
    larger = field_of(replace(config, resolution=64, initial_resolution=64))
    with pytest.raises(ConfigError, match="larger than its configuration"):
        field_of(config).resize_like(larger.state_dict())


def test_pictures_are_what_training_sees(config):
    model = build_model(config, ModelConfig((-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), step=0.02, grid_resolution=32), seed=3)
    model.field.schedule(progress(1.0, middle))
    with torch.no_grad():
        model.field.density_factors.mul_(8)
        model.field.appearance_factors.mul_(8)
    rays, back = ring_cameras(2, 24).image_rays(1), torch.tensor([0.2, 0.5, 0.9])
    with torch.no_grad():
        fused, separate = model.render_rays(rays, background=back), model(rays, back)
    assert float(separate.opacity.max()) > 0.3
    assert torch.allclose(fused.rgb, separate.rgb, atol=5e-3)
    assert torch.allclose(fused.opacity, separate.opacity, atol=1e-3)


@pytest.mark.parametrize("cropped", [False, True])
def test_plan_of_the_fused_renderer(config, cropped):
    field, x = field_of(config, unit_length=2.0), torch.rand(200, 3)
    field.schedule(progress(1.0, middle) if cropped else progress(1.0))
    plan = field.fused_plan()
    log_density, latent = field.geometry(x)
    expected_density, expected_latent = plan.geometry_reference(x)
    assert torch.allclose(log_density, expected_density, atol=1e-5)
    assert torch.allclose(latent, expected_latent, atol=1e-5)


def test_budgets(config):
    with pytest.raises(ConfigError, match="smaller than the smallest") as error:
        config.fitted_to(1000)
    least = int(str(error.value.expected).split()[-1])
    sizes = [config.fitted_to(budget).size().trainable for budget in (least, 100_000, 1_000_000)]
    assert sizes[0] == least
    assert all(size <= b for size, b in zip(sizes, (least, 100_000, 1_000_000), strict=True))
    assert sizes[1] > 80_000
    assert sizes[2] > 900_000
    assert sum(p.numel() for p in field_of(config.fitted_to(100_000)).parameters()) <= 100_000


def test_detail_follows_the_pixels(config):
    assert config.fitted_to_footprint(200.0).resolution == 200
    assert config.fitted_to_footprint(1e6).resolution <= 1024


@pytest.mark.parametrize(("name", "value"), [("density_rank", 0), ("appearance_rank", -1), ("resolution", 1)])
def test_impossible_configurations(config, name, value):
    with pytest.raises(ConfigError, match=name):
        config_from_dict({**config_to_dict(config), name: value})


def test_penalties_reach_the_gradients(config):
    field = field_of(replace(config, density_l1=1.0, total_variation=1.0))
    for factors in field.parameters():
        factors.grad = torch.zeros_like(factors)
    field.schedule(progress(0.0, step=3))
    field.regularize(0.0)
    assert not field.density_factors.grad.any()
    field.schedule(progress(0.0, step=4))
    field.regularize(0.0)
    assert field.density_factors.grad.any()
    assert field.appearance_factors.grad.any()


@pytest.mark.slow
def test_learns_a_ball(config):
    """Log-density of a ball and a color that varies: the loss falls well below that of a constant."""
    field, generator = field_of(config), torch.Generator().manual_seed(1)
    field.schedule(progress(1.0))
    groups = [{"params": g.parameters, "lr": 0.02 * g.lr_scale} for g in field.param_groups()]
    optimizer, losses = torch.optim.Adam(groups), []
    for _ in range(150):
        x = torch.rand(2048, 3, generator=generator)
        log_density, latent = field.geometry(x)
        color = field.color(latent, x, torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3))
        target = torch.tanh(8 * (0.3 - (x - 0.5).norm(dim=-1)))
        loss = (log_density - target).square().mean() + (color - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert math.isfinite(losses[-1])
    assert losses[-1] < 0.15 * losses[0]
