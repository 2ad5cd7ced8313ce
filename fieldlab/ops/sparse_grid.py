"""Trilinear interpolation of values stored at some vertices of a lattice (Plenoxels, Fridovich-Keil, Yu et al. 2022).

The gradient of the values is a sparse array of the rows that samples touched, as that of ``nn.Embedding(sparse=True)``:
a step touches a small part of a large grid. The values have to be a leaf (a parameter).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.sparse_index import SparseIndex
from fieldlab.ops.sparse_rows import coalesced


def sparse_corners(x: Tensor, index: SparseIndex) -> Tensor:
    """Rows of the eight vertices around each sample.

    Args:
        x: float32 [S,3] in [0,1]; values outside are clamped.
        index: which vertices are stored.

    Returns:
        int32 [8,S], corner bit 0 is x; -1 where no vertex is stored.
    """
    if native.active(x):
        return _sparse_corners(x.detach(), index)
    return sparse_corners_reference(x, index)


def sparse_grid(x: Tensor, corners: Tensor, values: Tensor, resolution: int, empty: float = 0.0) -> Tensor:
    """Interpolate the rows that ``corners`` names.

    Args:
        x: float32 [S,3] in [0,1]; values outside are clamped.
        corners: int32 [8,S] of :func:`sparse_corners`.
        values: float32 [N,C], a row per stored vertex.
        resolution: vertices along an axis.
        empty: what a vertex counts that is not stored.

    Returns:
        float32 [S,C]; differentiable in ``values`` (with a sparse gradient) and ``x``.

    Raises:
        ConfigError: ``corners`` belong to other samples.
    """
    if corners.shape != (8, len(x)):
        raise ConfigError("samples and their corners differ in number", found=tuple(corners.shape),
                          expected=(8, len(x)))  # fmt: skip
    if native.active(x, values):
        return _SparseGrid.apply(x, corners, values, resolution, empty)
    return sparse_grid_reference(x, corners, values, resolution, empty)


@torch.no_grad()
def add_variation(values: Tensor, index: SparseIndex, weight: float, softness: float = 1e-3) -> None:
    """Add the derivative of a total variation to the gradient of ``values``, at the rows it has.

    The variation is the sum over pairs of neighboring stored vertices, and over channels, of sqrt(d^2 + softness^2).
    Plenoxels (eq. 5) takes the square root over the three axes together; pair by pair every row can be treated on its
    own. Rows that no sample touched are left alone.

    Args:
        values: float32 [N,C] with a sparse gradient of :func:`sparse_grid`.
        index: which vertices the rows belong to.
        weight: of the variation.
        softness: differences below this are smoothed quadratically.
    """
    assert values.grad is not None
    values.grad = coalesced(values.grad)
    rows, grad = values.grad.indices()[0], values.grad.values()
    if native.active(values):
        native.library.sparse_grid_variation(
            native.target(values),
            n=len(rows),
            index=index.plan,
            channels=values.shape[1],
            weight=weight,
            softness=softness,
            rows=native.pointer(rows, torch.int64),
            values=native.pointer(values),
            grad=native.pointer(grad),
        )
    else:
        grad.add_(variation_reference(values, index, softness)[rows], alpha=weight)


@dataclass(frozen=True)
class SparseGridPlan:
    """A sparse grid as the fused renderer takes it: raw log-density [N,1], ``empty`` where there is none, and features
    [N,C]."""

    index: SparseIndex
    density: Tensor
    features: Tensor
    empty: float

    @property
    def n_out(self) -> int:
        return 1 + self.features.shape[1]

    def tensors(self) -> list[Tensor]:
        return [self.density, self.features, self.index.words]

    def native(self) -> Any:
        r = self.index.resolution
        return native.library.sparse_grid_encoder(
            index=self.index.plan, density=_rows(self.density, r, self.empty), features=_rows(self.features, r)
        )

    def reference(self, x: Tensor) -> Tensor:
        corners, r = sparse_corners_reference(x, self.index), self.index.resolution
        density = sparse_grid_reference(x, corners, self.density, r, self.empty)
        return torch.cat((density, sparse_grid_reference(x, corners, self.features, r)), 1)


def sparse_corners_reference(x: Tensor, index: SparseIndex) -> Tensor:
    """:func:`sparse_corners` in plain PyTorch."""
    cell, _ = _locate(x.detach(), index.resolution)
    offsets = torch.tensor([(c & 1, c >> 1 & 1, c >> 2) for c in range(8)], device=x.device)
    return index.find(cell.long() + offsets[:, None]).int()


def sparse_grid_reference(x: Tensor, corners: Tensor, values: Tensor, resolution: int, empty: float = 0.0) -> Tensor:
    """:func:`sparse_grid` in plain PyTorch (with a dense gradient)."""
    _, upper = _locate(x, resolution)
    total = x.new_zeros(len(x), values.shape[1])
    padded = torch.cat((values, values.new_full((1, values.shape[1]), empty)))  # -1 is the last row
    for corner in range(8):
        bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=x.device).bool()
        weight = torch.where(bits, upper, 1 - upper).prod(-1)
        total = total + weight[:, None] * padded[corners[corner].long()]
    return total


def variation_reference(values: Tensor, index: SparseIndex, softness: float) -> Tensor:
    """Derivative [N,C] of the total variation, see :func:`add_variation`, in plain PyTorch."""
    vertices, total = index.vertices, torch.zeros_like(values)
    for axis in range(3):
        for side in (-1, 1):
            offset = torch.zeros(3, dtype=torch.int64, device=values.device)
            offset[axis] = side
            other = index.find(vertices + offset)
            d = values - values[other]
            total += torch.where((other >= 0)[:, None], d / (d * d + softness**2).sqrt(), 0.0)
    return total


def _locate(x: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Lower vertex [S,3] and weights of the upper one [S,3]."""
    position = x.clamp(0.0, 1.0) * (resolution - 1)
    lower = position.detach().floor().clamp_max(resolution - 2)
    return lower, position - lower


