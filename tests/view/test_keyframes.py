"""Camera paths through kept views: they go through them, are smooth, and survive their file."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from fieldlab.errors import ConfigError, DataError
from fieldlab.pictures.nerfstudio_path import read_camera_path
from fieldlab.view.cameras import eye_of
from fieldlab.view.keyframes import Flight, Keyframe, moved, read_flight, replaced, write_flight
from tests.scenes import ring_cameras

TIMES = (1.0, 2.5, 0.5, 1.5)


def flight(loop: bool = False, n: int = 4) -> Flight:
    poses = ring_cameras(n).camera_to_world
    keys = tuple(Keyframe(f"key {i}", eye_of(poses[i], math.radians(40 + 10 * i), 1.5), TIMES[i % 4]) for i in range(n))
    return Flight(keys, fps=20.0, size=(48, 32), loop=loop)


def pose(eye) -> np.ndarray:
    return eye.camera_to_world.numpy()


@pytest.mark.parametrize("loop", [False, True])
def test_it_passes_through_every_view_at_its_time(loop):
    made = flight(loop)
    marks = np.concatenate(([0.0], np.cumsum([key.seconds for key in made.keys])))[: len(made.keys)]
    for key, eye in zip(made.keys, made.at(marks), strict=True):
        assert np.allclose(pose(eye), pose(key.eye), atol=1e-5)
        assert eye.fov == pytest.approx(key.eye.fov)
    assert made.seconds == pytest.approx(sum(TIMES) if loop else sum(TIMES[:3]))
    cameras = made.cameras()
    assert len(cameras) == made.frames == round(made.seconds * 20) + (0 if loop else 1)
    assert cameras.size[0].tolist() == [48, 32]


@pytest.mark.parametrize("loop", [False, True])
def test_it_has_no_jumps_and_rotations_are_rotations(loop):
    made = flight(loop)
    eyes = made.at(np.linspace(0, made.seconds, 800))
    poses = np.stack([pose(eye) for eye in eyes])
    assert np.abs(np.diff(poses, axis=0)).max() < 0.1
    assert np.allclose(poses[:, :, :3] @ poses[:, :, :3].transpose(0, 2, 1), np.eye(3), atol=1e-5)
    if loop:
        assert np.allclose(poses[0], poses[-1], atol=1e-5)
    marks = np.cumsum([key.seconds for key in made.keys])[: 4 if loop else 2]
    step = 1e-3
    around = np.stack([pose(eye) for mark in marks for eye in made.at(mark + step * np.array([-1.0, 0.0, 1.0]))])
    before, at, after = around.reshape(-1, 3, 3, 4).astype(float).transpose(1, 0, 2, 3)
    assert np.abs((at - before) - (after - at)).max() < 1e-4  # as fast when it leaves a view as when it comes


def test_one_view_stands_still_and_none_is_no_path():
    made = flight(n=1)
    assert len(made.cameras()) == 1
    with pytest.raises(ConfigError, match="no keyframes"):
        Flight().at(np.zeros(1))
    with pytest.raises(ConfigError, match="too long"):
        Flight((flight().keys[0], Keyframe("far", flight().keys[1].eye, 3600.0)) * 4, fps=120.0).cameras()


def test_files_come_back_and_nerfstudio_reads_them(tmp_path):
    file, made = tmp_path / "path.json", flight(loop=True)
    write_flight(file, made)
    again = read_flight(file)
    assert (again.fps, again.size, again.loop) == (made.fps, made.size, True)
    for a, b in zip(again.keys, made.keys, strict=True):
        assert (a.name, a.seconds) == (b.name, b.seconds)
        assert np.allclose(pose(a.eye), pose(b.eye), atol=1e-6)
        assert a.eye.fov == pytest.approx(b.eye.fov)
    frames = read_camera_path(file)
    assert torch.allclose(frames.cameras.camera_to_world, made.cameras().camera_to_world, atol=1e-5)
    content = json.loads(file.read_text())
    del content["keyframes"]
    file.write_text(json.dumps(content))
    assert len(read_flight(file).keys) == made.frames


def test_times_in_a_file_are_those_into_a_view(tmp_path):
    """As nerfstudio's viewer counts them: the first view's is the way back to it from the last one."""
    file = tmp_path / "path.json"
    write_flight(file, flight(loop=True))
    content = json.loads(file.read_text())
    assert [key["override_transition_sec"] for key in content["keyframes"]] == [TIMES[-1], *TIMES[:-1]]
    assert content["default_transition_sec"] == 2.0
    for key in content["keyframes"][:2]:
        key["override_transition_enabled"] = False
    file.write_text(json.dumps(content))
    assert [key.seconds for key in read_flight(file).keys] == [2.0, *TIMES[1:3], 2.0]
    del content["default_transition_sec"]
    file.write_text(json.dumps(content))
    assert [key.seconds for key in read_flight(file).keys] == [0.5, *TIMES[1:3], 0.5]


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "nope", '{"keyframes": [3]}', '{"keyframes": [{"matrix": [1]}]}', '{"keyframes": [{"matrix": "x"}]}'],
)
def test_files_that_are_none(tmp_path, content):
    file = tmp_path / "path.json"
    file.write_text(content)
    with pytest.raises(DataError):
        read_flight(file)


def test_views_change_places():
    keys = flight().keys
    assert [key.name for key in moved(keys, 0, 2)] == ["key 1", "key 2", "key 0", "key 3"]
    assert moved(keys, 3, 5) == keys
    assert [key.name for key in replaced(keys, 1, name="new")] == ["key 0", "new", "key 2", "key 3"]
