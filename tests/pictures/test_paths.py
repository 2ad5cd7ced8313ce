"""Camera paths: where they are, where they look, and that files survive."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.errors import ConfigError, DataError
from fieldlab.pictures.camera_path import View, default_view, focus_point, interpolate, look_at, orbit, up_direction
from fieldlab.pictures.nerfstudio_path import CameraPath, read_camera_path, write_camera_path

BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
VIEW = View(64, 48, math.radians(50))


def ring(n: int, up: torch.Tensor, arc: float = 2 * math.pi, elevation: float = 0.4, radius: float = 3.0) -> Cameras:
    """Cameras on an arc about ``up`` looking at the origin."""
    up = torch.nn.functional.normalize(up, dim=0)
    x = torch.nn.functional.normalize(torch.linalg.cross(up, torch.tensor([0.3, -0.5, 0.8])), dim=0)
    y = torch.linalg.cross(up, x)
    a = torch.arange(n) / n * arc
    flat = a.cos()[:, None] * x + a.sin()[:, None] * y
    positions = radius * (math.cos(elevation) * flat + math.sin(elevation) * up)
    return Cameras.pinhole(look_at(positions, torch.zeros(3), up), 80.0, 64, 48)


def angle_between(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.acos(min(1.0, float((a @ b) / (a.norm() * b.norm()))))


@given(st.integers(0, 10_000), st.integers(3, 30), st.floats(-1.2, 1.2))
@settings(max_examples=30, deadline=None)
def test_up_is_found_whatever_the_frame(seed: int, n: int, elevation: float):
    up = torch.nn.functional.normalize(torch.randn(3, generator=torch.Generator().manual_seed(seed)), dim=0)
    assert angle_between(up_direction(ring(n, up, elevation=elevation)), up) < 0.02


def test_up_of_cameras_that_all_look_one_way_is_their_own():
    up = torch.tensor([0.0, 0.0, 1.0])
    cameras = ring(5, up, arc=0.05, elevation=0.0)
    assert angle_between(up_direction(cameras), up) < 0.02


def test_look_at_is_a_rotation_that_looks_there():
    positions = torch.tensor([[0.0, 0, 2], [3, 1, 0], [0, 0, -5]])  # two of them straight above and below
    pose = look_at(positions, torch.zeros(3), torch.tensor([0.0, 0, 1]))
    rotation = pose[:, :, :3]
    assert torch.allclose(rotation.mT @ rotation, torch.eye(3).expand(3, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(3), atol=1e-6)
    assert torch.allclose(rotation[:, :, 2] * positions.norm(dim=-1, keepdim=True), -positions, atol=1e-5)


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (0.5, 0.5, -0.7)])
def test_orbit_circles_the_center_and_keeps_it_in_the_middle(up):
    up = torch.tensor(up)
    path = orbit(ring(24, up), BOX, 12, VIEW)
    for i in range(12):
        pixels, depth, valid = path.project(i, torch.zeros(1, 3))
        assert bool(valid)
        assert torch.allclose(pixels[0], torch.tensor([32.0, 24.0]), atol=0.05)
        assert float(depth) == pytest.approx(3.0, rel=1e-3)
        above, _, _ = path.project(i, 0.2 * up[None] / up.norm())
        assert float(above[0, 1]) < 24  # up is up in the picture
    height = path.origins @ (up / up.norm())
    assert torch.allclose(height, height.mean().expand(12), atol=1e-3)
    steps = (path.origins - path.origins.roll(1, 0)).norm(dim=-1)
    assert float(steps.max() / steps.min()) == pytest.approx(1, abs=1e-2)  # closed and even


def test_orbit_of_a_one_sided_capture_stays_on_that_side():
    up = torch.tensor([0.0, 0.0, 1.0])
    cameras = ring(20, up, arc=math.radians(60))
    path = orbit(cameras, BOX, 40, VIEW)
    middle = torch.nn.functional.normalize(cameras.origins.mean(0), dim=0)
    assert max(angle_between(o, middle) for o in path.origins) < math.radians(45)
    assert (path.origins - path.origins.roll(1, 0)).norm(dim=-1).max() < 0.5


def test_focus_point_is_where_the_axes_meet():
    cameras = ring(20, torch.tensor([0.0, 0, 1]))
    pose = cameras.camera_to_world.clone()
    pose[:, :, 3] += torch.tensor([0.5, -0.2, 0.1])
    moved = Cameras.pinhole(pose, 80.0, 64, 48)
    assert torch.allclose(focus_point(moved, BOX), torch.tensor([0.5, -0.2, 0.1]), atol=0.05)


def test_default_view_keeps_the_field_of_view_of_the_shorter_side():
    cameras = ring(5, torch.tensor([0.0, 0, 1]))
    assert default_view(cameras).angle == pytest.approx(2 * math.atan(24 / 80))
    wide = default_view(cameras, (200, 100))
    assert wide.angle == pytest.approx(2 * math.atan(24 / 80))
    tall = default_view(cameras, (100, 200))
    assert tall.angle == pytest.approx(2 * math.atan(48 / 80))


def test_interpolation_passes_through_its_keys_smoothly():
    cameras = ring(6, torch.tensor([0.0, 0, 1]), arc=2.0)
    path = interpolate(cameras, 51, VIEW, keys=6)
    assert torch.allclose(path.camera_to_world[::10], cameras.camera_to_world, atol=1e-5)
    rotation = path.camera_to_world[:, :, :3].double().numpy()
    assert np.allclose(np.einsum("nij,nik->njk", rotation, rotation), np.eye(3), atol=1e-5)
    turn = Rotation.from_matrix(rotation[1:] @ rotation[:-1].transpose(0, 2, 1)).magnitude()
    assert turn.max() < 2.5 * np.median(turn)
    steps = path.origins.diff(dim=0).norm(dim=-1)
    assert steps.max() < 2 * steps.median()


def test_interpolation_of_shuffled_cameras_takes_a_short_way():
    cameras = ring(40, torch.tensor([0.0, 0, 1]), arc=3.0)
    shuffled = cameras[torch.randperm(40, generator=torch.Generator().manual_seed(3))]
    length = interpolate(shuffled, 200, VIEW).origins.diff(dim=0).norm(dim=-1).sum()
    assert float(length) < 3 * 3.0 * 3.0  # at most three times the arc


def test_interpolation_goes_around_the_scene_and_not_through_it():
    path = interpolate(ring(40, torch.tensor([0.0, 0, 1])), 20, VIEW)
    assert path.origins.norm(dim=-1).min() > 2.6


def test_single_cameras_and_frames():
    one = ring(1, torch.tensor([0.0, 0, 1]))
    assert len(interpolate(one, 5, VIEW)) == 5
    assert len(orbit(one, BOX, 1, VIEW)) == 1
    for frames in (0, -1, 10**7):
        with pytest.raises(ConfigError, match="frames"):
            orbit(one, BOX, frames, VIEW)


def test_camera_path_round_trip(tmp_path):
    cameras = orbit(ring(8, torch.tensor([0.0, 0, 1])), BOX, 7, VIEW)
    write_camera_path(tmp_path / "p.json", CameraPath(cameras, 12.0))
    back = read_camera_path(tmp_path / "p.json")
    assert back.fps == 12
    assert torch.allclose(back.cameras.camera_to_world, cameras.camera_to_world, atol=1e-5)
    assert torch.allclose(back.cameras.intrinsics, cameras.intrinsics, rtol=1e-4)
    assert back.cameras.size.tolist() == [[64, 48]] * 7
    stored = json.loads((tmp_path / "p.json").read_text())
    matrix = np.array(stored["camera_path"][0]["camera_to_world"]).reshape(4, 4)
    looks = cameras.forward[0].numpy()
    assert np.allclose(-matrix[:3, 2], looks, atol=1e-6)  # OpenGL cameras look along -z
    resized = read_camera_path(tmp_path / "p.json", (128, 96)).cameras
    assert torch.allclose(resized.intrinsics, 2 * cameras.intrinsics, rtol=1e-4)


def test_camera_path_of_whole_spheres(tmp_path):
    pose = np.eye(4).ravel().tolist()
    text = {"camera_type": "equirectangular", "render_width": 40, "render_height": 20, "seconds": 2}
    (tmp_path / "p.json").write_text(json.dumps({**text, "camera_path": [{"camera_to_world": pose}] * 4}))
    path = read_camera_path(tmp_path / "p.json")
    assert path.fps == 2
    assert path.cameras.model.tolist() == [int(CameraModel.EQUIRECTANGULAR)] * 4
    directions = path.cameras.image_rays(0).directions.reshape(20, 40, 3)
    assert torch.allclose(directions[10, 20], torch.tensor([0.0, 0, -1]), atol=0.15)
    assert torch.allclose(directions[0, 20], torch.tensor([0.0, 1, 0]), atol=0.15)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"camera_path": None}, "camera_path"),
        ({"camera_path": []}, "camera_path"),
        ({"camera_path": [{"fov": 50}]}, "camera_path[0].camera_to_world"),
        ({"camera_path": [{"camera_to_world": [1, 2, 3], "fov": 50}]}, "camera_path[0].camera_to_world"),
        ({"camera_path": [{"camera_to_world": [float("nan")] * 16, "fov": 50}]}, "camera_path[0].camera_to_world"),
        ({"camera_path": [{"camera_to_world": np.eye(4).ravel().tolist()}]}, "camera_path[0].fov"),
        ({"camera_path": [{"camera_to_world": np.eye(4).ravel().tolist(), "fov": 200}]}, "camera_path[0].fov"),
        ({"render_width": 10**9}, "render_width"),
        ({"render_height": "64"}, "render_height"),
        ({"fps": 0}, "fps"),
        ({"camera_type": "omnidirectional"}, "camera_type"),
    ],
)
def test_bad_camera_paths_name_the_field(tmp_path, change, field):
    good = {
        "render_width": 64,
        "render_height": 48,
        "fps": 24,
        "camera_path": [{"camera_to_world": np.eye(4).ravel().tolist(), "fov": 50, "aspect": 1.3}],
    }
    (tmp_path / "p.json").write_text(json.dumps({**good, **change}))
    with pytest.raises(DataError) as error:
        read_camera_path(tmp_path / "p.json")
    assert error.value.field == field
    assert error.value.file == tmp_path / "p.json"


def test_camera_path_files_that_are_no_json(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_camera_path(tmp_path / "none.json")
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read_camera_path(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("[]")
    with pytest.raises(DataError, match="object"):
        read_camera_path(tmp_path / "p.json")
