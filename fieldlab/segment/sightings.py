"""What photographs see of a trained field, found once: the radiance field does not change while features are learnt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.ops.samples import Samples, keep, sum_before
from fieldlab.render.model import RadianceModel

LEAST_SHARE = 0.2  # of the heaviest sample's weight on a ray, of samples that are kept
CHUNK = 1 << 13
STEEP = 0.01  # change of depth between pixels, as a share of it, from which its distance is found anew
CERTAIN = 0.99  # opacity below which it is found anew too


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
def observe(model: RadianceModel, cameras: Cameras, i: int, pixels: Tensor) -> Sightings:
    """What pixels int64 [P] of view ``i`` see."""
    width = int(cameras.size[i, 0])
    centers = torch.stack((pixels % width, pixels // width), dim=1).float() + 0.5
    rays = cameras.rays(torch.full_like(pixels, i), centers).to(model.device)
    parts = [_observe(model, rays[at : at + CHUNK]) for at in range(0, max(len(pixels), 1), CHUNK)]
    counts, x, weights, opacity, depth = (torch.cat(found) for found in zip(*parts, strict=True))
    offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    points = rays.origins + rays.directions * depth[:, None]
    return Sightings(pixels.to(model.device), rays.directions, offsets, x, weights, opacity, depth, points)


@torch.no_grad()
def surface_depth(model: RadianceModel, cameras: Cameras, i: int) -> tuple[Tensor, Tensor]:
    """Distance along the ray, and opacity, of every pixel of view ``i``, float32 [H,W] on the CPU.

    Composited distances are means: at a silhouette they lie between the surface and what is behind it, where nothing
    is. There, the distance is that by which half of what the ray sees has come together.
    """
    shown = model.render_image(cameras, i, channels=("depth", "opacity"))
    depth, opacity = shown["depth"][..., 0].cpu(), shown["opacity"][..., 0].cpu()
    around = depth[None, None]
    change = max_pool2d(around, 3, 1, 1) + max_pool2d(-around, 3, 1, 1)
    # Depth changes on a slanted surface too; finding it anew does no harm.
    doubtful = (change[0, 0] > STEEP * depth) | (opacity < CERTAIN)
    again = ((opacity > 0) & doubtful).flatten().nonzero()[:, 0]
    rays = cameras[i].to("cpu").image_rays(0)
    for part in again.split(CHUNK):
        depth.view(-1)[part] = _middle(model, rays[part].to(model.device)).cpu()
    return depth, opacity


def _middle(model: RadianceModel, rays: Rays) -> Tensor:
    """:func:`half_way` of rays."""
    seen = model.see(rays)
    found = seen.composite()
    return half_way(found.weights, found.opacity, seen.samples)


def half_way(weights: Tensor, opacity: Tensor, samples: Samples) -> Tensor:
    """Distance [N] of the middle of the first sample by which half of a ray's weights [S] have come together, which are
    ``opacity`` [N] in all; 0 where there are none."""
    ray = samples.ray_indices
    half = sum_before(weights, samples.ray_offsets, ray) + weights >= 0.5 * opacity[ray]
    half &= weights > 0
    depth = torch.full_like(opacity, torch.inf).scatter_reduce(0, ray[half], samples.middles[half], "amin")
    return torch.where(depth.isfinite(), depth, 0)


def _observe(model: RadianceModel, rays: Rays) -> tuple[Tensor, ...]:
    """Samples of each ray, then what :class:`Sightings` keeps of them: x, weights, opacity and depth."""
    seen = model.see(rays)
    found, samples = seen.composite(), seen.samples
    heaviest = torch.zeros_like(found.opacity).scatter_reduce(0, samples.ray_indices, found.weights, "amax")
    heavy = (found.weights >= LEAST_SHARE * heaviest[samples.ray_indices]) & (found.weights > 0)
    samples, weights = keep(samples, heavy), found.weights[heavy]
    x, _ = model.points(rays, samples)
    kept = torch.zeros_like(found.opacity).index_add(0, samples.ray_indices, weights).clamp_min(1e-9)
    weights = weights * (found.opacity / kept)[samples.ray_indices]
    depth = found.depth / found.opacity.clamp_min(1e-6)
    return samples.counts, model.field.source(x), weights, found.opacity, depth
