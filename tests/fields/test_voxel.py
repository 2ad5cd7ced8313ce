"""The sparse voxel field: refinement, pruning, budget, checkpoints, and a short training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fieldlab.errors import CheckpointError, ConfigError
from fieldlab.fields.base import FieldProgress
from fieldlab.fields.registry import build_field, config_from_dict, config_to_dict
from fieldlab.fields.voxel import VoxelConfig, VoxelField
from fieldlab.ops.sparse_index import SparseIndex
from fieldlab.render.build import build_model
from fieldlab.runs.checkpoint import Checkpoint, load_model
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from fieldlab.training.trainer import Trainer
from tests.scenes import ball_scene

SMALL = VoxelConfig(cells=32, upsamplings=2, max_vertices=20_000)


def progress(step: int = 1, fraction: float = 0.0, occupied=lambda x: torch.ones(len(x), dtype=torch.bool)):
    return FieldProgress(step, fraction, occupied, torch.Generator().manual_seed(0))


def ball(x: torch.Tensor) -> torch.Tensor:
    return (x - 0.5).norm(dim=-1) < 0.3


def grown(config: VoxelConfig = SMALL) -> VoxelField:
    """A field with random values near a ball's surface, refined once."""
    field = VoxelField(config, 2.0)
    field.schedule(progress(0, occupied=ball))
    generator = torch.Generator().manual_seed(1)
    inside = ball(field.index.vertices / config.first_cells)
    field.raw_density.data[:, 0] = torch.where(inside, 4.0, -6.0) + torch.rand(len(inside), generator=generator)
    field.coefficients.data = torch.randn(field.coefficients.shape, generator=generator)
    field.schedule(progress(fraction=config.first_upsampling))
    return field


@pytest.mark.parametrize("unit", [1e-3, 1.0, 250.0])
def test_density_starts_alike_in_all_units(unit):
    field = VoxelField(SMALL, unit)
    assert torch.allclose(field.density(torch.rand(50, 3)) * unit, torch.ones(50), atol=1e-4)


def test_starts_where_training_looks():
    field = VoxelField(SMALL, 1.0)
    assert field.index.n_rows == 9**3
    assert field.schedule(progress(0, occupied=ball))
    assert 0 < field.index.n_rows < 0.6 * 9**3
    inside = torch.rand(2000, 3)
    inside = inside[ball(inside)]
    assert torch.allclose(field.density(inside), torch.ones(len(inside)), atol=1e-5)


def test_refinement_keeps_the_function():
    field = VoxelField(replace(SMALL, prune_below=0.0), 1.0)
    field.schedule(progress(0, occupied=ball))
    field.raw_density.data.normal_()
    field.coefficients.data.normal_()
    x = torch.rand(500, 3)
    before = field.geometry(x)
    assert field.schedule(progress(fraction=SMALL.first_upsampling))
    after = field.geometry(x)
    assert field.index.resolution == 17
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(before, after, strict=True))


def test_refinement_comes_when_it_is_due():
    field = VoxelField(replace(SMALL, max_vertices=40_000), 1.0)
    field.coefficients.data.fill_(0.1)
    found = [(field.schedule(progress(fraction=f / 100)), field.index.resolution) for f in range(0, 100, 2)]
    assert [r for changed, r in found if changed] == [17, 33]
    assert found[-1] == (False, 33)


def test_pruning_keeps_the_surface():
    field = grown()
    vertices = field.index.vertices / (field.index.resolution - 1)
    assert float((vertices - 0.5).norm(dim=-1).max()) < 0.3 + 0.25
    middle = torch.tensor([[0.5, 0.5, 0.5]])
    assert float(field.density(middle).detach()) > 20
    assert float(field.density(torch.tensor([[0.02, 0.02, 0.02]])).detach()) < 1e-3


def test_vertices_no_ray_reached_are_dropped():
    field = VoxelField(SMALL, 1.0)
    field.raw_density.data.fill_(5.0)
    seen = ~ball(field.index.vertices / SMALL.first_cells)
    field.coefficients.data[seen] = 0.1
    field.schedule(progress(fraction=SMALL.first_upsampling))
    assert int(field.index.find(torch.tensor([[8, 8, 8]]))) == -1
    assert int(field.index.find(torch.tensor([[1, 1, 1]]))) >= 0


def test_budget_is_kept_while_growing():
    config = replace(SMALL, max_vertices=2500)
    field = VoxelField(config, 1.0)
    field.coefficients.data.fill_(0.1)
    for fraction in (0.1, 0.2, 0.5, 0.9):
        field.schedule(progress(fraction=fraction))
        assert field.index.n_rows <= 2500
        assert field.n_parameters <= config.size().trainable
    assert 9 < field.index.resolution < 17  # as fine as fits


@pytest.mark.parametrize("budget", [30_000, 500_000, 20_000_000])
def test_fitted_to_a_budget(budget):
    config = VoxelConfig().fitted_to(budget)
    assert config.size().trainable <= budget
    assert VoxelField(config, 1.0).n_parameters <= budget


def test_budget_too_small():
    with pytest.raises(ConfigError, match="smallest voxel field") as error:
        VoxelConfig().fitted_to(1000)
    assert str(9**3 * 28) in str(error.value.expected)


