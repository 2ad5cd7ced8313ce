"""A function on a fine grid, known only in blocks of it around its zero level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from fieldlab.data.images import available_memory
from fieldlab.errors import ConfigError
from fieldlab.mesh.surface.implicit import Implicit

BLOCK = 8  # vertices along each side of a block
BYTES_PER_VERTEX = 24  # the value, and the positions and intermediate values of those being computed
SMALLEST = 1e-3  # a vertex on the surface would collapse the triangles around it
POINTS_AT_ONCE = 1 << 13
AT_ONCE = 256  # blocks evaluated together


@dataclass(frozen=True)
class Grid:
    """Vertices over a box, and one layer around it that is outside.

    Args:
        box: float64 [2,3].
        cells: int64 [3] along each side of the box.
    """

    box: Tensor
    cells: Tensor

    @staticmethod
    def over(box: Tensor, resolution: int) -> Grid:
        """About cubic cells, ``resolution`` along the longest side.

        Raises:
            ConfigError: an impossible resolution.
        """
        if not 4 <= resolution <= 4096:
            raise ConfigError("the resolution of the mesh is impossible", found=resolution, expected="4 to 4096")
        box = box.double().cpu()
        extent = box[1] - box[0]
        return Grid(box, (extent / extent.max() * resolution).round().long().clamp_min(1))

    @property
    def spacing(self) -> Tensor:
        """float64 [3], world units."""
        return (self.box[1] - self.box[0]) / self.cells

    @property
    def cell(self) -> float:
        return float(self.spacing.max())

    @property
    def blocks(self) -> Tensor:
        """int64 [3] that cover the vertices of the box and the layer around it."""
        return (self.cells + 3 + BLOCK - 1) // BLOCK

    def world(self, vertices: Tensor) -> Tensor:
        """float64 [P,3] of vertices [P,3] (numbers of any kind), of which 1 is on the lower face of the box."""
        return self.box[0] + (vertices - 1) * self.spacing

    def inside(self, vertices: Tensor) -> Tensor:
        """bool [P]: vertices int64 [P,3] of the box, not of the layer around it."""
        return ((vertices >= 1) & (vertices <= self.cells + 1)).all(-1)

    def keys(self, blocks: Tensor) -> Tensor:
        """int64 [B] of blocks int64 [B,3]."""
        counts = self.blocks
        return (blocks[:, 0] * counts[1] + blocks[:, 1]) * counts[2] + blocks[:, 2]

    def of(self, keys: Tensor) -> Tensor:
        """The inverse of :meth:`keys`."""
        counts = self.blocks
        rest = keys // counts[2]
        return torch.stack((rest // counts[1], rest % counts[1], keys % counts[2]), dim=1)


@dataclass
class SparseValues:
    """Values at the vertices of some blocks.

    Args:
        keys: int64 [B], sorted.
        values: float32 [B,8,8,8], never 0; positive outside.
    """

    grid: Grid
    keys: Tensor
    values: Tensor

    def rows(self, keys: Tensor) -> Tensor:
        """int64 [N]: the row of each block, -1 where it is not known."""
        at = torch.searchsorted(self.keys, keys).clamp_max(max(len(self.keys) - 1, 0))
        known = self.keys[at] == keys if len(self.keys) else torch.zeros_like(keys, dtype=torch.bool)
        return torch.where(known, at, -1)


def sample_blocks(surface: Implicit, grid: Grid, on_share: Callable[[float], object] | None = None) -> SparseValues:
    """Evaluate a function in the blocks near its surface, and follow the surface into the blocks beyond.

    Raises:
        ConfigError: the blocks do not fit in memory.
    """
    keys, values = torch.zeros(0, dtype=torch.int64), torch.zeros((0, BLOCK, BLOCK, BLOCK))
    wanted = near_blocks(surface, grid)
    while len(wanted):
        _check_memory(len(keys) + len(wanted), grid)
        found = []
        for at in range(0, len(wanted), AT_ONCE):
            found.append(_evaluate(surface, grid, wanted[at : at + AT_ONCE]))
            if on_share is not None:
                on_share((len(keys) + at + len(found[-1])) / (len(keys) + len(wanted)))
        new, order = torch.cat((keys, wanted)).sort()
        values = torch.cat((values, *found))[order]
        known = SparseValues(grid, new, values)
        beyond = [_beyond(known, wanted[at : at + AT_ONCE]) for at in range(0, len(wanted), AT_ONCE)]
        keys, wanted = new, torch.unique(torch.cat(beyond))
    return SparseValues(grid, keys, values)


def near_blocks(surface: Implicit, grid: Grid) -> Tensor:
    """Sorted keys of the blocks within the surface's reach of its points, and a vertex beyond."""
    reach = surface.reach() / grid.spacing + 1
    counts, found = grid.blocks, []
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3).double()
    for points in surface.near():
        inside = ((points >= grid.box[0]) & (points <= grid.box[1])).all(-1)
        vertices = (points[inside].double() - grid.box[0]) / grid.spacing + 1
        # Points of one block need not be asked for the same neighbors again and again.
        fine = torch.unique((vertices * 2).long(), dim=0).double() / 2 + 0.25 if len(vertices) else vertices
        steps = max(1, int((2 * reach.max() / BLOCK).ceil()))
        around = torch.cat([corners * reach * (s + 1) / steps for s in range(steps)])
        for some in fine.split(POINTS_AT_ONCE):
            blocks = ((some[:, None] + around).view(-1, 3) / BLOCK).floor().long()
            blocks = blocks[((blocks >= 0) & (blocks < counts)).all(-1)]
            found.append(torch.unique(grid.keys(blocks)))
        found = [torch.unique(torch.cat(found))] if found else []
    return torch.unique(torch.cat(found)) if found else torch.zeros(0, dtype=torch.int64)


