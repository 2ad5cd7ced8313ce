"""What photographs see of a trained field, found once: the radiance field does not change while features are learnt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.ops.composite import composite, visible
from fieldlab.ops.samples import keep
from fieldlab.render.model import EARLY_STOP, RadianceModel

LEAST_SHARE = 0.2  # of the heaviest sample's weight on a ray, of samples that are kept
CHUNK = 1 << 13


@dataclass
class Sightings:
    """P pixels of one photograph and the S samples that they see.

    Args:
        pixels: int64 [P], places in the flattened picture.
        directions: float32 [P,3], unit.
        offsets: int64 [P+1]: pixel i sees the samples from offsets[i] to offsets[i+1].
        x: float32 [S,3], where they were learnt, in coordinates of the field.
        weights: float32 [S] of compositing, those of samples that are left out given to the others on the ray.
        opacity: float32 [P], sums of the weights.
        depth: float32 [P], mean distance of what is seen, 0 where nothing is.
        points: float32 [P,3], world.
    """

    pixels: Tensor
    directions: Tensor
    offsets: Tensor
    x: Tensor
    weights: Tensor
    opacity: Tensor
    depth: Tensor
    points: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def of(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The samples of some pixels int64 [N]: x [K,3], weights [K] and which of the N each belongs to, int64 [K]."""
        start, count = self.offsets[chosen], self.offsets[chosen + 1] - self.offsets[chosen]
        owner = torch.repeat_interleave(torch.arange(len(chosen), device=chosen.device), count)
        before = count.cumsum(0) - count
        rows = torch.arange(len(owner), device=chosen.device) - before[owner] + start[owner]
        return self.x[rows], self.weights[rows], owner


@torch.no_grad()
def look(model: RadianceModel, cameras: Cameras, i: int, pixels: Tensor) -> Sightings:
    """What pixels int64 [P] of view ``i`` see."""
    width = int(cameras.size[i, 0])
    centers = torch.stack((pixels % width, pixels // width), dim=1).float() + 0.5
    rays = cameras.rays(torch.full_like(pixels, i), centers).to(model.device)
    parts = [_look(model, rays[at : at + CHUNK]) for at in range(0, max(len(pixels), 1), CHUNK)]
    counts, x, weights, opacity, depth = (torch.cat(found) for found in zip(*parts, strict=True))
    offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    points = rays.origins + rays.directions * depth[:, None]
    return Sightings(pixels.to(model.device), rays.directions, offsets, x, weights, opacity, depth, points)


def _look(model: RadianceModel, rays: Rays) -> tuple[Tensor, ...]:
    samples = model.sample(rays)
    x, _ = model.points(rays, samples)
    sigma = model.field.density(x)
    seen = visible(sigma, samples, EARLY_STOP)
    samples, sigma, x = keep(samples, seen), sigma[seen], x[seen]
    found = composite(sigma, None, samples, EARLY_STOP)
    heaviest = torch.zeros_like(found.opacity).scatter_reduce(0, samples.ray_indices, found.weights, "amax")
    heavy = (found.weights >= LEAST_SHARE * heaviest[samples.ray_indices]) & (found.weights > 0)
    samples, x, weights = keep(samples, heavy), x[heavy], found.weights[heavy]
    kept = torch.zeros_like(found.opacity).index_add(0, samples.ray_indices, weights).clamp_min(1e-9)
    weights = weights * (found.opacity / kept)[samples.ray_indices]
    depth = found.depth / found.opacity.clamp_min(1e-6)
    return samples.counts, model.field.source(x), weights, found.opacity, depth
