"""Fitting a distance, its surface, and the metrics on cases with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fieldlab.errors import ConfigError
from fieldlab.fit.config import FitSettings
from fieldlab.fit.fitting import Fitting
from fieldlab.fit.sdf import BESIDE, SdfTask, extract_surface
from fieldlab.fit.sdf_metrics import compare_surfaces, intersection_over_union
from fieldlab.fit.signal import Signal
from fieldlab.fit.solid import RADIUS, Solid
from fieldlab.mesh.mesh import Mesh
from tests.fit.shapes import SMALL, plate, sphere, torus


class Formula:
    """Stands for a signal that has learnt a formula on [-1,1]^3."""

    def __init__(self, formula):
        self.formula = formula

    def evaluate(self, x):
        return self.formula(2 * x - 1)[:, None]


def ball(radius):
    return Formula(lambda p: p.norm(dim=1) - radius)


@pytest.mark.parametrize("resolution", [32, 50, 96])
def test_the_surface_of_a_ball(resolution):
    made = extract_surface(ball(0.6), resolution)
    assert np.allclose(np.linalg.norm(made.vertices, axis=1), 0.6, atol=2 / resolution**2)
    corners = made.vertices[made.faces]
    volume = np.linalg.det(corners).sum() / 6
    assert math.isclose(volume, 4 / 3 * math.pi * 0.6**3, rel_tol=0.01)  # and positive: faces look outward
    assert Solid(made).topology().closed


def test_skipped_blocks_do_not_change_the_surface():
    wave = Formula(lambda p: p.norm(dim=1) - 0.5 - 0.1 * torch.sin(9 * p[:, 0]) * torch.sin(7 * p[:, 1]))
    made = extract_surface(wave, 64)
    at = torch.from_numpy(made.vertices).float()
    assert wave.formula(at).abs().max() < 0.01


def test_no_surface():
    with pytest.raises(ConfigError, match="zero nowhere"):
        extract_surface(Formula(lambda p: p.norm(dim=1) + 1), 32)


def test_iou_of_shifted_balls():
    """Two balls of radius r at distance d share pi (4r + d) (2r - d)^2 / 12."""
    r, d = 0.5, 0.2
    shared = math.pi * (4 * r + d) * (2 * r - d) ** 2 / 12
    wanted = shared / (2 * 4 / 3 * math.pi * r**3 - shared)
    one = lambda p: np.linalg.norm(p, axis=1) < r  # noqa: E731
    other = lambda p: np.linalg.norm(p - [d, 0, 0], axis=1) < r  # noqa: E731
    found = intersection_over_union(one, other, 1_000_000, np.random.default_rng(0))
    assert abs(found - wanted) < 0.004
    assert intersection_over_union(one, one, 1000, np.random.default_rng(0)) == 1
    nothing = lambda p: np.zeros(len(p), dtype=bool)  # noqa: E731
    assert intersection_over_union(nothing, nothing, 1000, np.random.default_rng(0)) == 1
    assert intersection_over_union(nothing, one, 1000, np.random.default_rng(0)) == 0


@pytest.mark.parametrize("degrees", [0.0, 5.0, 30.0, 120.0, 180.0])
def test_normal_angle_of_a_turned_plane(degrees):
    # A long turned plane against a flat one: normals differ by the angle everywhere, whatever point is nearest.
    angle, _, _ = compare_surfaces(plate(math.radians(degrees)), plate(), 2000, np.random.default_rng(0))
    assert math.isclose(angle, degrees, abs_tol=1e-4)


def test_both_directions_of_the_normal_angle_count():
    # The plane's points see the plane again; of those of plane and wall half see a normal that is 90 degrees off.
    wall = plate(math.pi / 2)
    both = Mesh(np.concatenate((plate().vertices, wall.vertices)), np.concatenate((plate().faces, wall.faces + 4)))
    angle, _, _ = compare_surfaces(both, plate(), 40_000, np.random.default_rng(0))
    assert abs(angle - (45 + 0) / 2) < 0.5


def test_distance_between_parallel_planes():
    lifted = Mesh(plate().vertices + np.array([0, 0, 0.0015]), plate().faces)
    angle, chamfer, f_score = compare_surfaces(lifted, plate(), 500, np.random.default_rng(0))
    assert (angle, f_score) == (0, 1)
    assert math.isclose(chamfer, 0.0015, rel_tol=1e-6)
    lifted = Mesh(plate().vertices + np.array([0, 0, 0.003]), plate().faces)
    assert compare_surfaces(lifted, plate(), 500, np.random.default_rng(0))[2] == 0


@pytest.mark.slow
def test_training_points_are_of_three_kinds():
    solid = Solid(sphere(5))
    task = SdfTask(solid, 8000, seed=3)
    p = 2 * task.x.numpy() - 1
    radius, distance = np.linalg.norm(p, axis=1), task.wanted[:, 0].numpy()
    assert np.allclose(distance, radius - RADIUS, atol=2e-3)
    on = distance == 0
    assert on.sum() == 4000
    near = ~on & (np.abs(distance) < 4 * BESIDE)
    assert 3000 <= near.sum() <= 3150
    assert abs(distance[near].std() - BESIDE) < 0.002
    again = SdfTask(solid, 8000, seed=3)
    assert torch.equal(task.x, again.x)
    assert not torch.equal(task.x, SdfTask(solid, 8000, seed=4).x)
    # Any part of the pool is mixed as the whole is.
    assert abs(on[:1000].mean() - 0.5) < 0.06


def test_batches_go_around_the_pool():
    task = SdfTask(Solid(torus()), 100, seed=0)
    generator = torch.Generator()
    seen = torch.cat([task.wanted[task.batch(step, 40, generator)] for step in range(5)])
    assert torch.equal(seen, torch.cat((task.wanted, task.wanted)))
    assert len(task.x[task.batch(0, 250, generator)]) == 250


@pytest.mark.slow
def test_a_torus_is_learnt():
    torch.manual_seed(0)
    solid = Solid(torus())
    task = SdfTask(solid, 1 << 16, seed=0)
    signal = Signal(SMALL, 3, 1, torch.Generator().manual_seed(0))
    fitting = Fitting(signal, task, FitSettings(steps=500, batch=4096, decoder_rate=2e-3, encoding_rate=1e-2))
    first = fitting.step().loss
    last = [event.loss for event in fitting.events()][-1]
    assert last < 0.7 * first
    made = extract_surface(signal, 48)
    angle, chamfer, _ = compare_surfaces(made, solid.mesh, 5000, np.random.default_rng(0))
    assert chamfer < 0.01
    assert angle < 15
    weights = task.importance()
    assert weights.max() > 1e8 > weights.min() > 0