@pytest.mark.parametrize("footprint", [3.0, 100.0, 171.0, 5000.0])
def test_cells_as_wide_as_pixels(footprint):
    config = VoxelConfig().fitted_to_footprint(footprint)
    assert 64 <= config.cells <= 512
    assert 32 <= config.first_cells <= 72


def test_parameters_are_in_groups_and_counted():
    field = grown()
    grouped = [id(p) for group in field.param_groups() for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in field.parameters())
    assert field.n_parameters == 28 * field.index.n_rows
    assert field.n_bytes >= 4 * field.n_parameters + 100 * len(field.bricks)


def test_variation_smooths():
    field = grown(replace(SMALL, density_variation=10.0, color_variation=10.0))
    x = torch.rand(400, 3) * 0.4 + 0.3
    for _ in range(8):
        field.zero_grad()
        log_density, latent = field.geometry(x)
        (log_density.sum() * 0 + latent.sum() * 0).backward()
        field.regularize(0.5)
    for values in (field.raw_density, field.coefficients):
        grad = values.grad.to_dense()
        assert float(grad.abs().max()) > 0
        assert float((grad * (values - values.mean(0)).detach()).sum()) > 0  # downhill is towards the mean


def test_fused_renderer_agrees():
    scene = ball_scene()
    model = build_model(SMALL, choose_model(scene, TrainConfig()), 0)
    model.field = grown()
    cameras = scene.splits["test"].cameras
    fused = model.render_image(cameras, 0)["rgb"]
    plain = model._render_chunk(cameras.image_rays(0), model.background()).rgb.view_as(fused)
    assert torch.allclose(fused, plain, atol=2e-3)


def test_no_appearance():
    with pytest.raises(ConfigError, match="appearance"):
        SMALL.with_appearance(4)


@pytest.mark.parametrize(
    "values",
    [{"cells": 30}, {"cells": 4096}, {"sh_degree": 5}, {"max_vertices": 10}, {"upsamplings": -1},
     {"first_upsampling": 0.5}, {"prune_below": -1.0}, {"empty": float("nan")}],
)  # fmt: skip
def test_impossible_settings(values):
    with pytest.raises(ConfigError):
        replace(SMALL, **values)


def test_registry_round_trip():
    assert config_from_dict(config_to_dict(SMALL)) == SMALL
    assert isinstance(build_field(SMALL, 1.0), VoxelField)


def arrays_of(field: VoxelField) -> dict[str, torch.Tensor]:
    return {name: array.detach().clone() for name, array in field.state_dict().items()}


def test_round_trip_through_arrays():
    field = grown()
    other = VoxelField(SMALL, 2.0)
    other.resize_like(arrays_of(field))
    other.load_state_dict(arrays_of(field))
    x = torch.rand(300, 3)
    assert all(torch.equal(a, b) for a, b in zip(field.geometry(x), other.geometry(x), strict=True))


def _cut(a):
    a["raw_density"] = a["raw_density"][:-1]


def _huge(a):
    a["lattice"][0] = 1 << 40


def _bits(a):
    a["words"][0, 0] = -1


def _order(a):
    a["bricks"] = a["bricks"].flip(0)


def _narrow(a):
    a["coefficients"] = a["coefficients"][:, :5]


def _finer(a):
    index = SparseIndex.of_mask(torch.ones(34, 34, 34, dtype=torch.bool))
    a["lattice"][0], a["bricks"], a["words"] = 34, index.bricks, index.words


@pytest.mark.parametrize("spoil", [_cut, _huge, _bits, _order, _narrow, _finer])
def test_hostile_arrays_are_refused(spoil):
    arrays = arrays_of(grown())
    spoil(arrays)
    with pytest.raises(ConfigError):
        VoxelField(SMALL, 2.0).resize_like(arrays)


def trained(steps: int, until: int | None = None) -> Trainer:
    scene = ball_scene(n=12, size=32)
    config = TrainConfig(steps=steps, **{**VoxelConfig.recipe, "samples_per_step": 4096})
    field = replace(SMALL, max_vertices=40_000)
    trainer = Trainer(build_model(field, choose_model(scene, config), 0), scene.splits["train"], config)
    for event in trainer.events():
        if event.step == until:
            break
    return trainer


@pytest.mark.slow
def test_training_learns_and_resumes():
    whole = trained(120)
    assert whole.model.field.index.resolution == 33
    views = ball_scene(n=12, size=32).splits["test"]
    picture = whole.model.render_image(views.cameras, 0)["rgb"]
    rgba = views.image(0).float() / 255
    target = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    assert float((picture - target).square().mean()) < 10**-1.8

    half, later = trained(120, until=60), trained(120, until=1)
    arrays, training = half.state()
    checkpoint = Checkpoint({k: v.clone() for k, v in arrays.items()}, {"training": training})
    later.start(checkpoint)
    assert later.model.field.index.n_rows == half.model.field.index.n_rows
    later.step()
    half.step()
    x = torch.rand(100, 3)
    assert torch.equal(later.model.field.density(x), half.model.field.density(x))
    checkpoint.arrays["model.field.words"][0] = -1
    with pytest.raises(CheckpointError):
        load_model(later.model, checkpoint)
