"""Packed samples along rays, and dropping some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation


@dataclass(frozen=True)
class Samples:
    """Stretches of N rays, ray after ray and front to back, in nerfacc's packed form.

    Ray ``r`` owns samples ``ray_offsets[r]`` to ``ray_offsets[r + 1]``; rays without samples are allowed.
    """

    ray_offsets: Tensor  # int64 [N+1]
    t_starts: Tensor  # float32 [S], distance along the ray, world units
    t_ends: Tensor  # float32 [S]
    ray_indices: Tensor  # int64 [S]

    def __len__(self) -> int:
        return len(self.t_starts)

    @property
    def n_rays(self) -> int:
        """How many rays there are, those without samples included."""
        return len(self.ray_offsets) - 1

    @property
    def counts(self) -> Tensor:
        """Samples of each ray, int64 [N]."""
        return self.ray_offsets[1:] - self.ray_offsets[:-1]

    @property
    def middles(self) -> Tensor:
        """Distances of the samples' middles [S]."""
        return 0.5 * (self.t_starts + self.t_ends)

    @property
    def lengths(self) -> Tensor:
        """Lengths of the samples [S]."""
        return self.t_ends - self.t_starts


def offsets_of(counts: Tensor) -> Tensor:
    """Where each of N stretches of the given lengths begins, and where the last ends: int64 [N+1]."""
    offsets = counts.new_zeros(len(counts) + 1)
    torch.cumsum(counts, 0, out=offsets[1:])
    return offsets


def sum_before(values: Tensor, ray_offsets: Tensor, ray_indices: Tensor) -> Tensor:
    """For each sample the sum of ``values`` [S] of the samples in front of it on its ray; computed in float64."""
    wide = values.double()
    before = wide.cumsum(0) - wide
    return (before - before[ray_offsets[ray_indices]]).to(values.dtype)


def packed(ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor) -> dict[str, Any]:
    """Packed samples as the native module takes them."""
    return {
        "rays": len(ray_offsets) - 1, "offsets": native.pointer(ray_offsets, torch.int64),
        "t_starts": native.pointer(t_starts), "t_ends": native.pointer(t_ends),
    }  # fmt: skip


def keep(samples: Samples, mask: Tensor) -> Samples:
    """Only the samples where ``mask`` (bool [S]) is true; the rays stay the same N.

    Per-sample arrays follow with ``array[mask]``.

    Raises:
        ConfigError: the mask has another length than the samples.
    """
    if mask.shape != samples.t_starts.shape:
        raise ConfigError("a mask needs one value per sample", found=tuple(mask.shape), expected=(len(samples),))
    if native.active(samples.t_starts):
        kept: Any = _keep(samples.ray_offsets, samples.t_starts, samples.t_ends, mask)
        return Samples(*kept)
    return keep_reference(samples, mask)


def keep_reference(samples: Samples, mask: Tensor) -> Samples:
    """The same in plain PyTorch."""
    ray_indices = samples.ray_indices[mask]
    offsets = offsets_of(torch.bincount(ray_indices, minlength=samples.n_rays))
    return Samples(offsets, samples.t_starts[mask], samples.t_ends[mask], ray_indices)


@operation("keep")
def _keep(ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    target = native.target(t_starts)
    mask = mask.contiguous()
    counts = torch.empty_like(ray_offsets[1:])
    native.library.keep_count(
        target,
        rays=len(counts),
        offsets=native.pointer(ray_offsets, torch.int64),
        mask=native.pointer(mask, torch.bool),
        counts=native.pointer(counts, torch.int64),
    )
    offsets = offsets_of(counts)
    kept = int(offsets[-1])
    starts, ends = t_starts.new_empty(kept), t_ends.new_empty(kept)
    indices = ray_offsets.new_empty(kept)
    native.library.keep_fill(
        target,
        samples=packed(ray_offsets, t_starts, t_ends),
        mask=native.pointer(mask, torch.bool),
        kept_offsets=native.pointer(offsets, torch.int64),
        t_starts=native.pointer(starts),
        t_ends=native.pointer(ends),
        ray_indices=native.pointer(indices, torch.int64),
    )
    return offsets, starts, ends, indices


@_keep.register_fake
def _(ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor, mask: Tensor):
    kept = torch.library.get_ctx().new_dynamic_size()
    return (
        torch.empty_like(ray_offsets),
        t_starts.new_empty(kept),
        t_ends.new_empty(kept),
        ray_offsets.new_empty(kept),
    )