def _rows(values: Tensor, resolution: int, empty: float = 0.0) -> dict[str, Any]:
    """Rows of values as the native module takes them."""
    return {
        "resolution": resolution, "channels": values.shape[1], "empty": empty, "values": native.pointer(values),
    }  # fmt: skip


def _sparse_corners(x: Tensor, index: SparseIndex) -> Tensor:
    corners = torch.empty((8, len(x)), dtype=torch.int32, device=x.device)
    native.library.sparse_corners(
        native.target(x), n=len(x), index=index.plan, x=native.array(x), corners=native.pointer(corners, torch.int32)
    )
    return corners


class _SparseGrid(torch.autograd.Function):
    """A torch.library operation cannot have a sparse gradient, so this is an ordinary function."""

    @staticmethod
    def forward(ctx, x, corners, values, resolution, empty):  # type: ignore[no-untyped-def,override]
        ctx.save_for_backward(x, corners, values)
        ctx.resolution, ctx.empty = resolution, empty
        out = native.empty_samples(x, len(x), values.shape[1])
        native.library.sparse_grid_forward(
            native.target(x),
            n=len(x),
            rows=_rows(values, resolution, empty),
            x=native.array(x),
            corners=native.pointer(corners, torch.int32),
            out=native.array(out),
        )
        return out

    @staticmethod
    def backward(ctx, grad_out):  # type: ignore[no-untyped-def,override]
        x, corners, values = ctx.saved_tensors
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_x = native.empty_samples(x, len(x), 3)
            native.library.sparse_grid_backward_input(
                native.target(x),
                n=len(x),
                rows=_rows(values, ctx.resolution, ctx.empty),
                x=native.array(x),
                corners=native.pointer(corners, torch.int32),
                grad_out=native.array(grad_out),
                grad_x=native.array(grad_x),
            )
        if ctx.needs_input_grad[2]:
            grad_values = _gradient_of_values(x, corners, values, ctx.resolution, grad_out)
        return grad_x, None, grad_values, None, None


def _gradient_of_values(x: Tensor, corners: Tensor, values: Tensor, resolution: int, grad_out: Tensor) -> Tensor:
    """Coalesced sparse [N,C]: first which rows are touched, then what each gets."""
    target, (n, channels) = native.target(x), values.shape
    words = -(-n // 64)
    touched = torch.zeros(words, dtype=torch.int64, device=x.device)
    before = torch.empty(words + 1, dtype=torch.int32, device=x.device)
    bits = {"touched": native.pointer(touched, torch.int64), "before": native.pointer(before, torch.int32)}
    native.library.sparse_touched(
        target, n_corners=corners.numel(), corners=native.pointer(corners, torch.int32), n_words=words, **bits
    )
    rows = torch.empty((1, int(before[-1])), dtype=torch.int64, device=x.device)
    native.library.sparse_touched_rows(target, n_words=words, **bits, rows=native.pointer(rows, torch.int64))
    part = torch.zeros((rows.shape[1], channels), device=x.device)
    native.library.sparse_grid_backward_values(
        target,
        n=len(x),
        resolution=resolution,
        channels=channels,
        x=native.array(x),
        corners=native.pointer(corners, torch.int32),
        **bits,
        grad_out=native.array(grad_out),
        grad_values=native.pointer(part),
    )
    return torch.sparse_coo_tensor(rows, part, (n, channels), is_coalesced=True, check_invariants=False)
