"""Radial bases: the index against all distances, values and derivatives against the reference and against formulas
written here, and what the window does for continuity."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.fields.rbf_placement import support_radii
from fieldlab.ops import native
from fieldlab.ops.rbf import KERNELS, SHAPES, RbfPlan, RbfSpec, rbf_encode, rbf_encode_reference
from fieldlab.ops.rbf_index import NOWHERE, RbfIndex, rbf_neighbors, rbf_neighbors_reference


def crowded(n: int, dims: int, seed: int = 0) -> Tensor:
    """Centers most of which crowd into a small corner."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(n, dims, generator=generator)
    centers[: n // 2] = centers[: n // 2] * 0.01 + 0.02
    return centers


def nearest(x: Tensor, centers: Tensor, k: int) -> Tensor:
    """Distances [S,k] to the nearest centers, by trying them all."""
    return torch.cdist(x.double(), centers.double()).sort(dim=1).values[:, :k]


def kernels(n: int, spec: RbfSpec, features: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random centers, shapes and features."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, spec.dims, spec.dims, generator=generator) * 5
    full = root @ root.transpose(1, 2) + torch.eye(spec.dims)
    i, j = torch.triu_indices(spec.dims, spec.dims)
    shapes = {"isotropic": full[:, :1, 0], "axes": full.diagonal(dim1=1, dim2=2), "full": full[:, i, j]}[spec.shape]
    centers = torch.rand(n, spec.dims, generator=generator)
    return centers, shapes.contiguous(), torch.randn(n, features, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("n", "k"), [(1, 4), (3, 5), (16, 16), (17, 1), (700, 5), (5000, 16)])
def test_neighbors_are_the_nearest(device, dims, n, k):
    centers = crowded(n, dims)
    inside, far = crowded(150, dims, seed=1), 1 - crowded(50, dims, seed=2) * 0.01
    x = torch.cat((inside, far, centers[:20], torch.zeros(1, dims), torch.ones(1, dims)))
    ids = rbf_neighbors(x.to(device), RbfIndex.build(centers.to(device)), k).cpu()
    found = min(n, k)
    assert ids.dtype == torch.int32
    assert ids.shape == (len(x), k)
    assert bool((ids[:, found:] == -1).all())
    chosen = ids[:, :found].long()
    assert all(len(set(row)) == found for row in chosen.tolist())
    distance = (x[:, None] - centers[chosen]).double().norm(dim=-1)
    assert torch.allclose(distance, nearest(x, centers, found), atol=1e-6)
    if found < n:
        last = nearest(x, centers, found + 1)
        clear = (last[:, 1:] - last[:, :-1]).min(1).values > 1e-6  # where rounding cannot change the order
        expected = torch.cdist(x.double(), centers.double()).argsort(dim=1)[:, :found]
        assert torch.equal(chosen[clear], expected[clear])


def test_neighbors_of_jumping_and_of_walking_points_agree(device):
    """Queries start from what the one before found; that must not show."""
    centers, walk = crowded(3000, 3).to(device), torch.linspace(0, 1, 999)[:, None].expand(-1, 3).to(device)
    index = RbfIndex.build(centers)
    order = torch.randperm(999, generator=torch.Generator().manual_seed(0)).to(device)
    assert torch.equal(rbf_neighbors(walk, index, 6)[order], rbf_neighbors(walk[order], index, 6))


def test_ties_go_to_the_lowest_index(device):
    grid = torch.cartesian_prod(*[torch.arange(8) / 8.0] * 2).repeat(3, 1)
    ids = rbf_neighbors(torch.tensor([[0.5, 0.5]], device=device), RbfIndex.build(grid.to(device)), 9).tolist()[0]
    center, side = [36, 100, 164], sorted(i + 64 * r for i in (28, 35, 37, 44) for r in range(3))
    assert ids == center + side[:6]


def test_kernels_that_are_not_placed_are_never_found(device):
    centers = torch.full((40, 3), NOWHERE)
    x = torch.rand(9, 3).to(device)
    assert bool((rbf_neighbors(x, RbfIndex.build(centers.to(device)), 3) == -1).all())
    centers[7] = 0.5
    assert rbf_neighbors(x, RbfIndex.build(centers.to(device)), 3).tolist() == [[7, -1, -1]] * 9


def test_reference_of_neighbors():
    centers, x = crowded(200, 3), torch.rand(64, 3)
    index = RbfIndex.build(centers)
    expected = torch.cdist(x.double(), centers.double()).argsort(dim=1)[:, :4]
    assert torch.equal(rbf_neighbors_reference(x, index, 4).long(), expected)
    assert rbf_neighbors_reference(x[:0], index, 4).shape == (0, 4)


def test_impossible_neighbors():
    index = RbfIndex.build(torch.rand(5, 3))
    for k in (0, 17):
        with pytest.raises(ConfigError, match="neighbors"):
            rbf_neighbors(torch.rand(1, 3), index, k)
    with pytest.raises(ConfigError, match="centers"):
        RbfIndex.build(torch.rand(5, 4))


CASES = [(k, s) for k in KERNELS for s in SHAPES if (k, s) != ("tent", "full")]


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "shape"), CASES)
@pytest.mark.parametrize(
    ("dims", "features", "sines", "window"),
    [(2, 16, True, False), (3, 13, False, True), (3, 32, True, True)],
)
def test_values_and_derivatives(device, kernel, shape, dims, features, sines, window):
    generator = torch.Generator().manual_seed(3)
    spec = RbfSpec(dims, kernel, shape)
    centers, shapes, weights = kernels(200, spec, features)
    extras = {
        "frequencies": torch.logspace(-1, 5, features, base=2.0) if sines else None,
        "support": torch.rand(200, generator=generator) * 40 + 1 if window else None,
    }
    x = torch.cat((torch.rand(98, dims, generator=generator), torch.zeros(1, dims), torch.ones(1, dims)))
    ids = rbf_neighbors_reference(x, RbfIndex.build(centers), 5)
    ids[:7, 3:] = -1
    a, b = x.clone().to(device).requires_grad_(), x.double().requires_grad_()
    wa, wb = weights.clone().to(device).requires_grad_(), weights.double().requires_grad_()
    on_device = {name: v if v is None else v.to(device) for name, v in extras.items()}
    out = rbf_encode(a, ids.to(device), centers.to(device), shapes.to(device), wa, spec, **on_device)
    exact = {name: v if v is None else v.double() for name, v in extras.items()}
    expected = rbf_encode_reference(b, ids, centers.double(), shapes.double(), wb, spec, **exact)
    grad = torch.randn(expected.shape, generator=generator)
    out.backward(grad.to(device))
    expected.backward(grad.double())
    for found, wanted in ((out, expected), (a.grad, b.grad), (wa.grad, wb.grad)):
        scale = wanted.abs().max().clamp_min(1.0)
        assert torch.allclose(found.detach().cpu().double() / scale, wanted.detach() / scale, atol=1e-4)


