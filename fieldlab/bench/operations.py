"""The stages one by one, on random inputs of the sizes training uses."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fieldlab.bench.encodings import encoding_rows
from fieldlab.bench.measure import Row, rate_row, seconds_of, with_backward
from fieldlab.bench.record import Figure, beside
from fieldlab.ops import native
from fieldlab.ops.composite import composite
from fieldlab.ops.hash_grid import HashGridSpec, hash_encode
from fieldlab.ops.march import march
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp
from fieldlab.ops.occupancy import pack_occupancy
from fieldlab.ops.samples import Samples
from fieldlab.ops.spherical_harmonics import spherical_harmonics

GEOMETRY = MLPSpec(32, 16, 64, 1)
COLOR = MLPSpec(32, 3, 64, 2, output_activation="sigmoid")


def operation_rows(device: torch.device, log2_hashmap_size: int, quick: bool) -> Iterator[Figure]:
    """Encodings, perceptrons, marching and compositing; million samples per second each."""
    n = 1 << (10 if quick else 16)
    torch.manual_seed(0)
    yield from _encoding(device, log2_hashmap_size, n, quick)
    yield from _networks(device, n, quick)
    yield from _rays(device, n // 32, quick)
    yield from encoding_rows(device, n, quick)
    if device.type == "cuda":
        yield from _beside_nerfacc(device)


def _encoding(device: torch.device, log2: int, n: int, quick: bool) -> Iterator[Row]:
    spec = HashGridSpec(log2_hashmap_size=log2)
    x = torch.rand(3, n, device=device).t()
    table = (torch.rand(spec.n_params, device=device) * 2 - 1).mul_(1e-4).requires_grad_()
    grad = torch.randn(spec.n_out, n, device=device).t()
    size = f"2^{log2} entries"

    def forward() -> Tensor:
        return hash_encode(x, table.detach(), spec)

    yield rate_row("operations", f"hash encoding, {size}", n, forward, device, quick)
    both = with_backward(lambda: hash_encode(x, table, spec), grad, table)
    yield rate_row("operations", f"hash encoding with table gradient, {size}", n, both, device, quick)
    d = torch.nn.functional.normalize(torch.randn(n, 3, device=device), dim=-1)
    yield rate_row("operations", "spherical harmonics, degree 4", n, lambda: spherical_harmonics(d, 4), device, quick)


def _networks(device: torch.device, n: int, quick: bool) -> Iterator[Row]:
    x = torch.randn(32, n, device=device).t().requires_grad_()
    nets = [(spec, init_mlp(spec).to(device).requires_grad_()) for spec in (GEOMETRY, COLOR)]
    grads = [torch.randn(spec.n_out, n, device=device).t() for spec, _ in nets]
    name = "MLPs 32-64-16 and 32-64-64-3"

    def forward() -> None:
        for spec, params in nets:
            mlp(x.detach(), params.detach(), spec)

    def both() -> None:
        for (spec, params), grad in zip(nets, grads, strict=True):
            with_backward(lambda spec=spec, params=params: mlp(x, params, spec), grad, params, x)()  # type: ignore[misc]

    yield rate_row("operations", f"{name}, forward", n, forward, device, quick)
    yield rate_row("operations", f"{name}, forward and backward", n, both, device, quick)


def _rays(device: torch.device, n: int, quick: bool) -> Iterator[Row]:
    """A ball's shell in a 128^3 grid, seen from around."""
    axis = torch.linspace(-1, 1, 128)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    grid = pack_occupancy(((radius > 0.7) & (radius < 0.8))[None], torch.tensor([[-1.0] * 3, [1.0] * 3])).to(device)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, device=device), dim=-1) * 3
    directions = torch.nn.functional.normalize(torch.rand(n, 3, device=device) - 0.5 - origins, dim=-1)
    near, far = torch.zeros(n, device=device), torch.full((n,), 6.0, device=device)
    step = 2 * 3**0.5 / 1024

    def go() -> Samples:
        return march(origins, directions, near, far, grid, step)

    samples = go()
    yield rate_row("operations", "marching a 128^3 grid (samples found)", len(samples), go, device, quick)
    sigmas = torch.rand(len(samples), device=device).mul_(20).requires_grad_()
    values = torch.rand(3, len(samples), device=device).t().requires_grad_()

    def both() -> None:
        seen = composite(sigmas, values, samples)
        torch.autograd.grad(seen.values.sum() + seen.opacity.sum(), (sigmas, values))

    yield rate_row("operations", "compositing, forward and backward", len(samples), both, device, quick)


def _beside_nerfacc(device: torch.device) -> Iterator[Figure]:
    name, against = "marching random cells", "nerfacc"
    return beside("operations", name, against, lambda: _nerfacc_row(device, name, against))


def _nerfacc_row(device: torch.device, name: str, against: str) -> Row:
    """Marching against nerfacc's occupancy estimator."""
    import nerfacc

    n, step = 1 << 16, 2 * 3**0.5 / 1024
    mask = torch.rand(1, 128, 128, 128, device=device) < 0.05
    box = torch.tensor([[-1.0] * 3, [1.0] * 3], device=device)
    grid = pack_occupancy(mask, box)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, device=device), dim=-1) * 3
    directions = torch.nn.functional.normalize(torch.rand(n, 3, device=device) - 0.5 - origins, dim=-1)
    estimator = nerfacc.OccGridEstimator(box.flatten(), 128, 1).to(device)
    estimator.binaries = mask
    near, far = torch.zeros(n, device=device), torch.full((n,), 6.0, device=device)
    with native.use_backend("native"):
        ours = seconds_of(lambda: march(origins, directions, near, far, grid, step), device)
    theirs = seconds_of(
        lambda: estimator.sampling(origins, directions, near_plane=0.0, far_plane=6.0, render_step_size=step), device
    )
    return Row("operations", name, n / ours / 1e6, "M rays/s", n / theirs / 1e6, against)
