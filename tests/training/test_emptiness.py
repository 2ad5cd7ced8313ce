"""Which cells may be emptied, by what rays see."""

from __future__ import annotations

import math

import pytest
import torch

from fieldlab.data.cameras import Rays
from fieldlab.render.build import build_model
from fieldlab.render.occupancy import OccupancyGrid
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from fieldlab.training.distributed import World
from fieldlab.training.emptiness import EXPONENTS, HIDDEN, gains_after, hidden_opacity
from tests.scenes import ball_scene, ring_cameras, tiny_field


def seen(levels: int = 2, *, away: bool = False):
    """What some rays, or rays that look away, see of a field at its beginning, with the rays and the grid."""
    model = build_model(tiny_field(), choose_model(ball_scene(), TrainConfig()), 0)
    rays = ring_cameras(3).image_rays(1)[::7]
    if away:
        rays = Rays(rays.origins, -rays.directions)
    grid = OccupancyGrid(model.aabb / 2, 8, levels, model.config.step)
    with torch.no_grad():
        out = model(rays)
    return out, rays, grid


def test_hidden_opacity_is_what_its_name_says():
    out, rays, grid = seen()
    out.densities *= torch.rand(len(out.densities), generator=torch.Generator().manual_seed(0)) ** 6
    found = hidden_opacity(out, rays, grid)
    expected = torch.zeros_like(found)
    half = (grid.aabb[1] - grid.aabb[0]) / 2
    middle = (grid.aabb[0] + grid.aabb[1]) / 2
    for ray in range(len(rays)):
        lost = torch.zeros_like(found)
        for i in range(int(out.samples.ray_offsets[ray]), int(out.samples.ray_offsets[ray + 1])):
            at = rays.origins[ray] + rays.directions[ray] * out.samples.middles[i]
            level = int(float(((at - middle) / half).abs().max()) >= 1)
            for e, exponent in enumerate(EXPONENTS.tolist()):
                if float(out.densities[i]) * grid.step * 2**exponent < grid.threshold:
                    lost[e, level] += float(out.weights[i])
        expected += lost.square()
    assert expected[:, 0].max() > 0
    assert expected[:, 1].max() > 0
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_least_gain_that_hides_little_enough_is_approached():
    hidden = torch.full((len(EXPONENTS), 2), 10 * (1.01 * HIDDEN) ** 2)  # of 10 rays, too much
    hidden[4:, 0] = 10 * (0.99 * HIDDEN) ** 2
    first = gains_after(None, hidden, 10, World())
    assert first.tolist() == [2.0 ** float(EXPONENTS[4]), 2.0 ** float(EXPONENTS[-1])]
    hidden[:] = 0
    gains, steps = first, 0
    while float(gains.max()) > 1.05:
        after = gains_after(gains, hidden, 10, World())
        assert bool((after < gains).all())
        gains, steps = after, steps + 1
    assert 5 < steps < 40


def test_all_processes_count():
    class Two(World):
        size = 2

        def sum(self, values: list[float]) -> list[float]:
            return [2 * value for value in values]

    hidden = torch.full((len(EXPONENTS), 1), 10 * HIDDEN**2 * 0.99)
    assert gains_after(None, hidden, 20, Two()).tolist() == [1.0]
    assert gains_after(None, hidden, 10, Two()).tolist() == [2.0 ** float(EXPONENTS[-1])]


def test_rays_that_see_nothing_miss_nothing():
    out, rays, grid = seen(away=True)
    assert len(out.samples) == 0
    hidden = hidden_opacity(out, rays, grid)
    assert torch.equal(hidden, torch.zeros(len(EXPONENTS), 2))
    assert gains_after(None, hidden, len(rays), World()).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("levels", [1, 3])
def test_faint_cells_are_kept_while_they_show(levels):
    """Haze of a tenth of the threshold goes when nobody sees it, and stays with a gain that says it is seen."""
    grid = OccupancyGrid(torch.tensor([[-1.0] * 3, [1.0] * 3]), 8, levels, 1.0)
    haze = 0.1 * grid.threshold
    generator = torch.Generator().manual_seed(0)
    for gain in (20.0, 1.0):
        grid.gains = torch.full((levels,), gain)
        grid.forget()
        while grid.unknown:
            grid.update(lambda p: torch.full((len(p),), haze), generator, 64)
        grid.values[0, 0, 0, 0] = 1.0  # else the mean of the haze is the threshold
        assert (grid.occupied_fraction() > 0.99) == (gain > 10)
    assert math.isclose(float(grid.values[0, 1, 1, 1]), haze, rel_tol=1e-5)
