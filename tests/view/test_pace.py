"""How large pictures may be, from what earlier ones took."""

from __future__ import annotations

import pytest

from fieldlab.view.pace import CAREFUL, FEWEST, Pace


def test_before_anything_was_measured_it_is_careful():
    pace = Pace()
    assert pace.rays("color", 0.05, 1e6) <= 0.05 * CAREFUL * 1.01
    assert pace.rays("color", 1e-9, 1e6) == FEWEST
    assert pace.rays("color", 10.0, 500.0) == 500  # never more than there are


@pytest.mark.parametrize(("fixed", "per_ray"), [(0.002, 1e-6), (0.03, 2e-7), (0.0, 1e-4)])
def test_it_learns_what_fits(fixed, per_ray):
    """Drawing costs something per picture and something per ray; after some pictures the next one fits its time."""
    pace, budget = Pace(), 0.04
    for _ in range(40):
        rays = pace.rays("color", budget, 2e6)
        pace.note("color", int(rays), fixed + rays * per_ray)
    taken = fixed + rays * per_ray
    assert taken <= 1.3 * budget or rays == FEWEST
    fits = (budget - fixed) / per_ray
    assert rays >= 0.3 * min(fits, 2e6) or rays == FEWEST


def test_ways_of_drawing_are_kept_apart():
    pace = Pace()
    pace.note("color", 100_000, 0.01)
    pace.note("features", 100_000, 1.0)
    assert pace.seconds("color", 100_000) == pytest.approx(0.01)
    assert pace.seconds("features", 100_000) == pytest.approx(1.0)


def test_a_size_that_was_slow_once_is_tried_again():
    """A machine that draws 400,000 rays a second and was busy for a moment."""
    pace, budget, most = Pace(), 0.048, 512 * 512
    for octave in range(12, 19):
        pace.note("way", 1 << octave, 0.4 * (1 << octave) / (1 << 12))
    assert pace.rays("way", budget, most) == 64 * 64
    for _ in range(400):
        rays = pace.rays("way", budget, most)
        pace.note("way", int(rays), rays / 4e5)
    drawn = []
    for _ in range(100):
        rays = pace.rays("way", budget, most)
        pace.note("way", int(rays), rays / 4e5)
        drawn.append(rays)
    assert sorted(drawn)[50] > 14_000
    assert sum(rays / 4e5 > 1.5 * budget for rays in drawn) < 10
