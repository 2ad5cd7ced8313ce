"""Which cells can hold anything at all."""

from __future__ import annotations

import pytest
import torch

from fieldlab.data.cameras import Cameras
from fieldlab.data.views import Views
from fieldlab.render.occupancy import OccupancyGrid
from fieldlab.training.carve import carve
from tests.scenes import RADIUS, ball_views, ring_cameras

BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])


def possible(grid: OccupancyGrid) -> torch.Tensor:
    return grid.values.view(-1) >= 0


def test_hull_holds_the_ball_and_little_more():
    grid = OccupancyGrid(BOX, 32, 1, 0.01)
    carve(grid, ball_views(16, size=64), hull=True)
    centers = grid.positions(torch.arange(grid.n_cells))
    radius = centers.norm(dim=-1)
    kept = possible(grid)
    assert bool(kept[radius < RADIUS].all())
    assert not bool(kept[radius > 1.35].any())
    assert int(kept.sum()) < 2.5 * int((radius < RADIUS).sum())
    assert bool(grid.occupied().view(-1)[kept].all())


def test_without_hull_only_what_no_camera_sees_is_lost():
    """One camera on the x axis: cells behind it are not seen, those in its picture are."""
    grid = OccupancyGrid(BOX * 5, 32, 1, 0.01)
    views = ball_views(1, size=32)
    carve(grid, views, hull=False)
    cameras = ring_cameras(1, 32)
    centers = grid.positions(torch.arange(grid.n_cells))
    _, depth, inside = cameras.project(0, centers)
    kept = possible(grid)
    assert bool(kept[inside].all())
    assert not bool(kept[depth < -1.0].any())
    assert 0.05 < float(kept.float().mean()) < 0.8


def test_cells_under_a_finer_level_are_left_out():
    grid = OccupancyGrid(BOX, 16, 2, 0.01)
    carve(grid, ball_views(8), hull=False)
    outer = grid.values[1]
    assert bool((outer[4:12, 4:12, 4:12] < 0).all())
    assert bool((grid.values[0] >= 0).all())


@pytest.mark.slow
def test_what_a_single_camera_sees_stays_inside_the_hull():
    """Of 24 cameras one looks at a second ball, away from the first: the grid is not to lose it."""
    views, lone = ball_views(24, size=64), ball_views(1, size=64)
    away = torch.tensor([0.0, 0.0, 12.0])
    lone.cameras.camera_to_world[:, :, 3] += away
    both = Views(
        Cameras.concatenate([views.cameras, lone.cameras]),
        [*views.names, "lone"],
        torch.cat((views.pixels, lone.pixels)),
    )
    grid = OccupancyGrid(BOX + away, 32, 1, 0.01)
    carve(grid, both, hull=True)
    radius = (grid.positions(torch.arange(grid.n_cells)) - away).norm(dim=-1)
    kept = possible(grid)
    assert bool(kept[radius < RADIUS].all())
    assert float(kept.float().mean()) < 0.8  # it carves a cone


def test_contradictory_pictures_leave_the_grid_alone():
    views = ball_views(4)
    views.pixels[:, 3] = 0
    grid = OccupancyGrid(BOX, 16, 1, 0.01)
    carve(grid, views, hull=True)
    assert bool(possible(grid).all())


def test_ignored_pixels_do_not_carve():
    """A picture that is all empty rules out everything, unless its pixels are to be ignored."""
    views = ball_views(16, size=64)
    first = slice(int(views.offsets[0]), int(views.offsets[1]))
    views.pixels[first, 3] = 0
    views.masks = torch.ones(len(views.pixels), dtype=torch.bool)
    views.masks[first] = False
    grid = OccupancyGrid(BOX, 32, 1, 0.01)
    carve(grid, views, hull=True)
    radius = grid.positions(torch.arange(grid.n_cells)).norm(dim=-1)
    kept = possible(grid)
    assert bool(kept[radius < RADIUS].all())
    assert not bool(kept[radius > 1.35].any())
