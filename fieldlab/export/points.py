"""An oriented, colored point cloud: what the training cameras see of the field, one point per pixel, thinned out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError
from fieldlab.mesh.placement import AS_IT_IS, Placement
from fieldlab.mesh.write import write_points
from fieldlab.render.model import RadianceModel
from fieldlab.segment.labels import Labeler

MAX_POINTS = 50_000_000
PIXELS_PER_POINT = 4  # many pixels see nothing, the edge of something, or what another one saw
SMALLEST_SIDE = 160  # pictures are not made smaller than this
STEEPEST = 6.0  # tangent of the steepest slant, seen from the camera, that still is a surface and not an edge
VOXELS = 1024  # along the longest side of the box; one point is kept in each
AGREES = 0.02  # share of the distance within which two cameras see the same surface
OPAQUE = 0.5  # opacity from which a pixel shows something
POINTS_PER_CELL = 8  # of the coarse pictures in which points hide each other
HIDDEN = 1.05  # times the distance of the nearest point in the cell, from which on a point is hidden by it


@dataclass
class PointCloud:
    """Points of surfaces.

    Args:
        positions: float32 [P,3], world units.
        normals: float32 [P,3], unit, facing the camera that saw the point.
        colors: uint8 [P,3].
        confidence: float32 [P] in [0,1]: the opacity of the pixel that saw the point, times a / (v + 1), where v other
            cameras could see it, nothing being in front, and a of them do see a surface there. It is 0 for what a
            single camera shows and nears the opacity as more cameras agree.
    """

    positions: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)


@dataclass
class _Seen:
    """The P reliable pixels of one picture, and its depth, all on the CPU.

    Args:
        positions, normals, colors: float32 [P,3]; opacity: float32 [P].
        depth: float32 [H,W], distances; infinite where nothing is seen and NaN where one pixel shows two things.
    """

    positions: Tensor
    normals: Tensor
    colors: Tensor
    opacity: Tensor
    depth: Tensor


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
    positions, normals, colors, opacity = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("positions", "normals", "colors", "opacity")
    )
    view = torch.cat([torch.full((len(part.positions),), i) for i, part in enumerate(parts)])
    chosen = _thinned(positions, model.aabb.cpu(), count)
    if len(chosen) == 0:
        raise ConfigError("no camera sees a surface inside the box", hint="train longer, or look at a render first")
    positions, normals, rgb = positions[chosen], normals[chosen], (colors[chosen].clamp(0, 1) * 255 + 0.5).byte()
    agreement = _agreement(small.to("cpu"), [part.depth for part in parts], positions, normals, view[chosen])
    confidence = opacity[chosen].clamp(0, 1) * agreement
    return PointCloud(positions.numpy(), normals.numpy(), rgb.numpy(), confidence.numpy())


def write_cloud(
    path: str | Path, cloud: PointCloud, labeler: Labeler | None = None, placement: Placement = AS_IT_IS
) -> None:
    """Write a point cloud as PLY with normals, colors and confidences, of a segmented model also with the node of every
    point's finest segment.

    Raises:
        ConfigError, RunFolderError: see :func:`fieldlab.mesh.write.write_points`.
    """
    nodes = None if labeler is None else labeler.nodes(torch.from_numpy(cloud.positions).float()).numpy()
    write_points(path, cloud.positions, cloud.normals, cloud.colors, nodes, cloud.confidence, placement)


def points_in_view(cloud: PointCloud, cameras: Cameras, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Which points camera ``i`` (on the CPU) sees, int64 [K], and at which pixels, float64 [K,2].

    It sees the front of those that no nearer point hides; each point covers a cell of a coarse picture that holds
    several of them, so no rendering is needed.
    """
    positions = torch.from_numpy(cloud.positions).float()
    to_camera = cameras.origins[i] - positions
    pixels, _, valid = cameras.project(i, positions)
    rows = valid.nonzero()[:, 0]
    if len(rows) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 2))
    distance, size = to_camera[rows].norm(dim=-1), cameras.size[i]
    side = max(1.0, math.sqrt(POINTS_PER_CELL * int(size.prod()) / len(rows)))
    column, row = (pixels[rows] / side).long().unbind(-1)
    place = row * (int(size[0] / side) + 1) + column
    nearest = torch.full((int(place.max()) + 1,), torch.inf).scatter_reduce(0, place, distance, "amin")
    front = (to_camera * torch.from_numpy(cloud.normals)).sum(-1)[rows] > 0
    kept = rows[front & (distance <= HIDDEN * nearest[place])]
    return kept.numpy(), pixels[kept].double().numpy()


def _seen_by(model: RadianceModel, cameras: Cameras, i: int) -> _Seen:
    """What picture ``i`` shows."""
    seen = model.render_image(cameras, i, channels=("rgb", "depth", "opacity", "normal"))
    depth, opacity = seen["depth"][..., 0], seen["opacity"][..., 0]
    rays = cameras[i].to(depth.device).image_rays(0)
    positions = rays.origins + rays.directions * depth.reshape(-1, 1)
    aabb = model.aabb.to(depth.device)
    inside = ((positions >= aabb[0]) & (positions <= aabb[1])).all(-1)
    normals = seen["normal"].reshape(-1, 3)
    edges = _edges(depth, float(cameras.intrinsics[i, :2].min()))
    good = inside & (opacity > OPAQUE).flatten() & ~edges.flatten() & (normals.norm(dim=-1) > 0.5)
    # With half the light passing through, the picture's color is half background; only opaque pixels show the thing.
    color = seen["rgb"].reshape(-1, 3)
    known = torch.where(opacity > OPAQUE, depth, torch.inf).masked_fill(edges, torch.nan)
    found = (positions[good], normals[good], color[good], opacity.flatten()[good], known)
    return _Seen(*(tensor.cpu() for tensor in found))


def _agreement(cameras: Cameras, depths: list[Tensor], points: Tensor, normals: Tensor, view: Tensor) -> Tensor:
    """How far other cameras confirm points of surfaces, a / (v + 1) as :class:`PointCloud` says, float32 [P].

    A camera sees a surface through a pixel near the point, not through the point itself: its distance is compared with
    where that pixel's ray meets the plane through the point. Cameras that look along this plane have no say.

    Args:
        cameras: V of them.
        depths: of each the picture of :class:`_Seen`.
        points, normals: float32 [P,3].
        view: int64 [P], the camera that each point is from.
    """
    agree, could = torch.zeros(len(points)), torch.zeros(len(points))
    for i, depth in enumerate(depths):
        pixels, _, valid = cameras.project(i, points)
        width, height = cameras.size[i].tolist()
        rows = (valid & (view != i)).nonzero()[:, 0]
        at = torch.minimum(pixels[rows].long(), torch.tensor([width - 1, height - 1]))
        rays = cameras.rays(torch.full((len(rows),), i), at + 0.5)
        slant = (rays.directions * normals[rows]).sum(-1)
        expected = ((points[rows] - rays.origins) * normals[rows]).sum(-1) / slant
        found, slack = depth[at[:, 1], at[:, 0]], AGREES * expected.abs()
        # Comparisons with NaN are false: where a pixel shows two things it speaks neither for a point nor against.
        says = (slant.abs() * STEEPEST > 1) & (found >= expected - slack)
        could[rows] += says
        agree[rows] += says & (found <= expected + slack)
    return agree / (could + 1)


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
