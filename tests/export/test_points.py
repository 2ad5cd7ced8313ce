"""How sure points of a cloud are, and that files say so."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.export.points import points_in_view, surface_points
from fieldlab.mesh.write import write_points
from fieldlab.pictures.camera_path import look_at
from tests.mesh.formula_model import CENTER, RADIUS, FormulaModel, ball_color, ball_density

ALL = 13_000  # points, for which all pictures of twelve small cameras are needed


def around(n: int, size: int = 64, distance: float = 3.0) -> Cameras:
    angle = torch.arange(n) / n * 2 * math.pi
    positions = CENTER + distance * torch.stack((angle.cos(), angle.sin(), (angle * 3).sin() * 0.5), dim=-1)
    return Cameras.pinhole(look_at(positions, CENTER, torch.tensor([0.0, 0, 1])), 1.2 * size, size, size)


class BallAndFloater(FormulaModel):
    """The ball, and before one camera a patch that no other camera sees there; the ball is ``opacity`` opaque."""

    def __init__(self, where: Tensor | None = None, opacity: float = 1.0) -> None:
        super().__init__(torch.stack((CENTER - 1, CENTER + 1)), ball_density, ball_color)
        self.where, self.opacity = where, opacity

    def render_image(
        self, cameras: Cameras, i: int, *, background: Tensor | None = None, channels: Sequence[str] = ("rgb",)
    ) -> dict[str, Tensor]:
        made = super().render_image(cameras, i, background=background, channels=channels)
        made["opacity"] *= self.opacity
        if self.where is not None and torch.allclose(cameras.origins[i], self.where):
            height, width = made["depth"].shape[:2]
            patch = (slice(height // 3, height // 2), slice(width // 3, width // 2))
            made["depth"][patch] = 2.1
            made["normal"][patch] = -cameras.forward[i]
        return made


def radii(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions - CENTER.numpy(), axis=1)


def test_points_that_many_cameras_see_are_sure():
    cloud = surface_points(BallAndFloater(), around(12), ALL)
    assert cloud.confidence.dtype == np.float32
    assert cloud.confidence.shape == (len(cloud),)
    assert cloud.confidence.min() >= 0
    assert cloud.confidence.max() <= 1
    # Of twelve cameras on a ring each point is seen by one to four others, and all of them agree.
    v = np.rint(cloud.confidence / (1 - cloud.confidence))
    assert np.allclose(cloud.confidence, v / (v + 1), atol=1e-5)
    assert (v >= 1).mean() > 0.95
    assert np.median(cloud.confidence) > 0.65


def test_confidence_is_what_counting_says():
    """Against the definition with exact visibility: a point of the ball is seen by cameras above its horizon."""
    cameras = around(12)
    cloud = surface_points(BallAndFloater(), cameras, ALL)
    normals = (cloud.positions - CENTER.numpy()) / RADIUS
    to_camera = cameras.origins.numpy()[None] - cloud.positions[:, None]
    to_camera /= np.linalg.norm(to_camera, axis=2, keepdims=True)
    cosine = (to_camera * normals[:, None]).sum(2)
    # Which cameras count is not certain for those that see the point at a slant of between 1 / STEEPEST and an edge.
    low, high = (cosine > 0.5).sum(1) - 1, (cosine > 0.05).sum(1) - 1
    votes = cloud.confidence / (1 - cloud.confidence)
    assert (votes >= low - 1e-3).mean() > 0.99
    assert (votes <= high + 1e-3).mean() > 0.99


def test_a_floater_that_one_camera_sees_is_not_sure():
    cameras = around(12)
    cloud = surface_points(BallAndFloater(where=cameras.origins[0]), cameras, ALL)
    floats = np.abs(radii(cloud.positions) - RADIUS) > 0.05
    assert floats.sum() > 20
    assert cloud.confidence[floats].max() == 0
    behind = ~floats & (((cloud.positions - CENTER.numpy()) @ cameras.forward[0].numpy()) < -0.4)
    assert np.median(cloud.confidence[behind]) > 0.65  # the ball that it hides from one of them
    assert np.median(cloud.confidence[~floats]) > 0.65


def test_what_a_single_camera_sees_is_not_sure():
    assert surface_points(BallAndFloater(), around(1), 500).confidence.max() == 0


def test_translucent_points_are_less_sure():
    opaque, thin = (surface_points(BallAndFloater(opacity=o), around(12), 3000) for o in (1.0, 0.75))
    assert np.array_equal(opaque.positions, thin.positions)
    assert np.allclose(thin.confidence, 0.75 * opaque.confidence, atol=1e-6)


@pytest.mark.parametrize("nodes", [False, True])
def test_files_have_the_confidence(tmp_path, nodes):
    cloud = surface_points(BallAndFloater(), around(8), 500)
    ids = np.arange(len(cloud), dtype=np.int32) if nodes else None
    write_points(tmp_path / "p.ply", cloud.positions, cloud.normals, cloud.colors, ids, cloud.confidence)
    header, body = (tmp_path / "p.ply").read_bytes().split(b"end_header\n", 1)
    assert b"property float confidence\n" in header
    assert (b"property int node\n" in header) == nodes
    names = ["x", "y", "z", "nx", "ny", "nz"]
    kinds = [(n, "<f4") for n in names] + [(n, "u1") for n in ("red", "green", "blue")]
    rows = np.frombuffer(body, [*kinds, *([("node", "<i4")] if nodes else []), ("confidence", "<f4")])
    assert np.array_equal(rows["confidence"], cloud.confidence)
    assert np.array_equal(rows["z"], cloud.positions[:, 2])
    if nodes:
        assert np.array_equal(rows["node"], ids)
    assert np.allclose(trimesh.load(tmp_path / "p.ply").vertices, cloud.positions)


def test_points_in_view_are_those_before_the_horizon():
    cameras = around(6)
    cloud = surface_points(BallAndFloater(), cameras, 4000)
    normals = (cloud.positions - CENTER.numpy()) / RADIUS
    for i in range(6):
        rows, pixels = points_in_view(cloud, cameras, i)
        found = np.zeros(len(cloud), dtype=bool)
        found[rows] = True
        to_camera = cameras.origins[i].numpy() - cloud.positions
        cosine = (to_camera * normals).sum(1) / np.linalg.norm(to_camera, axis=1)
        assert found[cosine > 0.5].mean() > 0.95
        assert not found[cosine < -0.05].any()
        expected, _, _ = cameras.project(i, torch.from_numpy(cloud.positions[rows]))
        assert np.allclose(pixels, expected.numpy(), atol=1e-4)
    away = around(1)
    away.camera_to_world[:, :, 2] *= -1
    rows, pixels = points_in_view(cloud, away, 0)
    assert len(rows) == len(pixels) == 0