def test_normalized(device):
    spec = RbfSpec(2, "gaussian", "full", normalized=True)
    centers, shapes, _ = kernels(50, spec, 1)
    x = torch.rand(33, 2).to(device)
    ids = rbf_neighbors(x, RbfIndex.build(centers.to(device)), 4)
    ones = torch.ones(50, 8, device=device)
    out = rbf_encode(x, ids, centers.to(device), shapes.to(device), ones, spec)
    assert torch.allclose(out, torch.ones_like(out), atol=2e-2)  # but for the 1e-8 where all are tiny
    reference = rbf_encode_reference(x.cpu(), ids.cpu(), centers, shapes, ones.cpu(), spec)
    assert torch.allclose(out.cpu(), reference, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "formula"),
    [
        ("ivq", lambda d, a: 1 / (1 + d @ a @ d)),
        ("imq", lambda d, a: 1 / math.sqrt(1 + d @ a @ d)),
        ("gaussian", lambda d, a: math.exp(-(d @ a @ d) / 2)),
        ("markov", lambda d, a: math.exp(-math.sqrt(d @ a @ d))),
    ],
)
def test_formulas(kernel, formula):
    a = torch.tensor([[9.0, 2.0, 1.0], [2.0, 5.0, -1.0], [1.0, -1.0, 4.0]], dtype=torch.float64)
    x, center = torch.tensor([[0.3, 0.4, 0.9]]), torch.tensor([[0.5, 0.2, 0.6]])
    shapes = torch.tensor([[9.0, 2.0, 1.0, 5.0, -1.0, 4.0]])
    feature, frequency = torch.tensor([[0.7]]), torch.tensor([8.0])
    nearest = torch.zeros(1, 1, dtype=torch.int32)
    out = rbf_encode(x, nearest, center, shapes, feature, RbfSpec(3, kernel), frequencies=frequency)
    phi = formula((x - center)[0].double(), a)
    assert math.isclose(float(out), 0.7 * math.sin(8 * phi), abs_tol=1e-6)


