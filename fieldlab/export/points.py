"""An oriented, colored point cloud: what the training cameras see of the field, one point per pixel, thinned out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError
from fieldlab.render.model import RadianceModel

MAX_POINTS = 50_000_000
PIXELS_PER_POINT = 4  # many pixels see nothing, the edge of something, or what another one saw
SMALLEST_SIDE = 160  # pictures are not made smaller than this
STEEPEST = 6.0  # tangent of the steepest slant, seen from the camera, that still is a surface and not an edge
VOXELS = 1024  # along the longest side of the box; one point is kept in each


@dataclass
class PointCloud:
    """positions float32 [P,3] in world units, unit normals float32 [P,3] facing the camera, colors uint8 [P,3]."""

    positions: np.ndarray
    normals: np.ndarray
    colors: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)


@torch.no_grad()
def surface_points(
    model: RadianceModel,
    cameras: Cameras,
    count: int = 300_000,
    on_share: Callable[[float], object] | None = None,
) -> PointCloud:
    """About ``count`` points of the surfaces inside the model's box, seen from ``cameras``.

    Pixels that are less than half opaque or lie on an edge of depth are left out: there the expected depth is between
    two things.

    Args:
        cameras: of the photographs; when they are many, evenly chosen ones are used.
        on_share: called with the share of the work done so far.

    Raises:
        ConfigError: the count is impossible, or no camera sees a surface in the box.
    """
    if not 1 <= count <= MAX_POINTS:
        raise ConfigError("the number of points is impossible", found=count, expected=f"1 to {MAX_POINTS}")
    if len(cameras) == 0:
        raise ConfigError("there are no cameras to see points from", expected="one at least")
    total = int(cameras.pixel_counts().sum())
    wanted = math.sqrt(PIXELS_PER_POINT * count / total)
    # Rather fewer pictures than tiny ones.
    factor = min(1.0, max(wanted, SMALLEST_SIDE / int(cameras.size.min())))
    views = min(len(cameras), max(8, round(len(cameras) * (wanted / factor) ** 2)))
    chosen = torch.linspace(0, len(cameras) - 1, views).round().long()
    small = cameras[chosen.to(cameras.device)].scaled(factor)
    parts = []
    for i in range(len(small)):
        parts.append(_seen_by(model, small, i))
        if on_share is not None:
            on_share((i + 1) / len(small))
    positions, normals, colors = (torch.cat(column) for column in zip(*parts, strict=True))
    chosen = _thinned(positions, model.aabb.cpu(), count)
    if len(chosen) == 0:
        raise ConfigError("no camera sees a surface inside the box", hint="train longer, or look at a render first")
    rgb = (colors[chosen].clamp(0, 1) * 255 + 0.5).byte()
    return PointCloud(positions[chosen].numpy(), normals[chosen].numpy(), rgb.numpy())


def _seen_by(model: RadianceModel, cameras: Cameras, i: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, normals and colors [P,3] on the CPU of the reliable pixels of picture ``i``."""
    seen = model.render_image(cameras, i, channels=("rgb", "depth", "opacity", "normal"))
    depth, opacity = seen["depth"][..., 0], seen["opacity"][..., 0]
    rays = cameras[i].to(depth.device).image_rays(0)
    positions = rays.origins + rays.directions * depth.reshape(-1, 1)
    aabb = model.aabb.to(depth.device)
    inside = ((positions >= aabb[0]) & (positions <= aabb[1])).all(-1)
    normals = seen["normal"].reshape(-1, 3)
    good = (
        inside
        & (opacity > 0.5).flatten()
        & ~_edges(depth, float(cameras.intrinsics[i, :2].min())).flatten()
        & (normals.norm(dim=-1) > 0.5)
    )
    # With half the light passing through, the picture's color is half background; only opaque pixels show the thing.
    color = seen["rgb"].reshape(-1, 3)
    return positions[good].cpu(), normals[good].cpu(), color[good].cpu()


def _edges(depth: Tensor, focal: float) -> Tensor:
    """bool [H,W]: pixels in whose 3x3 neighborhood depth differs by more than a slanted surface's would."""
    padded = torch.nn.functional.pad(depth[None, None], (1, 1, 1, 1), mode="replicate")
    highest = torch.nn.functional.max_pool2d(padded, 3, stride=1)[0, 0]
    lowest = -torch.nn.functional.max_pool2d(-padded, 3, stride=1)[0, 0]
    return highest - lowest > 2 * STEEPEST * depth / focal


def _thinned(positions: Tensor, aabb: Tensor, count: int) -> Tensor:
    """int64 indices of at most ``count`` points: one per voxel, then an even choice of those, always the same."""
    if len(positions) == 0:
        return torch.zeros(0, dtype=torch.int64)
    voxel = float((aabb[1] - aabb[0]).max()) / VOXELS
    cell = ((positions - aabb[0]) / voxel).long().clamp(0, VOXELS)
    key = (cell[:, 0] * (VOXELS + 1) + cell[:, 1]) * (VOXELS + 1) + cell[:, 2]
    order = key.argsort(stable=True)
    first = torch.ones(len(key), dtype=torch.bool)
    first[1:] = key[order][1:] != key[order][:-1]
    kept = order[first].sort().values
    if len(kept) <= count:
        return kept
    shuffled = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[:count]
    return kept[shuffled.sort().values]
