"""Reconstructions in any place, turn and size are set upright."""

from __future__ import annotations

import numpy as np
import pytest

from fieldlab.capture.upright import DISTANCE, up_of, upright
from tests.data.data_builders import look_at, ring

generator = np.random.default_rng(0)
POINTS = generator.normal(0, 0.3, (200, 3))


def moved(poses: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same in another world: turned, scaled by 7, shifted."""
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    shift = np.array([3.0, -20.0, 5.0])
    rotation, origin = turn @ poses[:, :, :3], 7 * poses[:, :, 3] @ turn.T + shift
    return np.concatenate((rotation, origin[..., None]), axis=2), 7 * points @ turn.T + shift


def apply(similarity: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ similarity[:, :3].T + similarity[:, 3]


def tilt(up: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(up[2] / np.linalg.norm(up), -1, 1))))


def check(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Up goes to +z, without a mirror; returns where the points go."""
    other_poses, other_points = moved(poses, points)
    similarity = upright(other_poses, other_points)
    assert np.linalg.det(similarity[:, :3]) > 0
    zero, above = moved(poses, np.array([[0.0, 0, 0], [0, 0, 1]]))[1]
    assert tilt(similarity[:, :3] @ (above - zero)) < 3
    return apply(similarity, other_points)


def test_all_round():
    poses = np.stack(ring(20))
    at = check(poses, POINTS)
    assert np.linalg.norm(at.mean(axis=0)) < 0.1
    similarity = upright(*moved(poses, POINTS))
    distances = np.linalg.norm(apply(similarity, moved(poses, POINTS)[0][:, :, 3]), axis=1)
    assert np.median(distances) == pytest.approx(DISTANCE)


def test_single_photographs_upside_down_or_on_their_side():
    poses = np.stack(ring(20))
    poses[3, :, :2] *= -1
    x, y = poses[7:11, :, 0].copy(), poses[7:11, :, 1].copy()
    poses[7:11, :, 0], poses[7:11, :, 1] = y, -x
    check(poses, POINTS)


def test_all_from_one_side():
    """Parallel axes: what they look at is where the points are, not at infinity."""
    targets = np.linspace(-1, 1, 9)
    poses = np.stack([look_at(np.array([x, -5.0, 0.2]), np.array([x, 5.0, 0.0])) for x in targets])
    at = check(poses, POINTS)
    assert np.linalg.norm(np.median(at, axis=0)) < 0.5


def test_from_the_middle_outwards():
    """A room from its middle: its walls, not the few steps, set the scale."""
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    outwards = np.stack((np.cos(angles), np.sin(angles), np.full(16, -0.1)), axis=1)
    poses = np.stack([look_at(0.1 * out, 5 * out) for out in outwards])
    walls = 4 * np.repeat(outwards, 20, axis=0) + generator.normal(0, 0.2, (320, 3))
    at = check(poses, walls)
    assert 1 < np.median(np.linalg.norm(at, axis=1)) < 5


def test_up_without_any_agreement_is_a_direction():
    poses = np.stack([look_at(np.array([0.0, 0, 3]) + 1e-3, np.zeros(3)), look_at(np.array([0.0, 0, -3]) + 1e-3)])
    assert np.linalg.norm(up_of(poses)) == pytest.approx(1)
