"""The occupancy grid: which cells are worth sampling, learnt from the field while it trains.

Müller et al. 2022, appendix C, with nerfacc's rules for threshold and decay: a cell holds a running maximum of
density times step size; it is occupied when that exceeds the smaller of its level's mean and a fixed threshold. (Levels
are judged apart since steps grow with them.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fieldlab.ops.occupancy import OccupancyBits, cell_points, occupancy_from_density

NEVER = -1.0


class OccupancyGrid(nn.Module):
    """Cascades of cells; level i covers the box scaled 2^i about its center.

    Its one lasting buffer is ``values``, float32 [L,R,R,R]: density times step, or ``NEVER`` where nothing can be.

    Args:
        aabb: float32 [2,3] box of level 0 in world units.
        resolution: R, cells per side.
        levels: L.
        step: sampling distance at level 0 in world units; it doubles per level.
    """

    values: Tensor
    aabb: Tensor

    def __init__(
        self,
        aabb: Tensor,
        resolution: int,
        levels: int,
        step: float,
        *,
        threshold: float = 0.01,
        decay: float = 0.95,
        warmup_steps: int = 256,
    ) -> None:
        super().__init__()
        self.resolution, self.levels, self.step = resolution, levels, step
        self.threshold, self.decay, self.warmup_steps = threshold, decay, warmup_steps
        self.register_buffer("aabb", aabb.detach().clone().float(), persistent=False)
        self.register_buffer("values", torch.zeros(levels, resolution, resolution, resolution))
        self._bits: OccupancyBits | None = None
        self._candidates: Tensor | None = None

    @property
    def n_cells(self) -> int:
        """L R^3."""
        return self.values.numel()

    def packed(self) -> OccupancyBits:
        """What marching reads."""
        if self._bits is None or self._bits.bits.device != self.values.device:
            excess = self.values.view(self.levels, -1) - self.thresholds()[:, None]
            self._bits = occupancy_from_density(excess.view(-1), 0.0, self.aabb, self.levels)
        return self._bits

    def occupied(self) -> Tensor:
        """bool [L,R,R,R]."""
        return self.values > self.thresholds().view(-1, 1, 1, 1)

    def occupied_fraction(self) -> float:
        """Share of cells that are sampled."""
        return float(self.occupied().float().mean())

    def thresholds(self) -> Tensor:
        """float32 [L]: the smaller of the fixed threshold and the mean over a level's cells that can be occupied."""
        values = self.values.view(self.levels, -1)
        count = (values >= 0).sum(1)
        mean = values.clamp_min(0).sum(1, dtype=torch.float64) / count.clamp_min(1)
        # Before anything was learnt all values are zero, and all cells are to be looked at.
        return torch.where(mean > 0, mean.clamp(max=self.threshold), -0.5).float()

    def exclude(self, cells: Tensor) -> None:
        """Mark cells (bool [L,R,R,R]) as never occupied."""
        self.values[cells] = NEVER
        self.changed()

    def start_occupied(self, value: float) -> None:
        """Set all cells that can be occupied to ``value``; decay will empty those where nothing is found."""
        self.values[self.values >= 0] = value
        self.changed()

    def positions(self, cells: Tensor, offset: Tensor | None = None) -> Tensor:
        """World positions [K,3] in cells int64 [K] (flat indices): ``offset`` [K,3] in [0,1), or in the middle."""
        return cell_points(cells, self.resolution, self.aabb, offset)

    def changed(self) -> None:
        """Call after ``values`` were changed from outside."""
        self._bits = self._candidates = None

    @torch.no_grad()
    def update(
        self,
        density: Callable[[Tensor], Tensor],
        step: int,
        generator: torch.Generator,
        max_cells: int | None = None,
        chunk: int = 1 << 18,
    ) -> int:
        """Evaluate the field in some cells and find anew what is occupied.

        During warm-up all cells that can be occupied; afterwards a quarter of them at random and as many occupied ones.

        Args:
            density: world positions [K,3] -> density [K].
            step: training step, which decides about warm-up.
            generator: CPU random numbers for cells and positions inside them.
            max_cells: most cells to evaluate.
            chunk: how many at a time.

        Returns:
            How many cells were evaluated.
        """
        cells = self._choose(step, generator, max_cells)
        for part in cells.split(chunk):
            offset = torch.rand(len(part), 3, generator=generator).to(part.device)
            found = density(self.positions(part, offset)) * self._step_at(part)
            values = self.values.view(-1)
            values[part] = torch.maximum(values[part] * self.decay, found)
        self._bits = None
        return len(cells)

    def _choose(self, step: int, generator: torch.Generator, max_cells: int | None) -> Tensor:
        possible = self._possible()
        n = len(possible)
        limit = n if max_cells is None else min(n, max_cells)
        if step < self.warmup_steps:
            return possible if limit == n else self._draw(possible, limit, generator)
        share = max(min(n // 4, limit // 2), 1)
        occupied = possible[self.occupied().view(-1)[possible]]
        drawn = self._draw(possible, share, generator)
        if len(occupied) > share:
            occupied = self._draw(occupied, share, generator)
        # A cell drawn twice is written twice; sorting keeps the result independent of the order of writes.
        return torch.unique(torch.cat((drawn, occupied)))

    def _draw(self, cells: Tensor, n: int, generator: torch.Generator) -> Tensor:
        if len(cells) == 0:
            return cells
        return cells[torch.randint(len(cells), (n,), generator=generator).to(cells.device)]

    def _possible(self) -> Tensor:
        if self._candidates is None:
            self._candidates = (self.values.view(-1) >= 0).nonzero()[:, 0]
        return self._candidates

    def _step_at(self, cells: Tensor) -> Tensor | float:
        if self.levels == 1:
            return self.step
        return self.step * torch.exp2((cells // self.resolution**3).float())


def inner_cells(resolution: int, levels: int) -> Tensor:
    """bool [L,R,R,R]: cells of outer levels that a finer level covers completely; marching never asks for them."""
    covered = torch.zeros(levels, resolution, resolution, resolution, dtype=torch.bool)
    quarter = -(-resolution // 4)
    covered[1:, quarter : resolution - quarter, quarter : resolution - quarter, quarter : resolution - quarter] = True
    return covered
