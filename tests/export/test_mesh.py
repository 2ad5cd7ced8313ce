"""Meshes and point clouds of a ball whose surface and colors are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from formula_model import CENTER, RADIUS, FormulaModel, ball_color, ball_density
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.errors import ConfigError, RunFolderError
from fieldlab.export.cameras_path import View, look_at, orbit
from fieldlab.export.mesh import Mesh
from fieldlab.export.mesh_files import write_mesh, write_points
from fieldlab.export.mesh_picture import mesh_picture
from fieldlab.export.mesh_read import read_mesh
from fieldlab.export.points import surface_points
from fieldlab.export.surface import density_grid
from fieldlab.export.surface.density_grid import DensityGrid, sample_density
from fieldlab.export.surface.extract import (
    MeshReport,
    decimated,
    extract_mesh,
    isosurface,
    vertex_colors,
    without_floaters,
)
from fieldlab.export.surface.level import surface_level, thin_wall_level
from fieldlab.fields.base import Field, FieldConfig
from fieldlab.render.model import ModelConfig, RadianceModel
from fieldlab.render.occupancy import NEVER, OccupancyGrid


def edge_counts(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(np.concatenate((faces[:, :2], faces[:, 1:], faces[:, [2, 0]])), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


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


@pytest.mark.parametrize(("density", "level"), [(12.0, 6.0), (5000.0, None)])
def test_level_follows_soft_fields_and_not_hard_ones(density, level):
    aabb = (9.1, -5.9, 1.2, 11.1, -3.9, 3.2)  # 2 units around CENTER
    model = RadianceModel(SoftBall(density), ModelConfig(aabb, step=0.01, grid_resolution=16))
    expected = thin_wall_level(model.aabb) if level is None else level
    assert surface_level(model, around(4)) == pytest.approx(expected, rel=1e-3)
    turned = around(3)
    turned.camera_to_world[:, :, 2] *= -1  # they see nothing
    assert surface_level(model, turned) == thin_wall_level(model.aabb)
    mesh, report = extract_mesh(model, cameras=around(4), resolution=32)
    assert report.level == pytest.approx(expected, rel=1e-3)
    radius = np.linalg.norm(mesh.vertices - CENTER.double().numpy(), axis=1)
    assert np.abs(radius - RADIUS).max() < report.cell


@pytest.mark.parametrize("resolution", [24, 64])
def test_ball_has_its_radius_is_closed_and_faces_outward(ball, resolution):
    mesh, report = extract_mesh(ball, resolution=resolution)
    assert report.automatic
    assert report.cell == pytest.approx(2 / resolution)
    radius = np.linalg.norm(mesh.vertices - CENTER.double().numpy(), axis=1)
    assert np.abs(radius - RADIUS).max() < report.cell
    assert np.abs(radius - RADIUS).mean() < 0.1 * report.cell
    assert (edge_counts(mesh.faces) == 2).all()
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert made.is_watertight
    assert made.is_winding_consistent
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.03)
    outward = (mesh.normals() * (mesh.vertices - CENTER.numpy())).sum(1) / radius
    assert outward.min() > 0.95


def test_colors_are_those_of_the_field(ball):
    mesh, _ = extract_mesh(ball, resolution=48)
    expected = ball_color(torch.from_numpy(mesh.vertices).float()).numpy() * 255
    assert np.abs(mesh.colors - expected).max() < 12


def test_colors_are_seen_from_outside():
    """Red skin on a blue core: a wall that is opaque within its skin shows no core."""

    def color(points):
        r = (points - CENTER).norm(dim=-1, keepdim=True)
        return torch.where(r > RADIUS + 0.02, torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0]))

    model = FormulaModel(torch.stack((CENTER - 1, CENTER + 1)), lambda p: 10 * ball_density(p), color)
    mesh, report = extract_mesh(model, resolution=64)
    colors = vertex_colors(model, mesh, report.cell)
    assert np.abs(colors.astype(int) - (255, 0, 0)).mean() < 8


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_any_density_gives_a_closed_mesh_within_the_box(seed):
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(0, 2, (9, 7, 8))).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = 0
    values[0, 0, 0], values[1, 1, 1] = 1.0, 2.0  # exactly the level, and something above it
    grid = DensityGrid(values, np.array([1.0, 2, 3]), np.full(3, 0.5), np.array([[1.0, 2, 3], [5, 5, 6.5]]))
    mesh = isosurface(grid, 1.0)
    assert (edge_counts(mesh.faces) % 2 == 0).all()
    assert (mesh.vertices >= grid.box[0]).all()
    assert (mesh.vertices <= grid.box[1]).all()
    assert volume(mesh) > 0


def test_a_thing_cut_by_the_box_is_closed_on_the_box():
    aabb = torch.stack((CENTER - 1, CENTER + torch.tensor([0.0, 1, 1])))
    mesh, _ = extract_mesh(FormulaModel(aabb, ball_density, ball_color), resolution=40)
    assert (edge_counts(mesh.faces) == 2).all()
    assert mesh.vertices[:, 0].max() == pytest.approx(float(CENTER[0]), abs=1e-6)
    assert volume(mesh) == pytest.approx(2 / 3 * np.pi * RADIUS**3, rel=0.05)


def two_balls(small: float, strength: float = 1.0) -> FormulaModel:
    other = CENTER + torch.tensor([0.8, 0.8, 0.8])

    def density(points):
        floater = strength * 88.7 * torch.exp(((small - (points - other).norm(dim=-1)) / 0.02).clamp(-20, 3))
        return torch.maximum(ball_density(points), floater)

    return FormulaModel(torch.stack((CENTER - 1, CENTER + 1)), density, ball_color)


def test_floaters_go_and_second_things_stay():
    _, report = extract_mesh(two_balls(0.02), resolution=128)
    assert report.parts_removed == 1
    assert report.faces_removed > 0
    mesh, report = extract_mesh(two_balls(0.1), resolution=64)
    assert report.parts_removed == 0
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).body_count == 2


def test_haze_goes_too():
    values = np.zeros((30, 30, 30), np.float32)
    values[2:12, 2:12, 2:12] = 100
    values[18:28, 18:28, 18:28] = 1.3
    grid = DensityGrid(values, np.zeros(3), np.ones(3), np.array([[0.0] * 3, [29.0] * 3]))
    report = MeshReport(1.0, True, (0, 100), 1.0)
    mesh = without_floaters(isosurface(grid, 1.0), grid, 1.0, report)
    assert report.parts_removed == 1
    assert mesh.vertices.max() < 13


def test_decimation_keeps_shape_and_gets_colors(ball):
    full, _ = extract_mesh(ball, resolution=48)
    mesh, report = extract_mesh(ball, resolution=48, faces=1000)
    assert report.faces_before_decimation == len(full.faces)
    assert 900 <= len(mesh.faces) <= 1100
    radius = np.linalg.norm(mesh.vertices - CENTER.double().numpy(), axis=1)
    assert np.abs(radius - RADIUS).max() < 0.03
    expected = ball_color(torch.from_numpy(mesh.vertices).float()).numpy() * 255
    assert np.abs(mesh.colors - expected).max() < 16
    assert len(decimated(full, 500).faces) < 600


def test_level_beyond_the_field_tells_the_range(ball):
    with pytest.raises(ConfigError, match="no surface") as error:
        extract_mesh(ball, resolution=16, level=1e9)
    assert "to" in str(error.value.expected)
    assert "--level" in str(error.value.hint)
    empty = FormulaModel(ball.aabb, lambda p: torch.zeros(len(p)), ball_color)
    with pytest.raises(ConfigError, match="field is empty"):
        extract_mesh(empty, resolution=16)


def test_impossible_requests(ball, monkeypatch):
    for bad in ({"resolution": 2}, {"resolution": 10**6}, {"level": -1.0}, {"level": float("nan")}, {"faces": 1}):
        with pytest.raises(ConfigError, match="impossible"):
            extract_mesh(ball, **bad)
    monkeypatch.setattr(density_grid, "available_memory", lambda: 1_000_000)
    with pytest.raises(ConfigError, match="memory") as error:
        extract_mesh(ball, resolution=256)
    suggested = int("".join(c for c in str(error.value.hint) if c.isdigit()))
    extract_mesh(ball, resolution=suggested)


def occupied_ball(ball: FormulaModel, low: torch.Tensor, high: torch.Tensor) -> None:
    """Mark the occupancy cells whose middle is between low and high (fractions of the box) as occupied."""
    grid = OccupancyGrid(ball.aabb, 16, 1, 0.01)
    middle = (torch.stack(torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij"), -1) + 0.5) / 16
    inside = ((middle > low) & (middle < high)).all(-1)
    grid.values[0] = torch.where(inside, 1.0, NEVER)
    grid.changed()
    ball.occupancy = grid


def test_only_occupied_cells_are_evaluated_and_the_rest_is_empty(ball):
    occupied_ball(ball, torch.tensor([0.5, 0, 0]), torch.tensor([1.0, 1, 1]))
    grid = sample_density(ball, 32)
    assert ball.evaluated == 17 * 33 * 33
    everywhere = FormulaModel(ball.aabb, ball_density, ball_color)
    full = sample_density(everywhere, 32)
    assert np.allclose(grid.origin, (ball.aabb[0] + torch.tensor([15 / 16, 0, 0])).numpy())  # widened by one vertex
    assert np.array_equal(grid.values[1:], full.values[16:])
    assert (grid.values[0] == 0).all()


def test_an_empty_occupancy_grid_gives_an_empty_grid(ball):
    occupied_ball(ball, torch.ones(3), torch.zeros(3))
    assert sample_density(ball, 32).density_range() == (0.0, 0.0)


def test_grids_of_uneven_boxes_have_even_cells():
    aabb = torch.tensor([[0.0, 0, 0], [2, 1, 0.5]])
    grid = sample_density(FormulaModel(aabb, lambda p: p[:, 0] + 1, ball_color), 20)
    assert grid.values.shape == (21, 11, 6)
    assert np.allclose(grid.spacing, 0.1)
    assert np.allclose(grid.values[:, 0, 0], np.linspace(1, 3, 21), atol=1e-5)


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
