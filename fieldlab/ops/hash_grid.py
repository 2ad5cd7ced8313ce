"""Multiresolution hash encoding (Müller et al. 2022, Instant-NGP), laid out exactly as tiny-cuda-nn's ``HashGrid``.

Parameter arrays can therefore be exchanged with tiny-cuda-nn: levels one after another, entries within a level,
features within an entry; scales in float32; dense levels indexed x-fastest, hashed ones by XOR with its primes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native, tcnn
from fieldlab.ops.limits import MAX_HASH_LEVELS
from fieldlab.ops.operation import operation

PRIMES = (1, 2654435761, 805459861)
_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class HashGridSpec:
    """The shape of a hash grid over [0,1]^dims.

    ``per_level_scale`` is the ratio of successive resolutions (b in eq. 3 of the paper); ``growth_to`` finds it.
    """

    n_levels: int = 16
    n_features: int = 2
    log2_hashmap_size: int = 19
    base_resolution: int = 16
    per_level_scale: float = 2.0 ** (7 / 15)
    interpolation: str = "linear"
    dims: int = 3

    def __post_init__(self) -> None:
        if self.dims not in (2, 3):
            raise ConfigError("a hash grid has 2 or 3 dimensions", field="dims", found=self.dims)
        if not 1 <= self.n_levels <= MAX_HASH_LEVELS:
            raise ConfigError("a hash grid has 1 to 32 levels", field="n_levels", found=self.n_levels)
        if self.n_features not in (1, 2, 4, 8):
            raise ConfigError("a hash grid level has 1, 2, 4 or 8 features", field="n_features", found=self.n_features)
        if not 4 <= self.log2_hashmap_size <= 26:
            raise ConfigError(
                "log2 of the table size is out of range",
                field="log2_hashmap_size",
                found=self.log2_hashmap_size,
                expected="4 to 26",
            )
        if self.base_resolution < 1 or self.per_level_scale < 1.0:
            raise ConfigError(
                "resolutions must not shrink",
                field="base_resolution, per_level_scale",
                found=(self.base_resolution, self.per_level_scale),
                expected="both at least 1",
            )
        if self.interpolation not in ("linear", "smoothstep"):
            raise ConfigError("unknown interpolation", found=self.interpolation, expected="linear | smoothstep")

    @staticmethod
    def growth_to(base_resolution: int, max_resolution: int, n_levels: int) -> float:
        """The per-level scale that leads from the base to the finest resolution."""
        if n_levels < 2:
            return 1.0
        return float((max_resolution / base_resolution) ** (1 / (n_levels - 1)))

    @functools.cached_property
    def scales(self) -> tuple[float, ...]:
        """Float32 scale of each level: position = x * scale + 0.5."""
        log2_growth = np.log2(np.float32(self.per_level_scale))
        levels = np.arange(self.n_levels, dtype=np.float32)
        scale = np.exp2(levels * log2_growth) * np.float32(self.base_resolution) - np.float32(1)
        return tuple(float(s) for s in scale.astype(np.float32))

    @functools.cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Vertices along an axis at each level."""
        return tuple(int(np.ceil(np.float32(s))) + 1 for s in self.scales)

    @functools.cached_property
    def entries(self) -> tuple[int, ...]:
        """Table entries of each level."""
        cap = 1 << self.log2_hashmap_size
        return tuple(min((r**self.dims + 7) // 8 * 8, cap) for r in self.resolutions)

    @functools.cached_property
    def offsets(self) -> tuple[int, ...]:
        """First entry of each level, and at the end the number of entries."""
        return tuple(int(o) for o in np.concatenate([[0], np.cumsum(self.entries, dtype=np.int64)]))

    @functools.cached_property
    def hashed(self) -> tuple[bool, ...]:
        """Whether a level is hashed (it has fewer entries than vertices)."""
        return tuple(e < r**self.dims for e, r in zip(self.entries, self.resolutions, strict=True))

    @property
    def n_out(self) -> int:
        """Number of encoded values per sample."""
        return self.n_levels * self.n_features

    @property
    def n_params(self) -> int:
        """Number of table values."""
        return self.offsets[-1] * self.n_features

    @functools.cached_property
    def plan(self) -> tuple[list[float], list[int], list[int], list[bool]]:
        """What the native kernels take: scales, resolutions, offsets, hashed."""
        return list(self.scales), list(self.resolutions), list(self.offsets), list(self.hashed)


@dataclass(frozen=True)
class HashGridPlan:
    """A hash encoding as the fused renderer takes it; the table is float32, or float16 on CUDA."""

    table: Tensor
    spec: HashGridSpec

    def __post_init__(self) -> None:
        if not self.table.is_cuda:
            object.__setattr__(self, "table", self.table.float())

    @property
    def n_out(self) -> int:
        return self.spec.n_out

    def tensors(self) -> list[Tensor]:
        return [self.table]

    def native(self) -> Any:
        return native.library.hash_grid_encoder(
            grid=_grid(self.spec.dims, self.spec.n_features, self.spec.interpolation == "smoothstep", *self.spec.plan),
            **_table(self.table),
        )

    def reference(self, x: Tensor) -> Tensor:
        return hash_encode_reference(x, self.table.float(), self.spec)


def hash_encode(x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """Interpolate the features of every level at ``x`` (eq. 2-4 of the paper).

    Args:
        x: float32 [S,dims] in [0,1]; values outside are clamped.
        table: float32 [spec.n_params] (on CUDA float16 works too).
        spec: the shape of the grid.

    Returns:
        float32 [S, n_levels * n_features], level by level; differentiable in ``table`` and ``x``.

    Raises:
        ConfigError: positions or table have another size than the spec asks for.
    """
    if x.shape[1] != spec.dims:
        raise ConfigError("positions have the wrong number of coordinates", found=x.shape[1], expected=spec.dims)
    if table.numel() != spec.n_params:
        raise ConfigError("a hash table has the wrong size", found=table.numel(), expected=spec.n_params)
    if native.active(x, table):
        if native.backend() == "tcnn" and x.is_cuda:
            return hash_encode_tcnn(x, table, spec)
        scales, resolutions, offsets, hashed = spec.plan
        smooth = spec.interpolation == "smoothstep"
        return _hash_encode(x, table, spec.n_features, smooth, scales, resolutions, offsets, hashed)
    return hash_encode_reference(x, table, spec)


def hash_encode_reference(x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """The same in plain PyTorch."""
    entries = table.to(x.dtype).view(-1, spec.n_features)
    x = x.clamp(0.0, 1.0)
    levels = []
    for level in range(spec.n_levels):
        position = x * spec.scales[level] + 0.5
        cell = position.detach().floor()
        fraction = position - cell
        if spec.interpolation == "smoothstep":
            fraction = fraction * fraction * (3 - 2 * fraction)
        total = x.new_zeros(len(x), spec.n_features)
        for corner in range(1 << spec.dims):
            bits = torch.tensor([corner >> axis & 1 for axis in range(spec.dims)], device=x.device)
            index = _entry(cell.long() + bits, level, spec)
            weight = torch.where(bits.bool(), fraction, 1 - fraction).prod(-1)
            total = total + weight[:, None] * entries[index]
        levels.append(total)
    return torch.cat(levels, 1)


def hash_encode_tcnn(x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """The same by tiny-cuda-nn."""
    return tcnn.evaluate(
        "Encoding", (spec.dims,), table, x.clamp(0.0, 1.0), otype="HashGrid", n_levels=spec.n_levels,
        n_features_per_level=spec.n_features, log2_hashmap_size=spec.log2_hashmap_size,
        base_resolution=spec.base_resolution, per_level_scale=spec.per_level_scale,
        interpolation=spec.interpolation.capitalize(),
    )  # fmt: skip


def _entry(vertex: Tensor, level: int, spec: HashGridSpec) -> Tensor:
    """Index into the table's entries of integer vertices [S,dims]."""
    if spec.hashed[level]:
        terms = vertex * torch.tensor(PRIMES[: spec.dims], device=vertex.device) & _MASK
        index = functools.reduce(torch.bitwise_xor, terms.unbind(1))
    else:
        r = spec.resolutions[level]
        index = (vertex * torch.tensor([r**axis for axis in range(spec.dims)], device=vertex.device)).sum(1)
    return spec.offsets[level] + index % spec.entries[level]


def _grid(
    dims: int, features: int, smooth: bool, scales: list[float], resolutions: list[int], offsets: list[int],
    hashed: list[bool],
) -> dict[str, Any]:  # fmt: skip
    """A grid as the native module takes it."""
    return {
        "dims": dims, "features": features, "smooth": smooth, "scales": scales, "resolutions": resolutions,
        "offsets": offsets, "hashed": hashed,
    }  # fmt: skip


def _table(table: Tensor) -> dict[str, Any]:
    return {"table": native.pointer(table, table.dtype), "half": table.dtype == torch.float16}


@operation("hash_encode")
def _hash_encode(
    x: Tensor,
    table: Tensor,
    n_features: int,
    smooth: bool,
    scales: list[float],
    resolutions: list[int],
    offsets: list[int],
    hashed: list[bool],
) -> Tensor:
    out = native.empty_samples(x, len(x), len(scales) * n_features)
    native.library.hash_grid_forward(
        native.target(x),
        n=len(x),
        grid=_grid(x.shape[1], n_features, smooth, scales, resolutions, offsets, hashed),
        x=native.array(x),
        **_table(table),
        out=native.array(out),
    )
    return out


@operation("hash_encode_backward_table")
def _backward_table(
    x: Tensor,
    grad_out: Tensor,
    n_features: int,
    smooth: bool,
    scales: list[float],
    resolutions: list[int],
    offsets: list[int],
    hashed: list[bool],
) -> Tensor:
    grad = torch.zeros(offsets[-1] * n_features, device=x.device)
    native.library.hash_grid_backward_table(
        native.target(x),
        n=len(x),
        grid=_grid(x.shape[1], n_features, smooth, scales, resolutions, offsets, hashed),
        x=native.array(x),
        grad_out=native.array(grad_out),
        grad_table=native.pointer(grad),
    )
    return grad


@operation("hash_encode_backward_input")
def _backward_input(
    x: Tensor,
    table: Tensor,
    grad_out: Tensor,
    n_features: int,
    smooth: bool,
    scales: list[float],
    resolutions: list[int],
    offsets: list[int],
    hashed: list[bool],
) -> Tensor:
    grad = native.empty_samples(x, *x.shape)
    native.library.hash_grid_backward_input(
        native.target(x),
        n=len(x),
        grid=_grid(x.shape[1], n_features, smooth, scales, resolutions, offsets, hashed),
        x=native.array(x),
        **_table(table),
        grad_out=native.array(grad_out),
        grad_x=native.array(grad),
    )
    return grad


@_hash_encode.register_fake
def _(x, table, n_features, smooth, scales, resolutions, offsets, hashed):
    return native.empty_samples(x, x.shape[0], len(scales) * n_features)


@_backward_table.register_fake
def _(x, grad_out, n_features, smooth, scales, resolutions, offsets, hashed):
    return x.new_empty(offsets[-1] * n_features)


@_backward_input.register_fake
def _(x, table, grad_out, n_features, smooth, scales, resolutions, offsets, hashed):
    return native.empty_samples(x, *x.shape)


def _setup_context(ctx, inputs, output) -> None:
    x, table, *ctx.grid = inputs
    ctx.save_for_backward(x, table)


def _backward(ctx, grad_out: Tensor):
    x, table = ctx.saved_tensors
    grad_x = _backward_input(x, table, grad_out, *ctx.grid) if ctx.needs_input_grad[0] else None
    grad_table = _backward_table(x, grad_out, *ctx.grid).to(table.dtype) if ctx.needs_input_grad[1] else None
    return grad_x, grad_table, None, None, None, None, None, None


_hash_encode.register_autograd(_backward, setup_context=_setup_context)
