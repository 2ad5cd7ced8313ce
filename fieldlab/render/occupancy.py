"""The occupancy grid: which cells are worth sampling, learnt from the field while it trains.

After Müller et al. 2022, appendix C: a cell holds a running maximum of density times step size and is occupied when
that exceeds a threshold. Until it is told otherwise every cell that can be occupied is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fieldlab.ops.occupancy import OccupancyBits, cell_points, occupancy_from_density, update_occupancy

NEVER = -1.0
CHUNK = 1 << 18  # cells evaluated at a time


class OccupancyGrid(nn.Module):
    """Cascades of cells; level i covers the box scaled 2^i about its center.

    Its one lasting buffer is ``values``, float32 [L,R,R,R]: density times step, or ``NEVER`` where nothing can be.

    Args:
        aabb: float32 [2,3] box of level 0 in world units.
        resolution: R, cells per side.
        levels: L.
        step: smallest sampling distance in world units.
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
    ) -> None:
        super().__init__()
        self.resolution, self.levels, self.step = resolution, levels, step
        self.threshold, self.decay = threshold, decay
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
            values = self.values.view(-1)
            self._bits = occupancy_from_density(values, self.current_threshold(), self.aabb, self.levels)
        return self._bits

    def occupied(self) -> Tensor:
        """bool [L,R,R,R]."""
        return self.values > self.current_threshold()

    def occupied_fraction(self) -> float:
        """Share of cells that are sampled."""
        return float(self.occupied().float().mean())

    def current_threshold(self) -> float:
        """The fixed threshold; the mean of all cells where none exceeds it, so that thin haze is not lost."""
        if float(self.values.max()) > self.threshold:
            return self.threshold
        possible = self.values >= 0
        mean = float(self.values.clamp_min(0).sum(dtype=torch.float64)) / max(int(possible.sum()), 1)
        # Before anything was learnt all values are zero, and all cells are to be looked at.
        return mean if mean > 0 else -0.5

    def exclude(self, cells: Tensor) -> None:
        """Mark cells (bool [L,R,R,R]) as never occupied."""
        self.values[cells] = NEVER
        self.changed()

    def positions(self, cells: Tensor, offset: Tensor | None = None) -> Tensor:
        """World positions [K,3] in cells int64 [K] (flat indices): ``offset`` [K,3] in [0,1), or in the middle."""
        return cell_points(cells, self.resolution, self.aabb, offset)

    def changed(self) -> None:
        """Call after ``values`` were changed from outside."""
        self._bits = self._candidates = None

    @torch.no_grad()
    def refresh(self, density: Callable[[Tensor], Tensor], generator: torch.Generator, passes: int = 1) -> int:
        """Look at every cell that can be occupied and forget what was known of it.

        Args:
            density: world positions [K,3] -> density [K].
            generator: CPU random numbers for positions in cells.
            passes: places to look at in each cell; the densest counts.

        Returns:
            How many densities were evaluated.
        """
        cells, values = self._possible(), self.values.view(-1)
        for part in cells.split(CHUNK):  # type: ignore[no-untyped-call]
            found = [self._look(density, part, generator) for _ in range(passes)]
            values[part] = torch.stack(found).amax(0)
        self._bits = None
        return passes * len(cells)

    @torch.no_grad()
    def update(self, density: Callable[[Tensor], Tensor], generator: torch.Generator, max_cells: int) -> int:
        """Look at a quarter of the cells that can be occupied, at random, and at as many occupied ones.

        Args:
            density: world positions [K,3] -> density [K].
            generator: CPU random numbers for cells and positions in them.
            max_cells: most cells to look at.

        Returns:
            How many densities were evaluated.
        """
        possible, values = self._possible(), self.values.view(-1)
        share = max(min(len(possible) // 4, max_cells // 2), 1)
        occupied = possible[self.occupied().view(-1)[possible]]
        if len(occupied) > share:
            occupied = self._draw(occupied, share, generator)
        # A cell drawn twice is looked at once, so that the result does not depend on the order of writing.
        cells = torch.unique(torch.cat((self._draw(possible, share, generator), occupied)))
        # What waits longer for its turn decays more when it comes, so that haze goes as fast in large grids.
        decay = self.decay ** max(1.0, len(possible) / max(len(cells), 1) / 2)
        for part in cells.split(CHUNK):
            update_occupancy(values, part, self._look(density, part, generator), decay)
        self._bits = None
        return len(cells)

    def _look(self, density: Callable[[Tensor], Tensor], cells: Tensor, generator: torch.Generator) -> Tensor:
        offset = torch.rand(len(cells), 3, generator=generator).to(cells.device)
        return density(self.positions(cells, offset)) * self.step

    def _draw(self, cells: Tensor, n: int, generator: torch.Generator) -> Tensor:
        if len(cells) == 0:
            return cells
        return cells[torch.randint(len(cells), (n,), generator=generator).to(cells.device)]

    def _possible(self) -> Tensor:
        if self._candidates is None:
            self._candidates = (self.values.view(-1) >= 0).nonzero()[:, 0]
        return self._candidates


def inner_cells(resolution: int, levels: int) -> Tensor:
    """bool [L,R,R,R]: cells of outer levels that a finer level covers completely; marching never asks for them."""
    covered = torch.zeros(levels, resolution, resolution, resolution, dtype=torch.bool)
    quarter = -(-resolution // 4)
    covered[1:, quarter : resolution - quarter, quarter : resolution - quarter, quarter : resolution - quarter] = True
    return covered
