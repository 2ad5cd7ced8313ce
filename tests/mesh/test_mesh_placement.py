"""Axes and scale of exports: the scene is turned, never mirrored, and every file says how."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.errors import ConfigError
from fieldlab.mesh.placement import AS_IT_IS, AXES, UP, placement
from fieldlab.mesh.read import read_mesh
from fieldlab.mesh.write import write_mesh
from tests.mesh.textured import colored

TURNED = [axes for axes in AXES if axes != "input"]
directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.01)


def snapped(up: np.ndarray) -> np.ndarray:
    """The axis within twenty degrees of a direction, or the direction itself."""
    up = up / np.linalg.norm(up)
    for axis in np.concatenate((np.eye(3), -np.eye(3))):
        if np.degrees(np.arccos(np.clip(axis @ up, -1, 1))) < 20:
            return axis
    return up


@pytest.mark.slow
@settings(deadline=None)
@given(st.sampled_from(TURNED), directions, st.floats(1e-6, 1e6))
def test_up_goes_where_it_should_by_a_proper_rotation(axes, up, scale):
    made = placement(axes, scale, torch.tensor(up))
    assert np.allclose(made.rotation @ made.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(made.rotation) == pytest.approx(1)
    angles = np.degrees(np.arccos(np.clip(np.abs(np.array(up)) / np.linalg.norm(up), 0, 1)))
    if np.abs(angles - 20).min() > 1e-3:  # where it is clear whether it snaps
        assert np.allclose(made.rotation @ snapped(np.array(up)), UP[axes], atol=1e-5)
    points = np.random.default_rng(0).normal(size=(5, 3))
    placed = np.pad(points, ((0, 0), (0, 1)), constant_values=1) @ made.matrix().T
    assert np.allclose(made.points(points), placed[:, :3], rtol=1e-12)
    assert np.allclose(scale * made.directions(points), placed[:, :3], rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("up", [(0.02, -0.05, 1.0), (0.0, 0, -1), (0.1, 1, 0.1), (-1.0, 0.2, 0)])
def test_directions_close_to_an_axis_are_that_axis(up):
    for axes in TURNED:
        rotation = placement(axes, 1.0, torch.tensor(up)).rotation
        assert set(np.abs(rotation).ravel()) <= {0.0, 1.0}  # nothing is tilted by noise


def test_the_usual_turns():
    point = np.array([[1.0, 2, 3]])
    up = torch.tensor([0.0, 0, 1])
    assert placement("z-up", 1.0, up).points(point).tolist() == [[1, 2, 3]]
    assert placement("y-up", 1.0).points(point).tolist() == [[1, 3, -2]]
    assert placement("opencv", 2.0, up).points(point).tolist() == [[2, -6, 4]]
    assert placement("input", 0.5, torch.tensor([0.0, 1, 0])).points(point).tolist() == [[0.5, 1, 1.5]]
    assert AS_IT_IS.mesh(mesh := colored()) is mesh
    assert placement("opencv", 1.0, up).points(point.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
@pytest.mark.parametrize("axes", AXES)
def test_files_come_back(tmp_path, suffix, axes):
    mesh, made = colored(), placement(axes, 3.7, torch.tensor([0.4, -0.5, 0.6]))
    path = tmp_path / f"ball.{suffix}"
    write_mesh(path, mesh, made)
    back = read_mesh(path)
    assert np.allclose(back.vertices, mesh.vertices, atol=1e-6)
    assert np.allclose(back.normals(), mesh.normals(), atol=1e-5)
    assert np.array_equal(back.faces, mesh.faces)


def test_the_record_says_all():
    made = placement("y-up", 0.01, torch.tensor([0.3, 0.5, 0.8]))
    kind, text = made.comment().split(" ", 1)
    assert kind == "fieldlab"
    assert "\n" not in text
    assert json.loads(text) == made.record()
    assert made.record()["axes"] == "y-up"
    assert made.record()["scale"] == 0.01
    assert np.array_equal(np.reshape(made.record()["to_file"], (4, 4)), made.matrix())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_scales(scale):
    with pytest.raises(ConfigError, match="scale") as error:
        placement("input", scale)
    assert error.value.field == "--scale"


def test_unknown_axes():
    with pytest.raises(ConfigError, match="axes") as error:
        placement("x-up", 1.0)
    assert error.value.field == "--axes"
    assert "opencv" in str(error.value.expected)
