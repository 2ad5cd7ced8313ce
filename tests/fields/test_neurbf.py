"""Kernels before and after they are placed, in encodings and in fields: budgets, round trips, the renderer's plan."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldProgress
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.fields.neurbf import LEAST_KERNELS, NeuRBFConfig, NeuRBFField, RbfEncoding
from fieldlab.fields.registry import build_field, config_from_dict, config_to_dict
from fieldlab.fields.vm import VMConfig

SMALL = NeuRBFConfig(
    n_kernels=300, n_rbf_features=8, width=16,
    grid=VMConfig(density_rank=2, appearance_rank=3, initial_resolution=8, resolution=12, width=16),
    table=HashGridConfig(n_levels=4, log2_hashmap_size=9, finest_resolution=64),
)  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def field_of(config: NeuRBFConfig = SMALL) -> NeuRBFField:
    field = build_field(config, 2.0, seeded())
    assert isinstance(field, NeuRBFField)
    return field


def sharp(config: NeuRBFConfig = SMALL) -> NeuRBFField:
    """With something to see in its grid."""
    field = field_of(config)
    with torch.no_grad():
        for factors in (field.grid.density_factors, field.grid.appearance_factors):
            factors.normal_(generator=seeded(7))
    return field


def placed(config: NeuRBFConfig = SMALL) -> NeuRBFField:
    field = sharp(config)
    points = torch.rand(2000, 3, generator=seeded(1))
    field.kernels.place(points, torch.rand(2000, generator=seeded(2)), seeded(3))
    with torch.no_grad():
        field.kernels.features.normal_(generator=seeded(4))
    return field


def everywhere(x: Tensor) -> Tensor:
    return torch.ones(len(x), dtype=torch.bool)


@pytest.mark.parametrize("dims", [2, 3])
def test_kernels_without_a_place_add_nothing(dims):
    encoding = SMALL.build_encoding(dims, seeded())
    out = encoding(torch.rand(50, dims))
    assert out.shape == (50, 16)
    assert encoding.kernels.n_placed == 0
    assert bool((out[:, 8:] == 0).all())
    out.sum().backward()
    assert bool((encoding.kernels.features.grad == 0).all())
    assert bool((encoding.table.grad != 0).any())


def test_placing_does_not_jump():
    field, x = sharp(), torch.rand(500, 3)
    before = field.geometry(x)
    field.kernels.place(torch.rand(2000, 3), torch.ones(2000), seeded())
    assert field.kernels.n_placed == 300
    assert bool((field.kernels(x) != 0).any())
    for now, then in zip(field.geometry(x), before, strict=True):
        assert torch.allclose(now, then, atol=1e-4)


def test_kernels_add_to_the_latent_alone():
    field, x = placed(), torch.rand(100, 3)
    (density, latent), (grid_density, grid_latent) = field.geometry(x), field.grid.geometry(x)
    assert torch.equal(density, grid_density)
    assert torch.allclose(latent, grid_latent + field.kernels(x), atol=1e-6)
    assert float((latent - grid_latent).abs().mean()) > 0.1


def test_fewer_points_than_kernels_leaves_the_rest_out():
    field = field_of()
    field.kernels.place(torch.rand(40, 3), torch.ones(40), seeded())
    assert field.kernels.n_placed == 40
    assert bool(field.kernels(torch.rand(100, 3)).isfinite().all())


@pytest.mark.parametrize("whole", ["field", "encoding"])
def test_kernels_are_placed_in_time(whole):
    config = dataclasses.replace(SMALL, place_at=0.3)
    teacher = sharp(config)
    if whole == "field":
        kernels, schedule = teacher.kernels, teacher.schedule
    else:
        encoding = config.build_encoding(3, seeded())
        kernels, schedule = encoding.kernels, encoding.advance
    schedule(FieldProgress(5, 0.2, everywhere, seeded(), teacher))
    assert kernels.n_placed == 0
    schedule(FieldProgress(9, 0.31, everywhere, seeded(), teacher))
    assert kernels.n_placed == 300
    centers = kernels.centers.clone()
    schedule(FieldProgress(10, 0.4, everywhere, seeded(), teacher))
    assert torch.equal(centers, kernels.centers)


@pytest.mark.slow
def test_a_teacher_places_kernels_where_it_is_looked_at():
    field, teacher = field_of(), sharp()
    assert field.begin_from(teacher, lambda x: x[:, 2] < 0.25, seeded())
    assert field.kernels.n_placed == 300
    assert float(field.kernels.centers[:, 2].max()) < 0.25
    with pytest.raises(ConfigError, match="occupied"):
        field.begin_from(teacher, lambda x: x[:, 0] > 2, seeded())


def test_derivatives_reach_features_and_positions():
    kernels = placed().kernels
    x = torch.rand(30, 3, requires_grad=True)
    kernels(x).square().sum().backward()
    assert bool((kernels.features.grad != 0).any())
    assert bool((x.grad != 0).any())


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("sines", [(0.0, 0.0), (0.5, 64.0)])
def test_round_trip(compact, sines):
    config = dataclasses.replace(SMALL, compact=compact, lowest_frequency=sines[0], highest_frequency=sines[1])
    field, other = placed(config), field_of(config_from_dict(config_to_dict(config)))  # type: ignore[arg-type]
    other.load_state_dict(field.state_dict())
    x = torch.rand(64, 3)
    assert torch.equal(field.geometry(x)[1], other.geometry(x)[1])
    assert other.kernels.n_placed == 300


def test_known_neighbors_give_the_same():
    encoding, x = SMALL.build_encoding(3, seeded()), torch.rand(64, 3)
    assert isinstance(encoding, RbfEncoding)
    encoding.place(torch.rand(2000, 3), torch.ones(2000), seeded())
    assert torch.equal(encoding(x), encoding(x, encoding.nearest(x)))


@pytest.mark.parametrize("dims", [2, 3])
def test_size_is_what_is_there(dims):
    for config in (SMALL, dataclasses.replace(SMALL, compact=True, shape="axes")):
        encoding, size = config.build_encoding(dims, seeded()), config.encoding_size(dims)
        assert size.trainable == sum(p.numel() for p in encoding.parameters())
        assert size.fixed == sum(b.numel() for b in encoding.state_dict().values()) - size.trainable
    full = dataclasses.replace(SMALL, grid=dataclasses.replace(SMALL.grid, initial_resolution=12))  # type: ignore[call-arg]
    assert full.size().trainable == field_of(full).n_parameters


@pytest.mark.parametrize("budget", [20_000, 72_000, 500_000, 3_000_000])
def test_budgets_are_kept_and_used(budget):
    config = SMALL.fitted_to(budget)
    assert 0.8 * budget <= config.size().trainable <= budget
    assert config.n_kernels >= LEAST_KERNELS
    for dims in (2, 3):
        config = SMALL.encoding_fitted_to(budget, dims)
        assert 0.98 * budget <= config.encoding_size(dims).trainable <= budget
        assert config.n_kernels >= LEAST_KERNELS


def test_a_budget_that_is_too_small():
    config = NeuRBFConfig()
    for least, fit in ((config.least_size(), config.fitted_to),
                       (config.least_encoding_size(2), lambda n: config.encoding_fitted_to(n, 2))):  # fmt: skip
        assert fit(least).n_kernels >= LEAST_KERNELS
        with pytest.raises(ConfigError, match=str(least)):
            fit(least - 1)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"neighbors": 17}, "neighbors"), ({"n_kernels": 0}, "n_kernels"), ({"overlap": 0.0}, "overlap"),
        ({"kernel": "cubic"}, "kernel"), ({"kernel": "tent"}, "shape"), ({"place_at": 1.5}, "place_at"),
        ({"lowest_frequency": 4.0, "highest_frequency": 1.0}, "lowest_frequency"),
        ({"least_width": 1.0}, "least_width"), ({"latent": 8}, "grid"), ({"n_rbf_features": 0}, "n_rbf_features"),
        ({"compact": True, "normalized": True}, "compact"),
    ],
)  # fmt: skip
def test_impossible_configurations(change, name):
    with pytest.raises(ConfigError, match=name):
        dataclasses.replace(SMALL, **change)


def test_the_renderer_sees_the_same_field():
    field, x = placed(), torch.rand(2000, 3, generator=torch.Generator().manual_seed(7))
    plan = field.fused_plan()
    assert plan is not None
    log_density, latent = field.geometry(x)
    expected_density, expected_latent = plan.geometry_reference(x)
    assert torch.allclose(log_density, expected_density, atol=1e-4)
    # Near the edge of a kernel the sines of its layer make a rounding error a thousand times larger, at a few points.
    wrong = (latent - expected_latent).abs().amax(1)
    assert float((wrong > 1e-4).float().mean()) < 1e-3
    assert float(wrong.max()) < 1e-2