def _evaluate(surface: Implicit, grid: Grid, keys: Tensor) -> Tensor:
    """float32 [B,8,8,8] of blocks; 1 outside the box."""
    local = torch.cartesian_prod(*[torch.arange(BLOCK)] * 3)
    vertices = (grid.of(keys)[:, None] * BLOCK + local).view(-1, 3)
    inside = grid.inside(vertices)
    made = torch.ones(len(vertices))
    made[inside] = surface.values(grid.world(vertices[inside]).float())
    made = torch.where(made.abs() < SMALLEST, torch.where(made < 0, -SMALLEST, SMALLEST), made)
    return made.view(-1, BLOCK, BLOCK, BLOCK)


def _beyond(known: SparseValues, keys: Tensor) -> Tensor:
    """Keys of the unknown blocks into which the surface goes on from these: those that have a corner of a cell whose
    other corners are known to be on both sides."""
    grid = known.grid
    directions = torch.cartesian_prod(*[torch.tensor([-1, 0, 1])] * 3)
    around = grid.of(keys)[:, None] + directions
    exists = ((around >= 0) & (around < grid.blocks)).all(-1)
    numbers = grid.keys(around.view(-1, 3)).view(-1, 27)
    rows = torch.where(exists, known.rows(numbers.flatten()).view(-1, 27), -1)
    missing = exists & (rows < 0)
    if not bool(missing.any()):
        return keys[:0]
    low, high = _with_margin(known.values, rows, torch.inf), _with_margin(known.values, rows, -torch.inf)
    # Of every cell the lowest and the highest of the known corners.
    lowest, highest = -max_pool3d(-low[:, None], 2, 1)[:, 0], max_pool3d(high[:, None], 2, 1)[:, 0]
    crossed = (lowest < 0) & (highest > 0)
    ends = {-1: slice(0, 1), 0: slice(None), 1: slice(BLOCK, BLOCK + 1)}
    found = []
    for number, direction in enumerate(directions.tolist()):
        x, y, z = (ends[d] for d in direction)
        goes_on = crossed[:, x, y, z].flatten(1).any(1) & missing[:, number]
        found.append(numbers[goes_on, number])
    return torch.unique(torch.cat(found))


def _with_margin(values: Tensor, rows: Tensor, unknown: float) -> Tensor:
    """float32 [B,10,10,10]: blocks with one layer of their 26 neighbors around them, rows [B,27] in order."""
    at = torch.arange(-1, BLOCK + 1)
    block, local = at.div(BLOCK, rounding_mode="floor") + 1, at % BLOCK
    neighbor = (block[:, None, None] * 3 + block[:, None]) * 3 + block
    place = (local[:, None, None] * BLOCK + local[:, None]) * BLOCK + local
    row = rows[:, neighbor.flatten()]
    found = values.view(len(values), -1)[row.clamp_min(0), place.flatten()]
    return torch.where(row >= 0, found, unknown).view(-1, *[BLOCK + 2] * 3)


def _check_memory(blocks: int, grid: Grid) -> None:
    needed, free = blocks * BLOCK**3 * BYTES_PER_VERTEX, available_memory()
    if free is not None and needed > 0.8 * free:
        resolution = int(grid.cells.max())
        raise ConfigError(
            "the grid around the surface does not fit in memory",
            field="resolution",
            found=f"{resolution} needs {needed / 1e9:.1f} GB",
            expected=f"at most {0.8 * free / 1e9:.1f} GB",
            hint=f"use a resolution of {max(4, int(resolution * (0.8 * free / needed) ** 0.5))} or less",
        )
