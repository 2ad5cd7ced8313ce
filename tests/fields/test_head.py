"""Feature heads: values, derivatives, storage, rendering, and what edits and distillation make of them."""

from __future__ import annotations

import pytest
import torch

from fieldlab.edit.editing import edited_model
from fieldlab.errors import CheckpointError, ConfigError
from fieldlab.fields.head import FeatureHead, HeadConfig
from fieldlab.ops import native
from fieldlab.ops.composite import composite_reference
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint, load_model
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from tests.scenes import ball_scene, ring_cameras, tiny_field

CONFIG = HeadConfig("parts", 5, tiny_field(), width=16)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_with_head() -> RadianceModel:
    model = build_model(tiny_field(), choose_model(ball_scene(), TrainConfig()), 0)
    with torch.no_grad():
        model.field.encoding.table.mul_(1e4)
        model.field.geometry_params.mul_(3)
        model.add_head(CONFIG, seeded(1)).encoding.table.mul_(1e4)
    return model


def world(model: RadianceModel, n: int = 500) -> torch.Tensor:
    low, high = model.aabb
    return low + (high - low) * torch.rand(n, 3, generator=seeded(2))


def test_values_and_derivatives_are_those_of_the_plain_operations():
    head = FeatureHead(CONFIG, seeded())
    x, grad = torch.rand(300, 3, generator=seeded(1)), torch.randn(300, 5, generator=seeded(2))

    def both():
        out = head(x)
        return [out, *torch.autograd.grad(out, [head.encoding.table, head.params], grad)]

    fast = both()
    with native.use_backend("reference"):
        slow = both()
    for a, b in zip(fast, slow, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_features_begin_apart():
    head, x = FeatureHead(CONFIG, seeded()), torch.rand(300, 3, generator=seeded(1))
    head.begin_apart(x)
    norm = head(x).norm(dim=1)
    assert float(norm.mean()) == pytest.approx(1, rel=1e-3)
    unit = head(x) / norm[:, None]
    assert float((unit @ unit.t()).mean()) < 0.7


def test_rendered_features_are_weighted_like_colors():
    model = model_with_head()
    rays = ring_cameras(3).image_rays(0)
    found = model.render_features("parts", rays, chunk=100)
    samples = model.sample(rays)
    x, _ = model.points(rays, samples)
    with torch.no_grad():
        wanted = composite_reference(model.field.density(x), model.head("parts")(x), samples)
    assert found.shape == (len(rays), 5)
    assert float(found.abs().max()) > 0.1
    assert torch.allclose(found, wanted.values, atol=1e-4)


def test_a_head_is_stored_with_its_model():
    model = model_with_head()
    header = model.head("parts").config.to_dict()
    again = build_model(tiny_field(), model.config, 3)
    again.add_head(HeadConfig.from_dict(header))
    arrays = {f"model.{name}": array for name, array in model.state_dict().items()}
    load_model(again, Checkpoint(arrays, {}))
    points = world(model)
    assert torch.equal(again.features("parts", points), model.features("parts", points))
    assert ("features parts", f"5 per point, {model.head('parts').n_bytes:,} bytes") in again.describe()
    with pytest.raises(CheckpointError):
        load_model(build_model(tiny_field(), model.config, 3), Checkpoint(arrays, {}))


def test_what_is_no_head():
    model = model_with_head()
    with pytest.raises(ConfigError, match="no such features"):
        model.features("colors", world(model))
    good = CONFIG.to_dict()
    for broken in ({}, {**good, "features": 2.5}, {**good, "features": 0}, {**good, "name": "a.b"},
                   {**good, "encoding": {"kind": "nothing"}}):  # fmt: skip
        with pytest.raises(ConfigError):
            HeadConfig.from_dict(broken)


@pytest.mark.slow
def test_edits_take_features_along():
    model = model_with_head()
    low, high = model.aabb
    middle, size = (low + high) / 2, high - low
    a, b = middle - 0.2 * size, middle
    box = " ".join(f"{v:.6f}" for v in torch.cat((a, b)).tolist())
    shift = 0.25 * size
    there = " ".join(f"{v:.6f}" for v in torch.cat((a + shift, b + shift)).tolist())
    move = f"move box {box} by {' '.join(f'{v:.6f}' for v in shift.tolist())}"
    made = edited_model(model, [f"remove box {there}", move], seeded())
    points = a + (b - a) * (0.05 + 0.9 * torch.rand(400, 3, generator=seeded(4)))
    dense = made.density(points + shift) > 1e-3
    assert int(dense.sum()) > 50
    assert not made.field.in_place
    moved = made.features("parts", points + shift)[dense]
    assert torch.allclose(moved, model.features("parts", points)[dense], atol=1e-3)
    elsewhere = edited_model(model, [f"remove box {box}"], seeded())
    assert elsewhere.field.in_place
    x = torch.rand(200, 3, generator=seeded(5))
    source = elsewhere.field.source(x)
    assert torch.allclose(source, x, atol=1e-5)
