"""The occupancy grid that is learnt while training."""

from __future__ import annotations

import torch

from fieldlab.ops.occupancy import query_occupancy, unpack_occupancy
from fieldlab.render.occupancy import NEVER, OccupancyGrid, inner_cells

BOX = torch.tensor([[-1.0, -2, -1], [1, 2, 3]])


def generator():
    return torch.Generator().manual_seed(0)


def test_everything_is_occupied_at_first():
    grid = OccupancyGrid(BOX, 8, 2, 0.1)
    assert bool(grid.occupied().all())
    assert bool(unpack_occupancy(grid.packed()).all())


def test_warm_up_finds_a_slab():
    """Density 10 where x > 0 and step 0.1: values 1 and 0."""
    grid = OccupancyGrid(BOX, 8, 1, 0.1)
    n = grid.refresh(lambda p: 10.0 * (p[:, 0] > 0), generator())
    assert n == 512
    expected = torch.zeros(1, 8, 8, 8)
    expected[:, 4:] = 1.0
    assert torch.allclose(grid.values, expected)
    assert torch.equal(unpack_occupancy(grid.packed()), expected > 0)
    points = torch.tensor([[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]])
    assert query_occupancy(grid.packed(), points).tolist() == [True, False]


def test_refreshing_takes_the_densest_of_its_looks_and_forgets():
    grid = OccupancyGrid(BOX, 4, 1, 1.0)
    grid.values.fill_(100.0)
    looks = iter((2.0, 5.0, 3.0))
    n = grid.refresh(lambda p: torch.full((len(p),), next(looks)), generator(), passes=3)
    assert n == 3 * 64
    assert bool((grid.values == 5.0).all())


def test_values_decay_towards_what_is_found():
    """All 64 cells are occupied and at most half are looked at, which decay for the others' waiting too."""
    grid = OccupancyGrid(BOX, 4, 1, 1.0, decay=0.5)
    grid.values.fill_(8.0)
    n = grid.update(lambda p: torch.full((len(p),), 1.0), generator(), 64)
    touched = grid.values != 8.0
    assert int(touched.sum()) == n <= 32
    assert torch.allclose(grid.values[touched], torch.tensor(8.0 * 0.5 ** max(1.0, 64 / n / 2)))
    grid.update(lambda p: torch.full((len(p),), 9.0), generator(), 64)
    assert float(grid.values.max()) == 9.0


def test_threshold_is_fixed_unless_nothing_exceeds_it():
    grid = OccupancyGrid(BOX, 4, 1, 1.0, threshold=0.01)
    grid.values.fill_(0.002)
    grid.values[0, 0] = NEVER
    grid.values[0, 1, 0, 0] = 0.003
    assert abs(grid.current_threshold() - (0.002 + 0.001 / 48)) < 1e-7
    assert grid.occupied()[0].nonzero().tolist() == [[1, 0, 0]]
    grid.values[0, 2, 0, 0] = 0.5
    grid.changed()
    assert grid.current_threshold() == 0.01


def test_excluded_cells_are_never_evaluated_nor_occupied():
    grid = OccupancyGrid(BOX, 8, 1, 1.0)
    dead = torch.rand(1, 8, 8, 8, generator=generator()) < 0.5
    grid.exclude(dead)
    assert torch.equal(unpack_occupancy(grid.packed()), ~dead)
    used = grid.refresh(lambda p: torch.ones(len(p)), generator())
    assert used == int((~dead).sum())
    for _ in range(2):
        grid.update(lambda p: torch.ones(len(p)), generator(), 1000)
    assert bool((grid.values[dead] == NEVER).all())
    assert torch.equal(grid.occupied(), ~dead)


def test_later_updates_take_a_quarter_at_random_and_occupied_cells():
    grid = OccupancyGrid(BOX, 8, 1, 1.0)
    grid.values.zero_()
    grid.values[0, 0] = 1.0  # 64 of 512 cells
    seen = []
    grid.update(lambda p: seen.append(p) or torch.ones(len(p)), generator(), 1000)
    evaluated = torch.cat(seen)
    low = evaluated[:, 0] < -1 + 2 / 8
    assert int(low.sum()) == 64  # all occupied ones
    assert 64 < len(evaluated) <= 64 + 128
    assert grid.update(lambda p: torch.ones(len(p)), generator(), 20) <= 20


def test_points_lie_in_their_cells():
    grid = OccupancyGrid(BOX, 4, 3, 1.0)
    cells = torch.arange(grid.n_cells)
    points = grid.positions(cells, torch.rand(len(cells), 3, generator=generator()))
    level = cells // 64
    index = torch.stack((cells // 16 % 4, cells // 4 % 4, cells % 4), 1)
    center, half = BOX.mean(0), (BOX[1] - BOX[0]) / 2
    low = center + half * (2.0**level)[:, None] * (index / 4 * 2 - 1)
    size = half * (2.0**level)[:, None] / 2
    assert bool(((points >= low - 1e-5) & (points <= low + size + 1e-5)).all())


def test_inner_cells_are_those_a_finer_level_covers():
    resolution, levels = 8, 3
    grid = OccupancyGrid(BOX, resolution, levels, 1.0)
    cells = torch.arange(grid.n_cells)
    corners = [grid.positions(cells, torch.full((len(cells), 3), o)) for o in (1e-3, 1 - 1e-3)]
    center, half = BOX.mean(0), (BOX[1] - BOX[0]) / 2
    level = cells // resolution**3
    reach = [((c - center) / half).abs().amax(-1) / 2.0**level for c in corners]
    covered = (level > 0) & (torch.maximum(*reach) < 0.5)
    assert torch.equal(inner_cells(resolution, levels).view(-1), covered)


def test_nobody_knows_a_cell_before_it_was_looked_at():
    """Density 10 where x > 0: blocks of 4 first, then of 2, until all are known; what is empty goes at first sight."""
    grid = OccupancyGrid(BOX, 16, 2, 0.1)
    dead = torch.rand(2, 16, 16, 16, generator=generator()) < 0.1
    grid.exclude(dead)
    grid.forget()
    assert torch.equal(grid.occupied(), ~dead)
    assert grid.unknown
    density, used, fractions = (lambda p: 10.0 * (p[:, 0] > 0)), [], []
    while grid.unknown:
        used.append(grid.update(density, generator(), 64))
        fractions.append(grid.occupied_fraction())
    assert max(used) == 64
    blocks = 2 * (4**3 + 8**3 / 2)  # all of 4, and those of 2 where something is
    assert sum(used) == 2 * blocks
    assert fractions == sorted(fractions, reverse=True)
    right = torch.zeros(2, 16, 16, 16, dtype=torch.bool)
    right[:, 8:] = True
    assert torch.equal(grid.occupied(), right & ~dead)
    assert bool((grid.values[dead] == NEVER).all())
    assert torch.equal(unpack_occupancy(grid.packed()), grid.occupied())


def test_gains_raise_the_values_of_their_level():
    grid = OccupancyGrid(BOX, 8, 2, 0.1)
    grid.gains = torch.tensor([1.0, 4.0])
    grid.refresh(lambda p: torch.ones(len(p)), generator())
    assert torch.allclose(grid.values[0], torch.tensor(0.1))
    assert torch.allclose(grid.values[1], torch.tensor(0.4))
