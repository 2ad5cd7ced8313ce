"""Functions whose zero level is a surface: negative inside, positive outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from fieldlab.mesh.surface.depth_views import DepthViews
from fieldlab.render.model import RadianceModel

CHUNK = 1 << 16
LOG_RANGE = 4.0  # densities further than e^4 from the level say "inside" or "outside", not how far


class Implicit(Protocol):
    """A surface as the zero level of a function."""

    def values(self, points: Tensor) -> Tensor:
        """float32 [P] in [-1,1] at world points float32 [P,3]: negative inside, positive outside."""
        ...

    def near(self) -> Iterator[Tensor]:
        """World points [P,3], a part at a time, so that some are near every part of the surface."""
        ...

    def reach(self) -> float:
        """Distance in world units around those points within which the surface is."""
        ...


class LevelSet:
    """Where the density of a model passes a level.

    Densities span many orders of magnitude within a cell or two; their logarithm is nearly linear there. What rendering
    skips counts as empty, since whatever the field holds there was never seen.

    Args:
        level: density per world unit.
    """

    def __init__(self, model: RadianceModel, level: float) -> None:
        self.model, self.level = model, level
        self.densest, self.lowest = 0.0, float("inf")  # of what was evaluated, for messages

    @torch.no_grad()
    def values(self, points: Tensor) -> Tensor:
        parts = [self._values(part) for part in points.split(CHUNK)]
        return torch.cat(parts) if parts else torch.zeros(0)

    def _values(self, points: Tensor) -> Tensor:
        at = points.to(self.model.aabb.device)
        sigma = self.model.density(at).float()
        sigma = torch.where(self._drawn(at), sigma, torch.zeros_like(sigma)).cpu()
        self.densest = max(self.densest, float(sigma.max()))
        self.lowest = min(self.lowest, _smallest(sigma))
        return -(sigma / self.level).log().clamp(-LOG_RANGE, LOG_RANGE) / LOG_RANGE

    def _drawn(self, points: Tensor) -> Tensor:
        if getattr(self.model, "occupancy", None) is None:
            return torch.ones(len(points), dtype=torch.bool, device=points.device)
        return self.model.occupied(self.model.to_unit(points))

    def near(self) -> Iterator[Tensor]:
        """Centers of the cells of the occupancy grid that are drawn, or of a grid where there is none."""
        occupancy = getattr(self.model, "occupancy", None)
        grid = torch.ones((64,) * 3, dtype=torch.bool) if occupancy is None else occupancy.occupied()[0].cpu()
        box = self.model.aabb.cpu()
        for layer in range(grid.shape[0]):
            cells = grid[layer].nonzero()
            if len(cells):
                index = torch.cat((torch.full_like(cells[:, :1], layer), cells), dim=1)
                yield box[0] + (index + 0.5) / grid.shape[0] * (box[1] - box[0])

    def reach(self) -> float:
        occupancy = getattr(self.model, "occupancy", None)
        cells = 64 if occupancy is None else occupancy.occupied().shape[-1]
        return 0.5 * float((self.model.aabb[1] - self.model.aabb[0]).max()) / cells


def _smallest(sigma: Tensor) -> float:
    """The lowest density that is not zero; infinite when there is none."""
    return float(torch.where(sigma > 0, sigma, torch.inf).min())


class FusedDepth:
    """What many cameras agree on: a truncated signed distance (Curless and Levoy 1996).

    Every view says how far a point lies in front of what it sees. Free space counts from any distance; points behind
    what a view sees are hidden from it, so it speaks of those close behind only, and the less the further. What is
    hidden from every view is inside, which closes the surface where nobody looked.

    Args:
        views: the depth pictures.
        outside, inside: distances in world units in front of and behind what a view sees at which it says no more than
            "outside" and nothing at all.
    """

    def __init__(self, views: DepthViews, outside: float, inside: float) -> None:
        self.views, self.outside, self.inside = views, outside, inside

    @torch.no_grad()
    def values(self, points: Tensor) -> Tensor:
        parts = [self._values(part) for part in points.split(CHUNK)]
        return torch.cat(parts) if parts else torch.zeros(0)

    def _values(self, points: Tensor) -> Tensor:
        total, weights, rows = torch.zeros(len(points)), torch.zeros(len(points)), points.T.contiguous()
        for i in range(len(self.views)):
            ahead = self.views.ahead(i, rows)
            weight = (ahead / self.inside).add_(1).clamp_(0, 1)
            total.addcmul_(weight, ahead.div_(self.outside).clamp_(-1, 1))
            weights.add_(weight)
        return torch.where(weights > 1e-6, total / weights.clamp_min(1e-6), -1.0)

    def near(self) -> Iterator[Tensor]:
        return self.views.points()

    def reach(self) -> float:
        return 0.5 * self.inside
