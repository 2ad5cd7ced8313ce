"""Fused rendering: rays in, pixels out, by one native call that writes no samples to memory.

Marching, encoding, both perceptrons and compositing run together on tiles of samples that stay in cache or on-chip
memory. The meaning is that of the separate operations, but for one economy: samples that weigh less than
``least_weight`` add to opacity and depth and get no color.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.errors import BackendError
from fieldlab.ops import native
from fieldlab.ops.composite import composite
from fieldlab.ops.contract import ray_points
from fieldlab.ops.hash_grid import HashGridSpec, hash_encode_reference
from fieldlab.ops.march import march_reference
from fieldlab.ops.mlp import MLPSpec, mlp_reference
from fieldlab.ops.occupancy import OccupancyBits, native_grid
from fieldlab.ops.spherical_harmonics import spherical_harmonics_reference


@dataclass(frozen=True)
class HashFieldPlan:
    """A field of a hash grid and two perceptrons, as the fused renderer takes it.

    Args:
        table: [encoding.n_params], float32, or float16 on CUDA.
        geometry: encoding -> (log-density before ``offset``, latent).
        color: (latent, harmonics of the direction, constants) -> rgb, with sigmoid.
        constants: values every sample's color sees alike (an appearance vector), [n] or None.
        offset: added to log-density.
        ceiling: largest log-density.
    """

    table: Tensor
    encoding: HashGridSpec
    geometry_params: Tensor
    geometry: MLPSpec
    color_params: Tensor
    color: MLPSpec
    sh_degree: int
    offset: float
    ceiling: float
    constants: Tensor | None = None


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
    origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, grid: OccupancyBits, plan: HashFieldPlan,
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
    if any(t.device != origins.device for t in (plan.table, plan.geometry_params, grid.bits, aabb)):
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
    table = plan.table if plan.table.is_cuda or plan.table.dtype == torch.float32 else plan.table.float()
    scales, resolutions, offsets, hashed = plan.encoding.plan
    bits, coarse, grid_aabb, resolution, levels = native_grid(grid)
    g, c, constants = plan.geometry, plan.color, plan.constants
    near, far, aabb = near.contiguous(), far.contiguous(), aabb.contiguous()
    native.library.render_hash_field(
        native.target(origins), n, native.array(origins), native.array(directions), native.pointer(near),
        native.pointer(far), native.pointer(bits, torch.int64), native.pointer(coarse, torch.int64),
        native.pointer(grid_aabb), resolution, levels, step, cone_angle, contracted, native.pointer(aabb), early_stop,
        least_weight, plan.encoding.n_features, plan.encoding.interpolation == "smoothstep", scales, resolutions,
        offsets, hashed, table.data_ptr(), table.dtype == torch.float16, (g.n_out, g.width, g.n_hidden, g.bias),
        native.pointer(plan.geometry_params), (g.n_out - 1, c.width, c.n_hidden, c.bias),
        native.pointer(plan.color_params), plan.sh_degree, 0 if constants is None else constants.numel(),
        native.pointer(constants), plan.offset, plan.ceiling, native.array(pixels.rgb), native.pointer(pixels.opacity),
        native.pointer(pixels.depth), native.pointer(pixels.evaluated, torch.int32),
    )  # fmt: skip
    return pixels


def render_reference(
    origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, grid: OccupancyBits, plan: HashFieldPlan,
    aabb: Tensor, step: float, cone_angle: float, contracted: bool, early_stop: float,
) -> FusedPixels:  # fmt: skip
    """The same by the references of the separate operations."""
    with native.use_backend("reference"):
        samples = march_reference(origins, directions, near, far, grid, step, cone_angle)
        x, views = ray_points(origins, directions, samples, aabb, contracted)
        encoded = hash_encode_reference(x, plan.table.float(), plan.encoding)
        out = mlp_reference(encoded, plan.geometry_params, plan.geometry)
        sigmas = (out[:, 0] + plan.offset).clamp(max=plan.ceiling).exp()
        inputs = [out[:, 1:], spherical_harmonics_reference(views, plan.sh_degree)]
        if plan.constants is not None:
            inputs.append(plan.constants.expand(len(x), -1))
        colors = mlp_reference(torch.cat(inputs, 1), plan.color_params, plan.color)
        seen = composite(sigmas, colors, samples, early_stop)
    counts = (samples.ray_offsets[1:] - samples.ray_offsets[:-1]).int()
    return FusedPixels(seen.values, seen.opacity, seen.depth, counts)
