"""How far the field's surface is from a set of cameras: the evidence a fused surface is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fieldlab.data.cameras import CameraModel, Cameras, Rays
from fieldlab.errors import ConfigError
from fieldlab.ops.samples import Samples, sum_before
from fieldlab.render.model import RadianceModel

MOST_VIEWS = 128
MOST_RAYS = 6_000_000
CHUNK = 1 << 14
OPAQUE = 0.5
HIDDEN = -1e9  # far behind everything: what a view says of points it cannot see
# Where this share of what a ray sees has come together is the surface. A field that was trained briefly is soft: half
# of the light is stopped well behind the surface, and the more so the more obliquely the ray meets it.
FRONT = 0.3
BACK = 0.7
FINER = 2  # pixels of the pictures that are fused, for each that is rendered
STEEPEST = 6.0  # tangent of the steepest slant that still is a surface and not an edge


@dataclass
class DepthViews:
    """Depth pictures of V cameras, on the CPU.

    Args:
        cameras: V of them, at the size of the pictures.
        depth: V times float32 [H,W], distance along the ray to the front of what is seen; infinite where light passes.
        softness: median distance between the front and the back of what opaque rays see: 0 for a hard surface.
    """

    cameras: Cameras
    depth: list[Tensor]
    softness: float
    _pinholes: list[Pinhole | None] = field(init=False)

    def __post_init__(self) -> None:
        self._pinholes = [Pinhole.of(self.cameras, i, depth) for i, depth in enumerate(self.depth)]

    def __len__(self) -> int:
        return len(self.depth)

    def points(self) -> Iterator[Tensor]:
        """Of each view in turn what its pixels see, float32 [P,3] in the world."""
        for i, depth in enumerate(self.depth):
            rays = self.cameras.image_rays(i)
            seen = depth.isfinite().flatten()
            yield rays.origins[seen] + depth.flatten()[seen, None] * rays.directions[seen]

    def ahead(self, i: int, points: Tensor) -> Tensor:
        """How far points [3,P] lie in front of what view ``i`` sees in their direction, [P]: negative behind it,
        infinite where it sees nothing, ``HIDDEN`` outside the picture."""
        pinhole = self._pinholes[i]
        if pinhole is not None:
            return pinhole.ahead(points)
        depth = self.depth[i]
        height, width = depth.shape
        pixels, _, valid = self.cameras.project(i, points.T)
        column, row = pixels[:, 0].long().clamp_(0, width - 1), pixels[:, 1].long().clamp_(0, height - 1)
        found = depth[row, column] - (points.T - self.cameras.origins[i]).norm(dim=-1)
        return torch.where(valid, found, HIDDEN)

    def sightings(self, points: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Who sees world points [P,3], on what is seen to within ``tolerance`` world units.

        Returns:
            int64 [P], the number of views; float32 [P,3], the sum of the unit directions they look in.
        """
        count, directions = torch.zeros(len(points), dtype=torch.int64), torch.zeros(3, len(points))
        rows = points.T.contiguous()
        for i in range(len(self)):
            seen = self.ahead(i, rows).abs() <= tolerance
            count += seen
            directions += seen * torch.nn.functional.normalize(rows - self.cameras.origins[i][:, None], dim=0)
        return count, directions.T


@dataclass
class Pinhole:
    """A depth picture without distortion, laid out to be asked for many points: this is where fusing spends its time.

    Args:
        to_pixels: float32 [3,4] from world points to pixel coordinates times z-depth, and z-depth.
        depth: float32 [H*W+1] z-depth, and ``HIDDEN`` for all that is outside.
        slant: float32 [H*W+1] length of the ray for each unit of z-depth.
    """

    width: int
    height: int
    to_pixels: Tensor
    depth: Tensor
    slant: Tensor

    @staticmethod
    def of(cameras: Cameras, i: int, depth: Tensor) -> Pinhole | None:
        """View ``i`` if it is a perspective camera without distortion."""
        if int(cameras.model[i]) != CameraModel.PERSPECTIVE or bool((cameras.distortion[i] != 0).any()):
            return None
        fx, fy, cx, cy = cameras.intrinsics[i].tolist()
        pose = cameras.camera_to_world[i]
        rotation = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]) @ pose[:, :3].T
        to_pixels = torch.cat((rotation, -rotation @ pose[:, 3:]), dim=1)
        slant = 1 / (cameras.image_rays(i).directions @ pose[:, 2])
        height, width = depth.shape
        outside = torch.tensor([HIDDEN])
        return Pinhole(
            width, height, to_pixels, torch.cat((depth.flatten() / slant, outside)), torch.cat((slant, torch.ones(1)))
        )

    def ahead(self, points: Tensor) -> Tensor:
        u, v, z = torch.addmm(self.to_pixels[:, 3:], self.to_pixels[:, :3], points)
        inverse = z.reciprocal()
        u, v = u * inverse, v * inverse
        seen = (z > 1e-8) & (u >= 0) & (u < self.width) & (v >= 0) & (v < self.height)
        place = v.to(torch.int32) * self.width + u.to(torch.int32)
        place = torch.where(seen, place, self.width * self.height)
        return (self.depth.index_select(0, place) - z) * self.slant.index_select(0, place)


