"""The operations of the other representations, at sizes they train with, on samples along rays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from fieldlab.bench.measure import Row, rate_row, with_backward
from fieldlab.ops.frequency import frequency_encode
from fieldlab.ops.harmonic_color import harmonic_color
from fieldlab.ops.low_rank import LowRankSpec, low_rank, low_rank_combined
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp
from fieldlab.ops.rbf import RbfSpec, rbf_encode
from fieldlab.ops.rbf_index import RbfIndex, rbf_neighbors
from fieldlab.ops.sparse_grid import sparse_corners, sparse_grid
from fieldlab.ops.sparse_index import SparseIndex

ALONG = 32  # samples of a ray
BRUTE = 1 << 12  # points for which all distances are computed


def encoding_rows(device: torch.device, n: int, quick: bool) -> Iterator[Row]:
    """Low-rank tensors, sparse grids, radial bases and wide perceptrons; million samples per second each."""
    x = along_rays(n, device)
    for make in (_low_rank, _voxels, _kernels, _perceptron):
        yield from make(x, quick)


def along_rays(n: int, device: torch.device) -> Tensor:
    """float32 [n,3] in the unit cube, feature-major, ``ALONG`` after each other on short rays."""
    rays = max(n // ALONG, 1)
    origins = torch.rand(rays, 1, 3)
    directions = torch.nn.functional.normalize(torch.randn(rays, 1, 3), dim=-1)
    x = (origins + directions * torch.linspace(0, 0.1, ALONG)[:, None]).clamp(0, 1)
    return x.reshape(-1, 3).t().contiguous().to(device).t()


def _two(name: str, x: Tensor, call: Callable[[], Tensor], inputs: list[Tensor], quick: bool) -> Iterator[Row]:
    """Forward, and forward and backward."""
    with torch.no_grad():
        out = call()
        yield rate_row("operations", f"{name}, forward", len(x), call, x.device, quick)
    grad = torch.randn(out.shape[1], out.shape[0], device=x.device).t()
    both = with_backward(call, grad, *inputs)
    yield rate_row("operations", f"{name}, forward and backward", len(x), both, x.device, quick)


def _low_rank(x: Tensor, quick: bool) -> Iterator[Row]:
    for kind, side, ranks in (("vm", 128, (16, 48)), ("cp", 300, (96, 288))):
        density, latent = (LowRankSpec(kind, (side,) * 3, rank) for rank in ranks)
        a, b = (torch.randn(spec.n_params, device=x.device).requires_grad_() for spec in (density, latent))
        basis = torch.randn(15, latent.n_products, device=x.device).requires_grad_()
        summed = partial(low_rank, x, a, density, summed=True)
        yield from _two(f"{kind} {side}^3 rank {ranks[0]}, summed", x, summed, [a], quick)
        combined = partial(low_rank_combined, x, b, basis, latent)
        yield from _two(f"{kind} {side}^3 rank {ranks[1]}, combined", x, combined, [b, basis], quick)


def _voxels(x: Tensor, quick: bool) -> Iterator[Row]:
    side = 129
    axis = torch.linspace(-1, 1, side)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    index = SparseIndex.of_mask((radius - 0.7).abs() < 0.15).to(x.device)
    values = torch.randn(index.n_rows, 27, device=x.device).requires_grad_()
    corners = sparse_corners(x, index)
    yield rate_row("operations", f"sparse {side}^3 vertices, lookup", len(x), lambda: sparse_corners(x, index),
                   x.device, quick)  # fmt: skip
    yield from _two(f"sparse {side}^3 vertices, 27 values", x, lambda: sparse_grid(x, corners, values, side), [values],
                    quick)  # fmt: skip
    d = torch.nn.functional.normalize(torch.randn(len(x), 3, device=x.device), dim=-1)
    coefficients = torch.randn(27, len(x), device=x.device).t().requires_grad_()
    yield from _two("harmonic color, degree 3", x, lambda: harmonic_color(coefficients, d), [coefficients], quick)


def _kernels(x: Tensor, quick: bool) -> Iterator[Row]:
    n, features, spec = 20_000, 16, RbfSpec(3, "ivq", "full")
    centers = torch.rand(n, 3, device=x.device)
    factors = torch.randn(n, 3, 3, device=x.device) * 20 + 40 * torch.eye(3, device=x.device)
    i, j = torch.triu_indices(3, 3).tolist()
    shapes = (factors @ factors.transpose(1, 2))[:, i, j].contiguous()
    values = torch.randn(n, features, device=x.device).requires_grad_()
    index = RbfIndex.build(centers.cpu())
    index = RbfIndex(index.nodes.to(x.device), index.order.to(x.device), n, 3)
    few = x[:BRUTE]
    yield rate_row("operations", f"5 nearest of {n} kernels", len(few), lambda: rbf_neighbors(few, index, 5), x.device,
                   quick)  # fmt: skip
    ids, at = rbf_neighbors(x, index, 5), x.detach().clone().requires_grad_()
    frequencies = torch.logspace(0, 3, features, base=2.0, device=x.device)
    for name, sines in (("", None), (" with sines", frequencies)):
        yield from _two(
            f"5 kernels, {features} features{name}", x,
            lambda sines=sines: rbf_encode(at, ids, centers, shapes, values, spec, frequencies=sines),  # type: ignore[misc]
            [values, at], quick,
        )  # fmt: skip


def _perceptron(x: Tensor, quick: bool) -> Iterator[Row]:
    few, at = x[: max(len(x) // 4, 1)], x.detach().clone().requires_grad_()
    yield from _two("frequencies, 10 octaves", x, lambda: frequency_encode(at, 10, include_input=True), [at], quick)
    spec = MLPSpec(63, 16, 256, 8, bias=True, skip=4)
    params = init_mlp(spec).to(x.device).requires_grad_()
    inputs = torch.randn(63, len(few), device=x.device).t().requires_grad_()
    yield from _two("perceptron 63-8x256-16 with skip", few, lambda: mlp(inputs, params, spec), [params, inputs], quick)
