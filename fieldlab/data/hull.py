"""Visual hulls: what the alpha channels of the training views leave of space (Laurentini 1994).

Carving is conservative: a cell goes only when some view sees it wholly outside the silhouette. Cells are refined
eightfold, so that the cost follows the object rather than the volume.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.data.views import Views

ALPHA_THRESHOLD = 4  # of 255: fainter pixels count as empty
MAX_VIEWS = 100
MAX_SIDE = 256  # silhouettes are pooled to this size first
MIN_SEEN = 0.1  # share of the views that must see a cell for it to be kept
COARSE = 16


def has_transparency(views: Views, share: float = 0.02) -> bool:
    """Whether most views have more than ``share`` of their pixels transparent, that is, show a cut-out object."""
    if views.channels < 4 or len(views) == 0:
        return False
    empty = [float((views.image(i)[..., 3] <= ALPHA_THRESHOLD).float().mean()) for i in _chosen(len(views))]
    return float(np.median(empty)) > share


def hull_box(views: Views, start: Tensor, resolution: int = 64) -> Tensor | None:
    """The bounds [2,3] of the visual hull, sought inside the box ``start`` [2,3]; None when nothing is left.

    Two passes of ``resolution`` cells along each side, the second inside the box that the first one found.
    """
    carver = _Carver(views)
    box = start
    for _ in range(2):
        centers, half = carver.carve(box, resolution)
        if centers.shape[0] == 0:
            return None
        box = torch.stack((centers.amin(0) - half, centers.amax(0) + half))
    return box


def visual_hull(views: Views, aabb: Tensor, resolution: int = 128) -> Tensor | None:
    """bool [R,R,R] (x, y, z): cells of the box [2,3] that the silhouettes do not rule out.

    Holds everything the views show, and somewhat more. None when the views have no alpha channel worth the name.
    """
    if not has_transparency(views):
        return None
    aabb = aabb.detach().cpu().float()
    centers, _ = _Carver(views).carve(aabb, resolution)
    cells = ((centers - aabb[0]) / (aabb[1] - aabb[0]) * resolution).long().clamp(0, resolution - 1)
    hull = torch.zeros(resolution, resolution, resolution, dtype=torch.bool)
    hull[cells[:, 0], cells[:, 1], cells[:, 2]] = True
    return hull


class _Carver:
    """Distances to the silhouettes of some views, ready to test cells against."""

    def __init__(self, views: Views) -> None:
        chosen = _chosen(len(views))
        # Neighbors in the list often look alike: a stride brings different directions first, which carve more.
        chosen = [chosen[(k * 7) % len(chosen)] for k in range(len(chosen))] if len(chosen) % 7 else chosen
        cpu = views.cameras[torch.tensor(chosen, device=views.cameras.device)].to("cpu")
        keep = [k for k in range(len(chosen)) if int(cpu.model[k]) != CameraModel.EQUIRECTANGULAR]
        self.cameras: Cameras = cpu[torch.tensor(keep, dtype=torch.int64)]
        self.distances = [_silhouette_distance(views, chosen[k]) for k in keep]

    def carve(self, box: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
        """Centers [K,3] of the cells that stay when ``box`` is divided ``resolution`` times, and half a cell [3]."""
        divisions = resolution
        while divisions % 2 == 0 and divisions > COARSE:
            divisions //= 2
        axis = torch.arange(divisions)
        cells = torch.cartesian_prod(axis, axis, axis)
        children = torch.cartesian_prod(*[torch.arange(2)] * 3)
        while True:
            half = (box[1] - box[0]) / (2 * divisions)
            centers = box[0] + (2 * cells + 1) * half
            kept = self._keep(centers, float(half.norm()))
            cells, centers = cells[kept], centers[kept]
            if divisions == resolution:
                return centers, half
            cells = (2 * cells[:, None] + children).reshape(-1, 3)
            divisions *= 2

    def _keep(self, centers: Tensor, radius: float) -> Tensor:
        """bool [P]: balls of this radius that no view rules out and enough views see."""
        alive = torch.arange(centers.shape[0])
        seen = torch.zeros(centers.shape[0], dtype=torch.int32)
        for i, (distance, scale) in enumerate(self.distances):
            pixels, depth, valid = self.cameras.project(i, centers[alive])
            seen[alive] += valid
            focal = float(self.cameras.intrinsics[i, :2].max())
            outside = valid & (self._distance_at(distance, scale, pixels) > self._reach(focal, depth, radius, scale))
            alive = alive[~outside]
        enough = max(1, int(MIN_SEEN * len(self.distances)))
        kept = torch.zeros(centers.shape[0], dtype=torch.bool)
        kept[alive] = seen[alive] >= enough
        return kept

    @staticmethod
    def _reach(focal: float, depth: Tensor, radius: float, scale: int) -> Tensor:
        """Pixels that a ball may reach around its projected center; infinite for balls that touch the camera.

        The factor covers the stretching towards the corners of wide pictures; the summand covers pooling.
        """
        gap = depth - radius
        reach = 1.5 * focal * radius / gap.clamp_min(1e-9)
        return torch.where(gap > 0, reach, torch.inf) + 1.0 + (1.5 * scale if scale > 1 else 0.0)

    @staticmethod
    def _distance_at(distance: Tensor, scale: int, pixels: Tensor) -> Tensor:
        height, width = distance.shape
        x = (pixels[:, 0] / scale).long().clamp(0, width - 1)
        y = (pixels[:, 1] / scale).long().clamp(0, height - 1)
        return distance[y, x]


def _silhouette_distance(views: Views, i: int) -> tuple[Tensor, int]:
    """Distance in pixels [h,w] to the silhouette of view ``i``, pooled by the factor returned with it."""
    from scipy import ndimage

    inside = views.image(i)[..., 3] > ALPHA_THRESHOLD
    if (mask := views.mask(i)) is not None:
        inside = inside | ~mask  # an ignored pixel says nothing, so it must not carve
    inside = inside.cpu()
    scale = -(-max(inside.shape) // MAX_SIDE)
    if scale > 1:
        pooled = torch.nn.functional.max_pool2d(inside[None, None].float(), scale, ceil_mode=True)
        inside = pooled[0, 0] > 0
    if not bool(inside.any()):
        return torch.full(inside.shape, float("inf")), scale
    return torch.from_numpy(ndimage.distance_transform_edt(~inside.numpy()) * scale).float(), scale


def _chosen(count: int) -> list[int]:
    """At most MAX_VIEWS positions, evenly spaced."""
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, MAX_VIEWS))}) if count else []
