"""Fused rendering: rays in, pixels out, by one native call that writes no samples to memory.

Marching, encoding, both perceptrons and compositing run together on tiles of samples that stay in cache or on-chip
memory. The meaning is that of the separate operations, but for one economy: samples that weigh less than
``least_weight`` add to opacity and depth and get no color.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import BackendError
from fieldlab.ops import native
from fieldlab.ops.composite import composite
from fieldlab.ops.contract import ray_points
from fieldlab.ops.field_plan import Branch, FieldPlan
from fieldlab.ops.march import march_reference
from fieldlab.ops.occupancy import OccupancyBits, grid_fields, native_grid


@dataclass(frozen=True)
class FusedPixels:
    """What N rays see.

    Args:
        rgb: float32 [N,3], not composited on a background.
        opacity: float32 [N].
        depth: float32 [N], sum of weight times distance.
        evaluated: int32 [N], how many samples each ray took.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    evaluated: Tensor


def render_fused(
    origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, grid: OccupancyBits, plan: FieldPlan,
    aabb: Tensor, *, step: float, cone_angle: float = 0.0, contracted: bool = False, early_stop: float = 1e-4,
    least_weight: float = 1e-4,
) -> FusedPixels:  # fmt: skip
    """Render rays without derivatives.

    Args:
        origins, directions: float32 [N,3], world; directions are unit.
        near, far: float32 [N]; the sample lattice starts at near, and near > far means an empty ray.
        grid: occupancy.
        plan: the field.
        aabb: float32 [2,3], the field's box.
        step, cone_angle: of the sample lattice, see :func:`fieldlab.ops.march.march`.
        contracted: whether the field sees contracted coordinates.
        early_stop: transmittance below which a ray is done.
        least_weight: samples that weigh less get no color.

    Raises:
        BackendError: the arrays are not on one device.
    """
    if any(t.device != origins.device for t in (*plan.tensors(), grid.bits, aabb)):
        raise BackendError("rays, field and occupancy must be on one device", found=origins.device)
    if not native.active(origins):
        return render_reference(
            origins, directions, near, far, grid, plan, aabb, step, cone_angle, contracted, early_stop
        )
    n, device = len(origins), origins.device
    pixels = FusedPixels(
        torch.empty(n, 3, device=device), torch.empty(n, device=device), torch.empty(n, device=device),
        torch.empty(n, dtype=torch.int32, device=device),
    )  # fmt: skip
    rays = {
        "n": n, "grid": grid_fields(*native_grid(grid)), "origins": native.array(origins),
        "directions": native.array(directions), "near": native.pointer(near.contiguous()),
        "far": native.pointer(far.contiguous()), "step": step, "cone_angle": cone_angle, "contracted": contracted,
        "aabb": native.pointer(aabb.contiguous()), "early_stop": early_stop, "least_weight": least_weight,
        "rgb": native.array(pixels.rgb), "opacity": native.pointer(pixels.opacity),
        "depth": native.pointer(pixels.depth), "evaluated": native.pointer(pixels.evaluated, torch.int32),
    }  # fmt: skip
    native.library.render_field(native.target(origins), rays=rays, field=_native_field(plan))
    return pixels


def _native_field(plan: FieldPlan) -> dict[str, Any]:
    """A field as the native module takes it."""
    color = {
        "shape": None if plan.color is None else plan.color.native_shape(plan.n_out - 1),
        "params": native.pointer(plan.color_params), "sh_degree": plan.sh_degree,
        "n_constants": 0 if plan.constants is None else plan.constants.numel(),
        "constants": native.pointer(plan.constants),
    }  # fmt: skip
    return {
        "branches": [_native_branch(branch) for branch in plan.branches], "latent": plan.n_out - 1, "color": color,
        "offset": plan.offset, "ceiling": plan.ceiling,
    }  # fmt: skip


def _native_branch(branch: Branch) -> dict[str, Any]:
    return {
        "encoders": [encoder.native() for encoder in branch.encoders], "params": native.pointer(branch.params),
        "shape": None if branch.spec is None else branch.spec.native_shape(branch.spec.n_in),
    }  # fmt: skip


def render_reference(
    origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, grid: OccupancyBits, plan: FieldPlan,
    aabb: Tensor, step: float, cone_angle: float, contracted: bool, early_stop: float,
) -> FusedPixels:  # fmt: skip
    """The same by the references of the separate operations."""
    with native.use_backend("reference"):
        samples = march_reference(origins, directions, near, far, grid, step, cone_angle)
        x, views = ray_points(origins, directions, samples, aabb, contracted)
        log_density, latent = plan.geometry_reference(x)
        sigmas, colors = log_density.exp(), plan.color_reference(latent, views)
        seen = composite(sigmas, colors, samples, early_stop)
    counts = (samples.ray_offsets[1:] - samples.ray_offsets[:-1]).int()
    return FusedPixels(seen.values, seen.opacity, seen.depth, counts)
