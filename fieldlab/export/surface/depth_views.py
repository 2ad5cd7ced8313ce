"""How far the field's surface is from a set of cameras: the evidence a fused surface is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.errors import ConfigError
from fieldlab.ops.composite import composite, visible
from fieldlab.ops.samples import Samples, keep, sum_before
from fieldlab.render.model import EARLY_STOP, RadianceModel

MOST_VIEWS = 128
MOST_RAYS = 6_000_000
CHUNK = 1 << 14
OPAQUE = 0.5
# Where this share of what a ray sees has come together is the surface. A field that was trained briefly is soft: half
# of the light is stopped well behind the surface, and the more so the more obliquely the ray meets it.
FRONT = 0.3
BACK = 0.7


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

    def __len__(self) -> int:
        return len(self.depth)

    def points(self) -> Iterator[Tensor]:
        """Of each view in turn what its pixels see, float32 [P,3] in the world."""
        for i, depth in enumerate(self.depth):
            rays = self.cameras.image_rays(i)
            seen = depth.isfinite().flatten()
            yield rays.origins[seen] + depth.flatten()[seen, None] * rays.directions[seen]

    def ahead(self, i: int, points: Tensor) -> Tensor:
        """How far points [P,3] lie in front of what view ``i`` sees in their direction, [P]: negative behind it,
        infinite where it sees nothing, nan outside the picture."""
        depth = self.depth[i]
        height, width = depth.shape
        pixels, _, valid = self.cameras.project(i, points)
        column = pixels[:, 0].long().clamp_(0, width - 1)
        row = pixels[:, 1].long().clamp_(0, height - 1)
        found = depth[row, column] - (points - self.cameras.origins[i]).norm(dim=-1)
        return torch.where(valid, found, torch.nan)


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
    small = chosen.scaled(min(1.0, math.sqrt(MOST_RAYS / int(chosen.pixel_counts().sum()))))
    pictures, softness = [], []
    for i in range(views):
        width, height = small.size[i].tolist()
        rays = small.image_rays(i)
        found = [front_and_back(model, rays[at : at + CHUNK].to(model.device)) for at in range(0, len(rays), CHUNK)]
        front, back = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        pictures.append(front.view(height, width))
        softness.append((back - front)[front.isfinite()])
        if on_share is not None:
            on_share((i + 1) / views)
    thick = torch.cat(softness)
    return DepthViews(small, pictures, float(thick.median()) if len(thick) else 0.0)


def front_and_back(model: RadianceModel, rays: Rays) -> tuple[Tensor, Tensor]:
    """Distances [N] at which the ``FRONT`` and ``BACK`` shares of what rays see have come together; infinite for rays
    that pass more than half of the light."""
    samples = model.sample(rays)
    x, _ = model.points(rays, samples)
    sigmas = model.field.density(x)
    seen = visible(sigmas, samples, EARLY_STOP)
    samples, sigmas = keep(samples, seen), sigmas[seen]
    found = composite(sigmas, None, samples, EARLY_STOP)
    opaque = found.opacity > OPAQUE
    front, back = (reached(found.weights, share * found.opacity, samples) for share in (FRONT, BACK))
    return torch.where(opaque, front, torch.inf), torch.where(opaque, back, torch.inf)


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
