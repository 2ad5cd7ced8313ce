"""Meshes and point clouds of a ball whose surface and colors are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.errors import ConfigError, RunFolderError
from fieldlab.export.points import surface_points
from fieldlab.fields.base import Field, FieldConfig
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.picture import mesh_picture
from fieldlab.mesh.read import read_mesh
from fieldlab.mesh.surface.extract import extract_mesh
from fieldlab.mesh.surface.level import surface_level, thin_wall_level
from fieldlab.mesh.write import write_mesh, write_points
from fieldlab.pictures.camera_path import View, look_at, orbit
from fieldlab.render.model import ModelConfig, RadianceModel
from tests.mesh.formula_model import CENTER, RADIUS, ball_color


def edge_counts(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(np.concatenate((faces[:, :2], faces[:, 1:], faces[:, [2, 0]])), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def test_level_stops_half_the_light_in_a_thin_wall():
    aabb = torch.tensor([[0.0, 0, 0], [2, 1, 1]])
    thickness = 2 / 256
    assert 1 - np.exp(-thin_wall_level(aabb) * thickness) == pytest.approx(0.5)


class SoftBall(Field):
    """A ball of radius 0.3 in the unit cube with one density throughout."""

    kind = "soft-ball"
    config_type = FieldConfig
    latent_size = 1

    def __init__(self, density: float) -> None:
        super().__init__(FieldConfig(), 1.0)
        self.log_density = float(np.log(density))

    def geometry(self, x):
        inside = (x - 0.5).norm(dim=-1) < 0.3
        return torch.where(inside, self.log_density, -20.0), torch.zeros(len(x), 1)

    def color(self, latent, x, directions, appearance=None):
        return torch.full((len(x), 3), 0.5)

    def param_groups(self):
        return []


@pytest.mark.slow
@pytest.mark.parametrize(("density", "level"), [(12.0, 6.0), (5000.0, None)])
def test_level_follows_soft_fields_and_not_hard_ones(density, level):
    aabb = (9.1, -5.9, 1.2, 11.1, -3.9, 3.2)  # 2 units around CENTER
    model = RadianceModel(SoftBall(density), ModelConfig(aabb, step=0.01, grid_resolution=16))
    expected = thin_wall_level(model.aabb) if level is None else level
    assert surface_level(model, around(4)) == pytest.approx(expected, rel=1e-3)
    turned = around(3)
    turned.camera_to_world[:, :, 2] *= -1  # they see nothing
    assert surface_level(model, turned) == thin_wall_level(model.aabb)
    mesh, report = extract_mesh(model, cameras=around(4), resolution=32, method="density")
    assert report.level == pytest.approx(expected, rel=1e-3)
    radius = np.linalg.norm(mesh.vertices - CENTER.double().numpy(), axis=1)
    assert np.abs(radius - RADIUS).max() < report.cell


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj"])
def test_files_keep_coordinates_and_colors(ball, tmp_path, suffix):
    mesh, _ = extract_mesh(ball, resolution=16)
    path = tmp_path / "new" / f"ball{suffix}"
    write_mesh(path, mesh)
    back = read_mesh(path)
    assert len(back.vertices) == len(mesh.vertices)
    assert np.allclose(back.vertices, mesh.vertices, atol=1e-6)
    assert np.array_equal(back.faces, mesh.faces)
    assert np.array_equal(back.colors, mesh.colors)
    assert (edge_counts(back.faces) == 2).all()
    assert np.allclose(back.normals(), mesh.normals(), atol=1e-5)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.slow
def test_mesh_files_that_cannot_be(ball, tmp_path):
    mesh, _ = extract_mesh(ball, resolution=16)
    for name in ("ball.off", "ball"):
        with pytest.raises(ConfigError, match="kind of file"):
            write_mesh(tmp_path / name, mesh)
    with pytest.raises(ConfigError, match="kind of file"):
        write_points(tmp_path / "ball.obj", mesh.vertices, mesh.normals(), mesh.colors)
    (tmp_path / "folder.stl").mkdir()
    with pytest.raises(ConfigError, match="folder"):
        write_mesh(tmp_path / "folder.stl", mesh)
    (tmp_path / "file").write_text("")
    for suffix in ("glb", "ply", "obj", "stl"):
        with pytest.raises(RunFolderError):
            write_mesh(tmp_path / "file" / f"ball.{suffix}", mesh)


def around(n: int, size: int = 64) -> Cameras:
    up = torch.tensor([0.0, 0, 1])
    a = torch.arange(n) / n * 6.28318
    positions = CENTER + 3 * torch.stack((a.cos(), a.sin(), (a * 3).sin() * 0.5), -1)
    return Cameras.pinhole(look_at(positions, CENTER, up), 1.2 * size, size, size)


def test_points_lie_on_the_ball_and_face_outward(ball, tmp_path):
    seen = []
    cloud = surface_points(ball, around(12), 3000, seen.append)
    assert len(cloud) == 3000
    assert seen[-1] == 1
    offset = cloud.positions - CENTER.numpy()
    assert np.abs(np.linalg.norm(offset, axis=1) - RADIUS).max() < 1e-3
    assert ((cloud.normals * offset).sum(1) > 0.59).all()
    assert np.abs(cloud.colors - ball_color(torch.from_numpy(cloud.positions)).numpy() * 255).max() < 2
    write_points(tmp_path / "p.ply", cloud.positions, cloud.normals, cloud.colors)
    back = trimesh.load(tmp_path / "p.ply")
    assert np.allclose(back.vertices, cloud.positions, atol=1e-5)
    assert np.array_equal(back.colors[:, :3], cloud.colors)
    header = (tmp_path / "p.ply").read_bytes().split(b"end_header")[0].decode()
    assert "property float nx" in header


def test_points_need_something_to_see(ball):
    turned = around(3)
    turned.camera_to_world[:, :, 2] *= -1
    with pytest.raises(ConfigError, match="sees a surface"):
        surface_points(ball, turned, 100)
    with pytest.raises(ConfigError, match="impossible"):
        surface_points(ball, around(3), 0)
    with pytest.raises(ConfigError, match="no cameras"):
        surface_points(ball, around(3)[:0], 10)


@pytest.mark.slow
def test_mesh_picture_is_what_the_field_shows(ball):
    mesh, _ = extract_mesh(ball, resolution=64)
    cameras = orbit(around(16), ball.aabb, 3, View(80, 60, 0.6))
    drawn = mesh_picture(mesh, cameras, 1)
    shown = ball.render_image(cameras, 1)["rgb"].numpy() * 255
    assert drawn.shape == (60, 80, 3)
    assert np.mean(np.abs(drawn - shown) > 20) < 0.05  # the outline is smoothed
    clay = mesh_picture(mesh, cameras, 1, shaded=True, background=(0, 0, 0))
    assert clay[30, 40].min() > clay[0, 0].max() == 0


def test_mesh_picture_puts_the_near_triangle_in_front():
    vertices = np.array([[-1.0, -1, 2], [1, -1, 2], [0, 1, 2], [-1, -1, 3], [1, -1, 3], [0, 1, 3]]) * (1, 1, 1)
    colors = np.array([[255, 0, 0]] * 3 + [[0, 255, 0]] * 3, dtype=np.uint8)
    pose = torch.eye(3, 4)[None]
    camera = Cameras.pinhole(pose, 20.0, 40, 40)
    for faces in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        picture = mesh_picture(Mesh(vertices, np.array(faces), colors), camera, 0)
        assert picture[20, 20].tolist() == [255, 0, 0]
        assert not (picture == (0, 255, 0)).all(-1).any()  # the far one is wholly covered
        assert picture[2, 2].tolist() == [255, 255, 255]
    camera.model[:] = int(CameraModel.EQUIRECTANGULAR)
    with pytest.raises(ConfigError, match="perspective"):
        mesh_picture(Mesh(vertices, np.array([[0, 1, 2]]), colors), camera, 0)
