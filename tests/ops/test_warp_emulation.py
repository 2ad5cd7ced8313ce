"""The GPU's code for rays on a machine without a GPU: compiled for the CPU, one thread per GPU thread of a warp."""

from __future__ import annotations

import ctypes

import pytest
import torch
from ray_cases import CUBE, check_packed, differences, moved, random_mask, random_rays, random_samples

from fieldlab.ops.composite import composite_reference, visible_reference
from fieldlab.ops.contract import ray_points_reference
from fieldlab.ops.distortion import distortion_loss_reference
from fieldlab.ops.march import march_reference
from fieldlab.ops.occupancy import pack_occupancy
from fieldlab.ops.samples import Samples, keep_reference, offsets_of

COUNTS = [0, 1, 33, 0, 100, 32, 5]


class Packed(ctypes.Structure):
    _fields_ = [("rays", ctypes.c_int64), *((name, ctypes.c_void_p) for name in ("offsets", "t_starts", "t_ends"))]


class Strided(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("sample", ctypes.c_int64), ("channel", ctypes.c_int64)]


@pytest.fixture(scope="module")
def warp(emulation):
    return emulation("warp_emulation")


def address(tensor):
    return ctypes.c_void_p(0 if tensor is None else tensor.data_ptr())


def packed(s: Samples) -> Packed:
    return Packed(s.n_rays, s.ray_offsets.data_ptr(), s.t_starts.data_ptr(), s.t_ends.data_ptr())


def strided(x: torch.Tensor) -> Strided:
    return Strided(x.data_ptr(), x.stride(0), x.stride(1))


def wide(s: Samples) -> Samples:
    return moved(s, torch.device("cpu"), torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 40])
@pytest.mark.parametrize("early_stop", [0.0, 0.05])
def test_composite(warp, channels, early_stop):
    torch.manual_seed(0)
    s = random_samples(COUNTS, 1)
    sigmas, values = torch.rand(len(s)) * 8, torch.randn(len(s), channels)
    out, opacity, depth = torch.empty(s.n_rays, channels), torch.empty(s.n_rays), torch.empty(s.n_rays)
    weights, light, seen = torch.empty(len(s)), torch.empty(len(s)), torch.empty(len(s), dtype=torch.bool)
    warp.composite_forward(
        packed(s), channels, ctypes.c_float(early_stop), address(sigmas), strided(values), strided(out),
        address(opacity), address(depth), address(weights), address(light),
    )  # fmt: skip
    a, b = sigmas.double().requires_grad_(), values.double().requires_grad_()
    c = composite_reference(a, b, wide(s), early_stop)
    for found, expected in ((out, c.values), (opacity, c.opacity), (depth, c.depth), (weights, c.weights)):
        assert torch.allclose(found.double(), expected, atol=1e-5)
    grads = [torch.randn_like(x) for x in (out, opacity, depth, weights)]
    sum((g * x).sum() for g, x in zip(grads, (c.values, c.opacity, c.depth, c.weights), strict=True)).backward()
    grad_sigmas, grad_values = torch.empty(len(s)), torch.empty(channels, len(s)).t()
    warp.composite_backward(
        packed(s), channels, address(sigmas), strided(values), address(weights), address(light), strided(grads[0]),
        *map(address, grads[1:]), address(grad_sigmas), strided(grad_values),
    )  # fmt: skip
    assert torch.allclose(grad_sigmas.double(), a.grad, atol=1e-5)
    assert torch.allclose(grad_values.double(), b.grad, atol=1e-5)
    warp.visible_samples(packed(s), address(sigmas), ctypes.c_float(0.05), address(seen))
    assert torch.equal(seen, visible_reference(sigmas.double(), wide(s), 0.05))
    assert 0 < int(seen.sum()) < len(s)