def test_no_samples_and_any_strides(device):
    spec = RbfSpec(3)
    centers, shapes, weights = (t.to(device) for t in kernels(100, spec, 16))
    index, x = RbfIndex.build(centers), torch.rand(37, 3, device=device)
    assert rbf_neighbors(x[:0], index, 4).shape == (0, 4)
    assert rbf_encode(x[:0], rbf_neighbors(x[:0], index, 4), centers, shapes, weights, spec).shape == (0, 16)
    ids = rbf_neighbors(x, index, 4)
    plain = rbf_encode(x, ids, centers, shapes, weights, spec)
    other = rbf_encode(x.t().contiguous().t(), ids.contiguous(), centers, shapes, weights, spec)
    assert torch.equal(plain, other)


def test_threads_do_not_change_gradients():
    spec, before = RbfSpec(3), torch.get_num_threads()
    centers, shapes, weights = kernels(300, spec, 16)
    x = torch.rand(2000, 3)
    ids = rbf_neighbors(x, RbfIndex.build(centers), 4)
    grads = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        w = weights.clone().requires_grad_()
        rbf_encode(x, ids, centers, shapes, w, spec).sin().sum().backward()
        grads.append(w.grad)
    torch.set_num_threads(before)
    assert torch.equal(*grads)


def along_a_line(support: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Values and x-derivatives of an encoding along a line, in double precision, and where the neighbors change."""
    spec, k, n = RbfSpec(2, "gaussian", "isotropic"), 4, 60
    centers, _, weights = kernels(n, spec, 1)
    centers = centers.double()
    x = torch.stack((torch.linspace(0.1, 0.9, 20001), torch.full((20001,), 0.43)), 1).double().requires_grad_()
    ids = torch.cdist(x.detach(), centers).argsort(dim=1)[:, :k].int()
    window = support_radii(centers.float(), k).double() ** -2 if support else None
    shapes = torch.full((n, 1), 40.0, dtype=torch.float64)
    out = rbf_encode_reference(x, ids, centers, shapes, weights.double(), spec, support=window)
    (slope,) = torch.autograd.grad(out.sum(), x)
    sets = ids.sort(dim=1).values
    return out[:, 0].detach(), slope[:, 0], (sets[1:] != sets[:-1]).any(1)


def test_support_makes_value_and_gradient_continuous():
    value, slope, switches = along_a_line(support=True)
    assert int(switches.sum()) > 10
    step = 0.8 / 20000
    assert (value.diff().abs() / step).max() < 2 * slope.abs().max()
    bend = slope.diff().abs()
    assert bend[switches].max() < 2 * bend[~switches].max()
    rough_value, rough_slope, _ = along_a_line(support=False)
    assert rough_value.diff().abs()[switches].max() > 20 * rough_value.diff().abs()[~switches].max()
    assert rough_slope.diff().abs()[switches].max() > 20 * rough_slope.diff().abs()[~switches].max()


def test_no_point_is_within_reach_of_more_than_k_kernels():
    centers = crowded(500, 3)
    for k in (1, 4, 8):
        reach = (torch.cdist(crowded(2000, 3, seed=5), centers) < support_radii(centers, k)).sum(1)
        assert int(reach.max()) <= k


def test_arrays_must_fit():
    spec = RbfSpec(3)
    centers, shapes, weights = kernels(10, spec, 4)
    ids = torch.zeros(2, 3, dtype=torch.int32)
    with pytest.raises(ConfigError, match="shapes"):
        rbf_encode(torch.rand(2, 3), ids, centers, shapes[:, :3], weights, spec)
    with pytest.raises(ConfigError, match="frequencies"):
        rbf_encode(torch.rand(2, 3), ids, centers, shapes, weights, spec, frequencies=torch.ones(3))
    with pytest.raises(ConfigError, match="rotated"):
        RbfSpec(3, "tent", "full")
    with pytest.raises(ConfigError, match="kernel"):
        RbfSpec(3, "cubic")


@pytest.mark.skipif(native.library is None, reason="needs the native module")
def test_plan_gives_what_the_encoding_gives():
    spec = RbfSpec(3)
    centers, shapes, weights = kernels(80, spec, 8)
    plan = RbfPlan(centers, shapes, weights, spec, RbfIndex.build(centers), 4)
    x = torch.rand(50, 3)
    expected = rbf_encode(x, rbf_neighbors(x, plan.index, 4), centers, shapes, weights, spec)
    assert plan.n_out == 8
    assert len(plan.tensors()) == 4
    assert torch.allclose(plan.reference(x), expected, atol=1e-5)
