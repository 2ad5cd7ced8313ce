"""The hash-grid field and the registry."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from fieldlab.errors import ConfigError
from fieldlab.fields.base import MAX_EXPONENT, trunc_exp
from fieldlab.fields.encoded import split_first
from fieldlab.fields.hashgrid import HashGridConfig, HashGridField
from fieldlab.fields.registry import build_field, config_from_dict, config_to_dict
from fieldlab.ops.hash_grid import hash_encode_reference
from fieldlab.ops.mlp import mlp_reference
from fieldlab.ops.spherical_harmonics import spherical_harmonics_reference
from tests.scenes import tiny_field


def test_field_is_encoding_then_networks():
    field = HashGridField(tiny_field(), 2.0, torch.Generator().manual_seed(0))
    field.encoding.table.data.mul_(1e3)
    x = torch.rand(50, 3)
    d = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    log_density, latent = field.geometry(x)
    encoded = hash_encode_reference(x, field.encoding.table, field.encoding.spec)
    out = mlp_reference(encoded, field.geometry_params, field.geometry_net)
    assert torch.allclose(log_density, out[:, 0] - math.log(2.0), atol=1e-5)
    assert torch.allclose(latent, out[:, 1:], atol=1e-5)
    both = torch.cat((out[:, 1:], spherical_harmonics_reference(d, 4)), 1)
    expected = mlp_reference(both, field.color_params, field.color_net)
    assert torch.allclose(field.color(latent, x, d), expected, atol=1e-5)
    assert torch.allclose(field.density(x), log_density.exp(), rtol=1e-5)


def test_split_has_the_derivative_of_two_slices():
    a = torch.randn(7, 5, requires_grad=True)
    b = a.detach().clone().requires_grad_()
    weights = torch.randn(7, 5)
    first, rest = split_first(a)
    ((first * weights[:, 0]).sum() + (rest * weights[:, 1:]).sum()).backward()
    ((b[:, 0] * weights[:, 0]).sum() + (b[:, 1:] * weights[:, 1:]).sum()).backward()
    assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 250.0])
def test_density_starts_alike_in_all_units(unit):
    field = HashGridField(tiny_field(), unit, torch.Generator().manual_seed(0))
    thickness = field.density(torch.rand(100, 3)) * unit
    assert torch.allclose(thickness, torch.ones(100), atol=1e-2)


def test_truncated_exponential():
    x = torch.tensor([-3.0, 0.0, 2.0, MAX_EXPONENT + 50], requires_grad=True)
    y = trunc_exp(x)
    y.sum().backward()
    expected = torch.tensor([math.exp(v) for v in (-3.0, 0.0, 2.0, MAX_EXPONENT)])
    assert torch.allclose(y, expected)
    assert torch.allclose(x.grad, expected)


def test_all_parameters_are_in_one_group():
    field = HashGridField(tiny_field(), 1.0)
    grouped = [id(p) for group in field.param_groups() for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in field.parameters())
    assert field.n_parameters == field.config.size().trainable == sum(p.numel() for p in field.parameters())
    assert field.n_bytes == 4 * field.n_parameters


@pytest.mark.parametrize("budget", [50_000, 500_000, 5_000_000])
def test_budget_is_used_and_kept(budget):
    config = HashGridConfig().fitted_to(budget)
    larger = replace(config, log2_hashmap_size=config.log2_hashmap_size + 1)
    assert 0.9 * budget < config.size().trainable <= budget < larger.size().trainable


def test_budget_too_small():
    with pytest.raises(ConfigError, match="smallest hashgrid"):
        HashGridConfig().fitted_to(1000)


def test_appearance_changes_the_color():
    field = HashGridField(tiny_field().with_appearance(3), 1.0, torch.Generator().manual_seed(1))
    x, d = torch.rand(4, 3), torch.nn.functional.normalize(torch.randn(4, 3), dim=-1)
    _, latent = field.geometry(x)
    plain = field.color(latent, x, d)
    assert torch.equal(plain, field.color(latent, x, d, torch.zeros(4, 3)))
    assert not torch.allclose(plain, field.color(latent, x, d, torch.ones(4, 3)))
    assert torch.equal(field.fused_plan().constants, torch.zeros(3))
    assert torch.equal(field.fused_plan(torch.ones(3)).constants, torch.ones(3))


def test_registry_round_trip():
    config = tiny_field(sh_degree=3)
    assert config_from_dict(config_to_dict(config)) == config
    assert isinstance(build_field(config, 1.0), HashGridField)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "nothing"}, "no such field"),
        ({"kind": "hashgrid", "wings": 2}, "no such setting"),
        ({"kind": "hashgrid", "width": "wide"}, "wrong type"),
    ],
)
def test_registry_refuses(values, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(values)


def test_same_generator_same_field():
    a, b = (HashGridField(tiny_field(), 1.0, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