@torch.no_grad()
def see_depth(model: RadianceModel, cameras: Cameras, on_share: Callable[[float], object] | None = None) -> DepthViews:
    """Depth pictures of the field from cameras; when there are many, from evenly chosen ones, and smaller.

    Args:
        on_share: called with the share of the work done so far, up to 1.

    Raises:
        ConfigError: there are no cameras.
    """
    if len(cameras) == 0:
        raise ConfigError("there are no cameras to see the surface from", expected="one at least")
    views = min(len(cameras), MOST_VIEWS)
    chosen = cameras.to("cpu")[torch.linspace(0, len(cameras) - 1, views).round().long()]
    small = _without_distortion(chosen.scaled(min(1.0, math.sqrt(MOST_RAYS / int(chosen.pixel_counts().sum())))))
    pictures, softness = [], []
    for i in range(views):
        width, height = small.size[i].tolist()
        rays = small.image_rays(i)
        found = [front_and_back(model, rays[at : at + CHUNK].to(model.device)) for at in range(0, len(rays), CHUNK)]
        front, back, opacity = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        opaque = opacity > OPAQUE
        softness.append((back - front)[opaque])
        focal = float(small.intrinsics[i, :2].min())
        pictures.append(finer(front.view(height, width), opacity.view(height, width), STEEPEST / focal))
        if on_share is not None:
            on_share((i + 1) / views)
    thick = torch.cat(softness)
    return DepthViews(small.scaled(FINER), pictures, float(thick.median()) if len(thick) else 0.0)


def _without_distortion(cameras: Cameras) -> Cameras:
    """Perspective cameras as ideal pinholes: depth pictures need not be those of the photographs, only quick to ask."""
    straight = (cameras.model == CameraModel.PERSPECTIVE)[:, None]
    return replace(cameras, distortion=torch.where(straight, 0.0, cameras.distortion))


def front_and_back(model: RadianceModel, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
    """Distances [N] at which the ``FRONT`` and ``BACK`` shares of what rays see have come together, infinite where they
    see nothing; and their opacity [N]."""
    seen = model.see(rays)
    found = seen.composite()
    front, back = (reached(found.weights, share * found.opacity, seen.samples) for share in (FRONT, BACK))
    return front, back, found.opacity


def finer(depth: Tensor, opacity: Tensor, steepest: float) -> Tensor:
    """A depth picture with ``FINER`` times as many pixels on a side, infinite where less than half is opaque.

    Outlines follow the interpolated opacity, so that they are not drawn in steps of a pixel. Inverse depth, which is
    linear on planes, is interpolated between pixels of one surface; across an edge the nearest opaque pixel counts.

    Args:
        depth, opacity: float32 [H,W]; depth is infinite where nothing is seen.
        steepest: change of depth from pixel to pixel, as a share of it, that still is one surface.
    """
    height, width = depth.shape
    (row, v), (column, u) = (_between(n) for n in (height, width))
    places = [(row[a][:, None] * width + column[b], v[a][:, None] * u[b]) for a in (0, 1) for b in (0, 1)]
    inverse, flat = (1 / depth).flatten(), opacity.flatten()
    share = sum(flat[place] * weight for place, weight in places)
    opaque = flat > 0.5 * OPAQUE
    # The nearest pixel that sees something decides which surface it is.
    weights = torch.stack([weight * opaque[place] for place, weight in places])
    around = torch.stack([inverse[place] for place, _ in places])
    nearest = around.gather(0, weights.argmax(0, keepdim=True))[0]
    same = (around - nearest).abs() < steepest * nearest
    weights = weights * same
    made = (weights * torch.where(same, around, 0.0)).sum(0) / weights.sum(0).clamp_min(1e-12)
    return torch.where((torch.as_tensor(share) > OPAQUE) & (made > 0), 1 / made, torch.inf)


def _between(n: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """For each of ``FINER`` n pixels the two of n around its center, and their weights."""
    at = (torch.arange(FINER * n) + 0.5) / FINER - 0.5
    low = at.floor()
    share = at - low
    below, above = low.long().clamp(0, n - 1), (low.long() + 1).clamp(0, n - 1)
    return (below, above), (1 - share, share)


def reached(weights: Tensor, wanted: Tensor, samples: Samples) -> Tensor:
    """Distance [N] at which the sum of a ray's weights [S] reaches ``wanted`` [N], linear within a sample; infinite
    where it never does."""
    ray = samples.ray_indices
    before = sum_before(weights, samples.ray_offsets, ray)
    share = (wanted[ray] - before) / weights.clamp_min(1e-12)
    crossing = (weights > 0) & (share <= 1 + 1e-6) & (share > -1e-6)
    at = samples.t_starts + share.clamp(0, 1) * samples.lengths
    start = torch.full_like(wanted, torch.inf)
    return start.scatter_reduce(0, ray[crossing], at[crossing], "amin")
