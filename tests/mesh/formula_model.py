"""A model whose field is a formula: a textured ball, so that exports can be checked against what is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras


class FormulaModel:
    """Stands in for a RadianceModel: density and color are functions of world points."""

    def __init__(self, aabb: Tensor, density: Callable[[Tensor], Tensor], rgb: Callable[[Tensor], Tensor]) -> None:
        self.aabb, self._density, self._rgb = aabb, density, rgb
        self.occupancy = None
        self.evaluated = 0

    def density(self, points: Tensor) -> Tensor:
        self.evaluated += len(points)
        inside = ((points >= self.aabb[0]) & (points <= self.aabb[1])).all(-1)
        return torch.where(inside, self._density(points), torch.zeros(len(points)))

    def rgb(self, points: Tensor, directions: Tensor) -> Tensor:
        assert torch.allclose(directions.norm(dim=-1), torch.ones(len(directions)), atol=1e-4)
        return self._rgb(points)

    def render_image(
        self, cameras: Cameras, i: int, *, background: Tensor | None = None, channels: Sequence[str] = ("rgb",)
    ) -> dict[str, Tensor]:
        """Sphere tracing of the ball of radius 0.6 around ``center``."""
        rays = cameras.image_rays(i)
        width, height = cameras.size[i].tolist()
        offset = rays.origins - CENTER
        b = (offset * rays.directions).sum(-1)
        root = b * b - (offset.square().sum(-1) - RADIUS**2)
        hit = root > 0
        depth = torch.where(hit, -b - root.clamp_min(0).sqrt(), torch.zeros(()))
        points = rays.origins + depth[:, None] * rays.directions
        back = torch.ones(3) if background is None else background
        made = {
            "rgb": torch.where(hit[:, None], self._rgb(points), back),
            "depth": depth[:, None],
            "opacity": hit.float()[:, None],
            "normal": torch.where(hit[:, None], (points - CENTER) / RADIUS, torch.zeros(3)),
        }
        return {name: made[name].reshape(height, width, -1) for name in channels}


CENTER = torch.tensor([10.1, -4.9, 2.2])
RADIUS = 0.6


def ball_density(points: Tensor) -> Tensor:
    """A soft wall: 100 per unit at the surface, e-fold every 0.02 units."""
    return 88.7 * torch.exp(((RADIUS - (points - CENTER).norm(dim=-1)) / 0.02).clamp(-20, 3))


def ball_color(points: Tensor) -> Tensor:
    """Red grows with x, green with y, blue with z over the ball."""
    return ((points - CENTER) / RADIUS * 0.4 + 0.5).clamp(0, 1)
