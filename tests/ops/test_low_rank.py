"""Low-rank tensors: native against reference, and both against formulas written here."""

from __future__ import annotations

import pytest
import torch

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.low_rank import (
    LowRankSpec,
    add_penalty_gradient,
    low_rank,
    low_rank_combined,
    low_rank_reference,
    penalty,
    resample,
    split_factors,
)

SPECS = [
    LowRankSpec("vm", (5, 7, 4), 3),
    LowRankSpec("vm", (2, 9, 3), 16),
    LowRankSpec("vm", (6, 4, 5), 21),
    LowRankSpec("cp", (5, 7, 4), 1),
    LowRankSpec("cp", (3, 2, 8), 40),
]


def edges_and_random(samples: int) -> torch.Tensor:
    """Positions of which the first ones are corners of the cube."""
    x = torch.rand(samples, 3)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    x[: len(corners)] = corners[:samples]
    return x


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("samples", [0, 1, 37])
def test_values_and_derivatives(device, spec, summed, samples):
    x, params = edges_and_random(samples), torch.randn(spec.n_params)
    a, p = (v.to(device).clone().requires_grad_() for v in (x, params))
    out = low_rank(a, p, spec, summed=summed)
    b, q = x.double().requires_grad_(), params.double().requires_grad_()
    expected = low_rank_reference(b, q, spec, summed=summed)
    assert out.shape == expected.shape == (samples, 1 if summed else spec.n_products)
    assert torch.allclose(out.cpu().double(), expected, atol=2e-5)
    grad = torch.randn(expected.shape, dtype=torch.float64)
    out.backward(grad.float().to(device))
    expected.backward(grad)
    assert torch.allclose(p.grad.cpu().double(), q.grad, atol=5e-5)
    assert torch.allclose(a.grad.cpu().double(), b.grad, atol=5e-4)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_combinations(device, spec):
    x, params, basis = edges_and_random(37), torch.randn(spec.n_params), torch.randn(5, spec.n_products)
    own = [v.to(device).clone().requires_grad_() for v in (x, params, basis)]
    out = low_rank_combined(*own, spec)
    exact = [v.double().requires_grad_() for v in (x, params, basis)]
    expected = low_rank_reference(exact[0], exact[1], spec) @ exact[2].t()
    assert torch.allclose(out.cpu().double(), expected, atol=1e-4)
    grad = torch.randn(expected.shape, dtype=torch.float64)
    out.backward(grad.float().to(device))
    expected.backward(grad)
    for mine, other in zip(own, exact, strict=True):
        assert torch.allclose(mine.grad.cpu().double(), other.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("layout", ["row-major", "feature-major"])
def test_any_layout(device, layout):
    spec = LowRankSpec("vm", (4, 5, 6), 9)
    x, params = torch.rand(33, 3), torch.randn(spec.n_params)
    grad = torch.randn(33, spec.n_products)
    if layout == "feature-major":
        x, grad = x.t().contiguous().t(), grad.t().contiguous().t()
    a, p = (v.to(device).clone().requires_grad_() for v in (x, params))
    low_rank(a, p, spec).backward(grad.to(device))
    b, q = x.clone().requires_grad_(), params.clone().requires_grad_()
    low_rank_reference(b, q, spec).backward(grad)
    assert torch.allclose(a.grad.cpu(), b.grad, atol=1e-3)
    assert torch.allclose(p.grad.cpu(), q.grad, atol=1e-4)


def test_formula():
    """Equation 4 of the paper in the middle of a cell, by hand."""
    spec = LowRankSpec("vm", (2, 2, 2), 1)
    planes_and_lines = [[1, 2, 3, 4], [5, 6, 7, 8], [0, 1, 0, 1], [1, 3], [2, 4], [5, 7]]
    params = torch.tensor([float(v) for factor in planes_and_lines for v in factor])
    x = torch.tensor([[0.25, 0.5, 0.75]])
    xy = 0.5 * (0.75 * 1 + 0.25 * 2) + 0.5 * (0.75 * 3 + 0.25 * 4)
    xz = 0.25 * (0.75 * 5 + 0.25 * 6) + 0.75 * (0.75 * 7 + 0.25 * 8)
    yz = 0.5
    expected = torch.tensor([[xy * 2.5, xz * 3.0, yz * 5.5]])
    assert torch.allclose(low_rank_reference(x, params, spec), expected)
    cp = LowRankSpec("cp", (2, 2, 2), 1)
    lines = torch.tensor([1.0, 3, 2, 4, 5, 7])
    assert torch.allclose(low_rank_reference(x, lines, cp), torch.tensor([[1.5 * 3.0 * 6.5]]))


@pytest.mark.slow
def test_finite_differences():
    spec = LowRankSpec("vm", (3, 4, 5), 2)
    params = torch.randn(spec.n_params, dtype=torch.float64).requires_grad_()
    x = (torch.rand(6, 3, dtype=torch.float64) * 0.9 + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, p: low_rank_reference(v, p, spec), (x, params), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_penalty(device, spec):
    params = torch.randn(spec.n_params)
    params[::5] = 0.0
    leaf = params.double().requires_grad_()
    penalty(leaf, spec, l1=0.3, total_variation=0.7).backward()
    grad = torch.ones(spec.n_params, device=device)
    add_penalty_gradient(grad, params.to(device), spec, l1=0.3, total_variation=0.7)
    assert torch.allclose(grad.cpu().double() - 1, leaf.grad, atol=1e-6)
    with native.use_backend("reference"):
        plain = torch.ones(spec.n_params)
        add_penalty_gradient(plain, params, spec, l1=0.3, total_variation=0.7)
    assert torch.allclose(plain.double() - 1, leaf.grad, atol=1e-6)


@pytest.mark.parametrize("kind", ["vm", "cp"])
def test_resampling_to_nested_vertices_keeps_the_function(kind):
    coarse, fine = LowRankSpec(kind, (3, 5, 2), 4), LowRankSpec(kind, (5, 9, 4), 4)
    params, x = torch.randn(coarse.n_params), torch.rand(50, 3)
    finer = resample(params, coarse, fine)
    assert torch.allclose(low_rank(x, finer, fine), low_rank(x, params, coarse), atol=1e-5)


def test_resampling_a_box_keeps_the_function_inside():
    spec, cropped = LowRankSpec("vm", (9, 5, 6), 4), LowRankSpec("vm", (5, 3, 4), 4)
    params, x = torch.randn(spec.n_params), torch.rand(50, 3)
    box = torch.tensor([[2 / 8, 1 / 4, 1 / 5], [6 / 8, 3 / 4, 4 / 5]])
    inner = resample(params, spec, cropped, box)
    outer = low_rank(box[0] + x * (box[1] - box[0]), params, spec)
    assert torch.allclose(low_rank(x, inner, cropped), outer, atol=1e-4)


def test_factors_are_views():
    spec = LowRankSpec("vm", (3, 4, 5), 2)
    params = torch.arange(float(spec.n_params))
    factors = split_factors(params, spec)
    assert [tuple(f.shape) for f in factors] == [(4, 3, 2), (5, 3, 2), (5, 4, 2), (5, 2), (4, 2), (3, 2)]
    factors[-1][-1, -1] = -1.0
    assert params[-1] == -1.0


def test_impossible_shapes():
    with pytest.raises(ConfigError, match="rank"):
        LowRankSpec("vm", (4, 4, 4), 0)
    with pytest.raises(ConfigError, match="resolution"):
        LowRankSpec("cp", (4, 1, 4), 2)
    with pytest.raises(ConfigError, match="too large"):
        LowRankSpec("vm", (30000, 30000, 30000), 2)
    with pytest.raises(ConfigError, match="unknown kind"):
        LowRankSpec("tucker", (4, 4, 4), 2)
    with pytest.raises(ConfigError, match="wrong size"):
        low_rank(torch.rand(2, 3), torch.zeros(5), SPECS[0])
