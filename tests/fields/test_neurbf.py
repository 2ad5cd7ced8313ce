"""NeuRBF fields: kernels before and after they are placed, budgets, round trips and the renderer's plan."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldProgress
from fieldlab.fields.neurbf import LEAST_KERNELS, NeuRBFConfig, NeuRBFField
from fieldlab.fields.registry import build_field, config_from_dict, config_to_dict

SMALL = NeuRBFConfig(n_kernels=300, n_rbf_features=8, n_levels=4, log2_hashmap_size=9, finest_resolution=64, width=16)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def field_of(config: NeuRBFConfig = SMALL) -> NeuRBFField:
    field = build_field(config, 2.0, seeded())
    assert isinstance(field, NeuRBFField)
    return field


def placed(config: NeuRBFConfig = SMALL) -> NeuRBFField:
    field = field_of(config)
    points = torch.rand(2000, 3, generator=seeded(1))
    field.encoding.place(points, torch.rand(2000, generator=seeded(2)), seeded(3))
    with torch.no_grad():
        field.encoding.features.normal_(generator=seeded(4))
    return field


def everywhere(x: Tensor) -> Tensor:
    return torch.ones(len(x), dtype=torch.bool)


def test_kernels_without_a_place_add_nothing():
    field = field_of()
    x = torch.rand(50, 3)
    out = field.encoding(x)
    assert out.shape == (50, 16)
    assert field.encoding.n_placed == 0
    assert bool((out[:, 8:] == 0).all())
    out.sum().backward()
    assert bool((field.encoding.features.grad == 0).all())
    assert bool((field.encoding.table.grad != 0).any())


def test_placing_does_not_jump():
    field, x = field_of(), torch.rand(500, 3)
    before = field.density(x)
    field.encoding.place(torch.rand(2000, 3), torch.ones(2000), seeded())
    assert field.encoding.n_placed == 300
    assert bool((field.encoding.rbf(x) != 0).any())
    assert torch.allclose(field.density(x), before, atol=1e-4)


def test_fewer_points_than_kernels_leaves_the_rest_out():
    field = field_of()
    field.encoding.place(torch.rand(40, 3), torch.ones(40), seeded())
    assert field.encoding.n_placed == 40
    assert bool(field.encoding(torch.rand(100, 3)).isfinite().all())


def test_the_field_places_its_own_kernels_in_time():
    field = field_of(dataclasses.replace(SMALL, place_at=0.3))
    with torch.no_grad():
        field.encoding.table.normal_(generator=seeded())
    field.schedule(FieldProgress(5, 0.2, everywhere, seeded(), field))
    assert field.encoding.n_placed == 0
    field.schedule(FieldProgress(9, 0.31, everywhere, seeded(), field))
    assert field.encoding.n_placed == 300
    centers = field.encoding.centers.clone()
    field.schedule(FieldProgress(10, 0.4, everywhere, seeded(), field))
    assert torch.equal(centers, field.encoding.centers)


def test_a_teacher_places_kernels_where_it_is_looked_at():
    field, teacher = field_of(), field_of()
    with torch.no_grad():
        teacher.encoding.table.normal_(generator=seeded())
    field.begin_from(teacher, lambda x: x[:, 2] < 0.25, seeded())
    assert field.encoding.n_placed == 300
    assert float(field.encoding.centers[:, 2].max()) < 0.25
    with pytest.raises(ConfigError, match="occupied"):
        field.begin_from(teacher, lambda x: x[:, 0] > 2, seeded())


def test_derivatives_reach_features_and_positions():
    field = placed()
    x = torch.rand(30, 3, requires_grad=True)
    field.encoding(x)[:, 8:].square().sum().backward()
    assert bool((field.encoding.features.grad != 0).any())
    assert bool((x.grad != 0).any())


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("sines", [(0.0, 0.0), (0.5, 64.0)])
def test_round_trip(compact, sines):
    config = dataclasses.replace(
        SMALL, compact=compact, lowest_frequency=sines[0], highest_frequency=sines[1]
    )
    field, other = placed(config), field_of(config_from_dict(config_to_dict(config)))  # type: ignore[arg-type]
    other.load_state_dict(field.state_dict())
    x = torch.rand(64, 3)
    assert torch.equal(field.encoding(x), other.encoding(x))
    assert other.encoding.n_placed == 300


def test_known_neighbors_give_the_same():
    field, x = placed(), torch.rand(64, 3)
    assert torch.equal(field.encoding(x), field.encoding(x, field.encoding.nearest(x)))


@pytest.mark.parametrize("dims", [2, 3])
def test_size_is_what_is_there(dims):
    for config in (SMALL, dataclasses.replace(SMALL, compact=True, shape="axes")):
        encoding, size = config.build_encoding(dims, seeded()), config.encoding_size(dims)
        assert size.trainable == sum(p.numel() for p in encoding.parameters())
        assert size.fixed == sum(b.numel() for b in encoding.state_dict().values()) - size.trainable
    assert SMALL.size().trainable == field_of().n_parameters


@pytest.mark.parametrize("budget", [20_000, 72_000, 500_000, 3_000_000])
def test_budgets_are_kept_and_used(budget):
    config = SMALL.fitted_to(budget)
    assert 0.98 * budget <= config.size().trainable <= budget
    assert config.n_kernels >= LEAST_KERNELS


def test_a_budget_that_is_too_small():
    least = NeuRBFConfig().smallest_encoding(3) + NeuRBFConfig().network_size()
    assert NeuRBFConfig().fitted_to(least).n_kernels >= LEAST_KERNELS
    with pytest.raises(ConfigError, match=str(least)):
        NeuRBFConfig().fitted_to(least - 1)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"neighbors": 17}, "neighbors"), ({"n_kernels": 0}, "n_kernels"), ({"overlap": 0.0}, "overlap"),
        ({"kernel": "cubic"}, "kernel"), ({"kernel": "tent"}, "shape"), ({"place_at": 1.5}, "place_at"),
        ({"lowest_frequency": 4.0, "highest_frequency": 1.0}, "lowest_frequency"),
        ({"least_width": 1.0}, "least_width"),
        ({"compact": True, "normalized": True}, "compact"),
    ],
)  # fmt: skip
def test_impossible_configurations(change, name):
    with pytest.raises(ConfigError, match=name):
        dataclasses.replace(SMALL, **change)


def test_the_renderer_sees_the_same_field():
    field, x = placed(), torch.rand(200, 3)
    plan = field.fused_plan()
    assert plan is not None
    log_density, latent = field.geometry(x)
    expected_density, expected_latent = plan.geometry_reference(x)
    assert torch.allclose(log_density, expected_density, atol=1e-4)
    assert torch.allclose(latent, expected_latent, atol=1e-4)
