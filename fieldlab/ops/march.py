"""Ray marching through an occupancy grid: which stretches of each ray are worth evaluating the field in.

Samples lie on a lattice that depends on the ray alone, ``t_0 = near + jitter * step``,
``t_{k+1} = t_k + max(step, t_k * cone_angle)``; occupancy only decides which steps are kept. With ``cone_angle`` 0 this
is nerfacc's lattice; with a cone nerfacc holds the step fixed while it crosses empty space, which is not done here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.occupancy import OccupancyBits, grid_fields, native_grid, query_mask, unpack_occupancy
from fieldlab.ops.operation import operation
from fieldlab.ops.ray_box import ray_box_reference
from fieldlab.ops.samples import Samples, offsets_of

_RUNS_NOTED = 32  # per ray between the two passes; later runs are found again
_UNLIMITED = 2**40


def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    grid: OccupancyBits,
    step: float,
    cone_angle: float = 0.0,
    jitter: Tensor | None = None,
    max_samples: int | None = None,
) -> Samples:
    """March rays through occupied space. Not differentiable.

    A step of the lattice is kept if its middle lies in [near, far) and in an occupied cell of the innermost level that
    contains it.

    Args:
        origins: [N,3] world units.
        directions: [N,3], unit.
        near: [N], where each ray's lattice begins.
        far: [N], where it ends; may be infinite.
        grid: occupancy.
        step: smallest step, world units.
        cone_angle: growth of the step with distance.
        jitter: [N] in [0,1), fraction of ``step`` by which the lattice is moved away from ``near``.
        max_samples: keep no more than the first so many of each ray.

    Raises:
        ConfigError: ``step`` is not positive, or ``cone_angle`` or ``max_samples`` is negative.
    """
    if not (step > 0 and math.isfinite(step)) or cone_angle < 0 or (max_samples is not None and max_samples < 0):
        raise ConfigError(
            "marching needs a positive step, and a cone angle and sample limit that are not negative",
            found=f"step {step}, cone angle {cone_angle}, max_samples {max_samples}",
        )
    for name, values in (("near", near), ("far", far), ("jitter", jitter)):
        if values is not None and values.shape != origins.shape[:1]:
            raise ConfigError("marching takes one value per ray", field=name, found=tuple(values.shape))
    if not native.active(origins):
        return march_reference(origins, directions, near, far, grid, step, cone_angle, jitter, max_samples)
    limit = _UNLIMITED if max_samples is None else max_samples
    found: Any = _march(
        origins.detach(), directions.detach(), near, far, *native_grid(grid), step, cone_angle, jitter, limit
    )
    return Samples(*found)


def march_reference(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    grid: OccupancyBits,
    step: float,
    cone_angle: float = 0.0,
    jitter: Tensor | None = None,
    max_samples: int | None = None,
) -> Samples:
    """The same in plain PyTorch: looks at every step of the lattice."""
    origins, directions = origins.detach(), directions.detach()
    start = near if jitter is None else near + jitter * step
    box = grid.outer_aabb.to(origins.dtype)
    _, leave, hit = ray_box_reference(origins, directions, box[None])
    last = torch.minimum(leave[:, 0], far)
    steps = _steps_until(start, last, step, cone_angle)
    n_steps = int(torch.where(hit[:, 0] & (last > start), steps, 0).amax()) if len(origins) else 0
    k = torch.arange(n_steps + 1, device=origins.device)
    mask, aabb = unpack_occupancy(grid), grid.aabb.to(origins.dtype)
    kept, starts, ends = [], [], []
    for rays in torch.arange(len(origins), device=origins.device).split(max(1, 2**20 // (n_steps + 1))):
        edges = _lattice(start[rays, None], k, step, cone_angle)
        middles = (edges[:, 1:] + edges[:, :-1]) / 2
        points = origins[rays, None] + directions[rays, None] * middles[..., None]
        keep = query_mask(mask, aabb, points) & (middles < far[rays, None])
        if max_samples is not None:
            keep &= keep.cumsum(1) <= max_samples
        kept.append(keep.sum(1))
        starts.append(edges[:, :-1][keep])
        ends.append(edges[:, 1:][keep])
    counts = torch.cat(kept) if kept else near.new_empty(0, dtype=torch.int64)
    ray_indices = torch.repeat_interleave(torch.arange(len(counts), device=near.device), counts)
    empty = near[:0]
    return Samples(offsets_of(counts), torch.cat([empty, *starts]), torch.cat([empty, *ends]), ray_indices)


def _bend(start: Tensor, step: float, cone_angle: float) -> Tensor:
    """The first step whose size grows with distance."""
    return ((step / cone_angle - start) / step).ceil().clamp_min(0)


def _lattice(start: Tensor, k: Tensor, step: float, cone_angle: float) -> Tensor:
    """t_k [N,K] for starts [N,1]: equal steps at first, a geometric sequence once t * cone_angle has reached step."""
    if cone_angle == 0:
        return start + k * step
    bend = _bend(start, step, cone_angle)
    growing = (start + bend * step) * torch.exp((k - bend).clamp_min(0) * math.log1p(cone_angle))
    return torch.where(k <= bend, start + k * step, growing)


def _steps_until(start: Tensor, t: Tensor, step: float, cone_angle: float) -> Tensor:
    """How many steps may have their middle in front of t [N], rounded up generously."""
    equal = (t - start) / step
    if cone_angle > 0:
        bend = _bend(start, step, cone_angle)
        growing = bend + (t / (start + bend * step)).clamp_min(1).log() / math.log1p(cone_angle)
        equal = torch.where(equal > bend, growing, equal)
    return equal.nan_to_num(0).clamp(0, 2**24).ceil().long() + 2


@operation("march")
def _march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    bits: Tensor,
    coarse: Tensor,
    aabb: Tensor,
    resolution: int,
    levels: int,
    step: float,
    cone_angle: float,
    jitter: Tensor | None,
    max_samples: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n = len(origins)
    target = native.target(origins)
    near, far = near.contiguous(), far.contiguous()
    jitter = None if jitter is None else jitter.contiguous()
    runs = torch.empty((n, _RUNS_NOTED, 2), dtype=torch.int32, device=origins.device)
    counts = torch.empty(n, dtype=torch.int64, device=origins.device)
    rays = {
        "n": n, "grid": grid_fields(bits, coarse, aabb, resolution, levels), "origins": native.array(origins),
        "directions": native.array(directions), "near": native.pointer(near), "far": native.pointer(far),
        "jitter": native.pointer(jitter), "step": step, "cone_angle": cone_angle, "max_samples": max_samples,
        "runs": native.pointer(runs, torch.int32), "run_capacity": _RUNS_NOTED,
    }  # fmt: skip
    native.library.march_count(target, rays=rays, counts=native.pointer(counts, torch.int64))
    offsets = offsets_of(counts)
    total = int(offsets[-1])
    t_starts, t_ends = near.new_empty(total), near.new_empty(total)
    ray_indices = counts.new_empty(total)
    native.library.march_fill(
        target, rays=rays, offsets=native.pointer(offsets, torch.int64), t_starts=native.pointer(t_starts),
        t_ends=native.pointer(t_ends), ray_indices=native.pointer(ray_indices, torch.int64),
    )  # fmt: skip
    return offsets, t_starts, t_ends, ray_indices


@_march.register_fake
def _(origins, directions, near, far, bits, coarse, aabb, resolution, levels, step, cone_angle, jitter, max_samples):
    total = torch.library.get_ctx().new_dynamic_size()
    offsets = torch.empty(len(origins) + 1, dtype=torch.int64, device=origins.device)
    return offsets, near.new_empty(total), near.new_empty(total), offsets.new_empty(total)
