"""The occupancy grid: which cells are worth sampling, learnt from the field while it trains.

After Müller et al. 2022, appendix C: a cell holds a running maximum of density times step size and is occupied when
that exceeds a threshold. Until somebody has looked at it every cell that can be occupied is.

Two things differ from there, both so that emptying cells does not take away what rays see. Cells are emptied little by
little, blocks of them first, so that the field can make up for what they held. And values are raised by a gain per
level while haze below the threshold still shows (:mod:`fieldlab.training.emptiness`): early in training, and for longer
in outer levels, where rays take long steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fieldlab.ops.occupancy import OccupancyBits, cell_points, occupancy_from_density, update_occupancy

NEVER = -1.0
UNKNOWN = 1e6  # nobody has looked at the cell
DOUBTFUL = 1e5  # only its larger block was looked at, and is not empty
BLOCKS = {UNKNOWN: 4, DOUBTFUL: 2}  # cells along the side of the blocks that are looked at
LOOKS = 2  # places in a block
CLEARLY_EMPTY = 0.5  # share of the threshold that nothing in a larger block may exceed
TRIES = 4  # cells drawn for one that is occupied
CHUNK = 1 << 18  # cells evaluated at a time


class OccupancyGrid(nn.Module):
    """Cascades of cells; level i covers the box scaled 2^i about its center.

    Its one lasting buffer is ``values``, float32 [L,R,R,R]: density times step times the level's gain, or ``NEVER``
    where nothing can be, or ``UNKNOWN``. ``gains`` float32 [L] is for who trains to set.

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
        self.gains = torch.ones(levels)
        self.register_buffer("aabb", aabb.detach().clone().float(), persistent=False)
        self.register_buffer("values", torch.zeros(levels, resolution, resolution, resolution))
        self._bits: OccupancyBits | None = None
        self._highest: float | None = None
        self._candidates: Tensor | None = None
        self._blocks: tuple[float, Tensor] | None = None  # those still to be looked at, and which, shuffled

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
        if self.highest() > self.threshold:
            return self.threshold
        possible = self.values >= 0
        mean = float(self.values.clamp_min(0).sum(dtype=torch.float64)) / max(int(possible.sum()), 1)
        # Before anything was learnt all values are zero, and all cells are to be looked at.
        return mean if mean > 0 else -0.5

    def highest(self) -> float:
        """The largest of all values."""
        if self._highest is None:
            self._highest = float(self.values.detach().max())
        return self._highest

    def forget(self) -> None:
        """Take every cell that can be occupied to be so until somebody looks."""
        self.values[self.values >= 0] = UNKNOWN
        self.changed()

    def exclude(self, cells: Tensor) -> None:
        """Mark cells (bool [L,R,R,R]) as never occupied."""
        self.values[cells] = NEVER
        self.changed()

    def positions(self, cells: Tensor, offset: Tensor | None = None) -> Tensor:
        """World positions [K,3] in cells int64 [K] (flat indices): ``offset`` [K,3] in [0,1), or in the middle."""
        return cell_points(cells, self.resolution, self.aabb, offset)

    def changed(self) -> None:
        """Call after ``values`` were changed from outside."""
        self._bits = self._candidates = self._highest = self._blocks = None

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
        self._bits = self._highest = None
        return passes * len(cells)

    @torch.no_grad()
    def update(self, density: Callable[[Tensor], Tensor], generator: torch.Generator, max_cells: int) -> int:
        """Look at cells nobody has looked at, in blocks, or else at a quarter of those that can be occupied, at random,
        and at as many occupied ones.

        Args:
            density: world positions [K,3] -> density [K].
            generator: CPU random numbers for cells and positions in them.
            max_cells: most places to look at.

        Returns:
            How many densities were evaluated.
        """
        if self.unknown:
            return self._look_at_blocks(density, generator, max_cells)
        possible, values = self._possible(), self.values.view(-1)
        share = max(min(len(possible) // 4, max_cells // 2), 1)
        # Of many cells some are tried: to list all occupied ones would cost more than to look at them.
        tried = possible if TRIES * share >= len(possible) else self._draw(possible, TRIES * share, generator)
        occupied = tried[values[tried] > self.current_threshold()]
        if len(occupied) > share:
            occupied = self._draw(occupied, share, generator)
        # A cell drawn twice is looked at once, so that the result does not depend on the order of writing.
        cells = torch.unique(torch.cat((self._draw(possible, share, generator), occupied)))
        # What waits longer for its turn decays more when it comes, so that haze goes as fast in large grids.
        decay = self.decay ** max(1.0, len(possible) / max(len(cells), 1) / 2)
        for part in cells.split(CHUNK):
            update_occupancy(values, part, self._look(density, part, generator), decay)
        self._bits = self._highest = None
        return len(cells)

    def _look(self, density: Callable[[Tensor], Tensor], cells: Tensor, generator: torch.Generator) -> Tensor:
        offset = torch.rand(len(cells), 3, generator=generator).to(cells.device)
        return self._value(density, self.positions(cells, offset), cells // self.resolution**3)

    def _value(self, density: Callable[[Tensor], Tensor], points: Tensor, level: Tensor) -> Tensor:
        return density(points) * (self.step * self.gains.to(points.device)[level])

    @property
    def unknown(self) -> bool:
        """Whether there are cells nobody has looked at."""
        return self.highest() >= DOUBTFUL

    def _look_at_blocks(self, density: Callable[[Tensor], Tensor], generator: torch.Generator, most: int) -> int:
        """Look at some of the largest blocks with cells not yet known. Empty ones are done; the cells of others become
        doubtful, or, in the smallest blocks, get the value that was found."""
        which = UNKNOWN if self.highest() >= UNKNOWN else DOUBTFUL
        if self._blocks is None or self._blocks[0] != which:
            self._blocks = which, self._waiting(which, generator)
        blocks, left = self._blocks[1].tensor_split([max(most // LOOKS, 1)])
        tiles = self._tiles(BLOCKS[which])
        n = tiles.shape[1]  # blocks along a side
        places = blocks.repeat_interleave(LOOKS)
        offset = torch.rand(len(places), 3, generator=generator).to(places.device)
        points = cell_points(places, n, self.aabb, offset)
        found = torch.cat([
            self._value(density, at, level)
            for at, level in zip(torch.split(points, CHUNK), torch.split(places // n**3, CHUNK), strict=True)
        ]).view(-1, LOOKS).amax(1)  # fmt: skip
        if which == UNKNOWN:
            found = torch.where(found < CLEARLY_EMPTY * self.threshold, found, DOUBTFUL)
        at = (blocks // n**3, blocks // n**2 % n, blocks // n % n, blocks % n)
        before = tiles[at]
        tiles[at] = torch.where(before >= which, found[:, None, None, None], before)
        self._bits = self._highest = None
        self._blocks = which, left
        return len(places)

    def _tiles(self, side: int) -> Tensor:
        """A view of the values by blocks, [L,n,n,n,side,side,side]."""
        n = self.resolution // side
        return self.values.view(self.levels, n, side, n, side, n, side).permute(0, 1, 3, 5, 2, 4, 6)

    def _waiting(self, which: float, generator: torch.Generator) -> Tensor:
        """Flat numbers of the blocks that nobody has looked at, shuffled."""
        side = BLOCKS[which]
        n = self.resolution // side
        most = self.values.view(-1, side).amax(1)  # axis by axis, which is many times as fast as all at once
        most = most.view(-1, side, n).amax(1).view(-1, side, n * n).amax(1).view(-1)
        blocks = (most >= which).nonzero()[:, 0]
        return blocks[torch.randperm(len(blocks), generator=generator).to(blocks.device)]

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