def test_keep(warp):
    s = random_samples(COUNTS, 2)
    mask = torch.rand(len(s), generator=torch.Generator().manual_seed(0)) < 0.4
    expected = keep_reference(s, mask)
    counts = torch.empty(s.n_rays, dtype=torch.int64)
    warp.keep_count(packed(s), address(mask), address(counts))
    assert torch.equal(counts, expected.counts)
    kept = Samples(offsets_of(counts), *(torch.empty_like(x) for x in list(vars(expected).values())[1:]))
    warp.keep_fill(packed(s), address(mask), *(address(x) for x in vars(kept).values()))
    for found, wanted in zip(vars(kept).values(), vars(expected).values(), strict=True):
        assert torch.equal(found, wanted)


def test_distortion(warp):
    torch.manual_seed(1)
    s = random_samples(COUNTS, 3)
    weights, grad = torch.rand(len(s)) / 10, torch.randn(s.n_rays)
    loss, grad_weights = torch.empty(s.n_rays), torch.empty(len(s))
    warp.distortion_forward(packed(s), address(weights), address(loss))
    warp.distortion_backward(packed(s), address(weights), address(grad), address(grad_weights))
    w = weights.double().requires_grad_()
    expected = distortion_loss_reference(w, wide(s))
    (expected * grad).sum().backward()
    assert torch.allclose(loss.double(), expected, rtol=1e-4, atol=1e-6)
    assert torch.allclose(grad_weights.double(), w.grad, rtol=1e-4, atol=1e-5)


def test_ray_points(warp):
    torch.manual_seed(2)
    s = random_samples(COUNTS, 4)
    o, d = torch.randn(s.n_rays, 3), torch.nn.functional.normalize(torch.randn(s.n_rays, 3), dim=-1)
    x, seen, grad_x, grad_seen = (torch.randn(len(s), 3) for _ in range(4))
    warp.ray_points_forward(packed(s), address(CUBE), *map(strided, (o, d, x, seen)))
    a, b = o.double().requires_grad_(), d.double().requires_grad_()
    expected = ray_points_reference(a, b, wide(s), CUBE.double(), True)
    assert torch.allclose(x.double(), expected[0], atol=1e-5)
    assert torch.equal(seen, d[s.ray_indices])
    ((expected[0] * grad_x).sum() + (expected[1] * grad_seen).sum()).backward()
    grad_o, grad_d = torch.empty_like(o), torch.empty_like(d)
    warp.ray_points_backward(packed(s), address(CUBE), *map(strided, (o, d, grad_x, grad_seen, grad_o, grad_d)))
    assert torch.allclose(grad_o.double(), a.grad, rtol=1e-4, atol=1e-4)
    assert torch.allclose(grad_d.double(), b.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cone", [0.0, 0.01])
@pytest.mark.parametrize("most", [10, 2**40])
def test_march(warp, cone, most):
    """The thread-per-ray count, with fewer runs noted than there are, and the warp-per-ray fill."""
    o, d = random_rays(40, 5)
    near, far = torch.full((40,), 0.1), torch.full((40,), 9.0)
    grid = pack_occupancy(random_mask(2, 32, 0.3, 6), CUBE)
    runs, counts = torch.empty(40, 4, 2, dtype=torch.int32), torch.empty(40, dtype=torch.int64)
    rays = (
        ctypes.c_int64(40), address(grid.bits), address(grid.coarse), address(grid.aabb), 32, 2, strided(o), strided(d),
        address(near), address(far), ctypes.c_float(0.01), ctypes.c_float(cone), ctypes.c_int64(most), address(runs), 4,
    )  # fmt: skip
    warp.march(*rays, address(counts), *[address(None)] * 4)
    offsets = offsets_of(counts)
    total = int(offsets[-1])
    found = Samples(offsets, torch.empty(total), torch.empty(total), torch.empty(total, dtype=torch.int64))
    warp.march(*rays, address(None), *(address(x) for x in vars(found).values()))
    check_packed(found)
    expected = march_reference(*(x.double() for x in (o, d, near, far)), grid, 0.01, cone, max_samples=most)
    assert len(expected) > 300
    assert differences(found, expected, 5e-4) <= 2
