"""Pictures and depths of meshes against rays cut with triangles one by one, and against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.errors import ConfigError
from fieldlab.mesh.mesh import Mesh, Texture
from fieldlab.mesh.picture import mesh_colors, mesh_depth, mesh_picture

LENSES = [(0.0,) * 6, (-0.2, 0.05, 0.01, -0.02, 0.0, 0.0), (0.3, 0.1, -0.01, 0.01, 0.05, 0.0)]


def camera(lens=LENSES[0], size=(40, 30), focal=30.0, pose=None) -> Cameras:
    made = Cameras.pinhole((torch.eye(3, 4) if pose is None else pose)[None], focal, *size)
    made.distortion[:] = torch.tensor(lens)
    return made


def cut_depth(mesh: Mesh, cameras: Cameras) -> np.ndarray:
    """Distance to the nearest of all triangles along every ray (Möller and Trumbore 1997), 0 where there is none."""
    rays = cameras.image_rays(0)
    origin, direction = rays.origins.double().numpy()[:, None], rays.directions.double().numpy()[:, None]
    a, b, c = (mesh.vertices[mesh.faces[:, k]][None] for k in range(3))
    across = np.cross(direction, c - a)
    size = (across * (b - a)).sum(-1)
    size = np.where(np.abs(size) > 1e-12, size, np.inf)
    u = ((origin - a) * across).sum(-1) / size
    other = np.cross(origin - a, b - a)
    v = (direction * other).sum(-1) / size
    t = ((c - a) * other).sum(-1) / size
    t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-6) & np.isfinite(size), t, np.inf).min(1)
    width, height = cameras.size[0].tolist()
    return np.where(np.isfinite(t), t, 0).reshape(height, width)


def soup(count: int, spread: float, size: float, middle: float) -> Mesh:
    rng = np.random.default_rng(count)
    corners = rng.normal(size=(count, 1, 3)) * spread + (0, 0, middle) + rng.normal(size=(count, 3, 3)) * size
    return Mesh(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal but for a few pixels whose rays pass by an edge closer than the 32 bits of a ray's direction tell."""
    return bool((np.abs(found - wanted) > 1e-4 * np.maximum(wanted, 1)).mean() < 0.004)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize(("spread", "size", "middle"), [(0.8, 0.1, 3.0), (0.8, 1.0, 3.0), (3.0, 2.0, 0.0)])
def test_depth_is_that_of_rays_cut_with_triangles(lens, spread, size, middle):
    """Small triangles, large ones, and ones all around of which many reach behind the camera."""
    mesh, cameras = soup(120, spread, size, middle), camera(lens)
    found = mesh_depth(mesh, cameras, 0)
    assert found.dtype == np.float32
    assert (found > 0).mean() > 0.1
    assert same(found, cut_depth(mesh, cameras))


@pytest.mark.parametrize("lens", LENSES)
def test_a_wall_that_fills_the_picture(lens):
    corners = np.array([[-99.0, -99, 2], [99, -99, 2], [99, 99, 2], [-99, 99, 2]])
    wall = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))
    found = mesh_depth(wall, camera(lens), 0)
    directions = camera(lens).image_rays(0).directions
    assert np.allclose(found.ravel(), 2 / directions[:, 2].numpy(), rtol=1e-5)


def test_a_floor_under_the_camera_reaches_the_horizon():
    corners = np.array([[-1e4, 1, -1e4], [1e4, 1, -1e4], [1e4, 1, 1e4], [-1e4, 1, 1e4]])
    floor = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))
    found = mesh_depth(floor, camera(), 0)
    down = camera().image_rays(0).directions[:, 1].reshape(30, 40).numpy()
    assert np.array_equal(found > 0, down > 0)
    assert np.allclose(found[down > 0], 1 / down[down > 0], rtol=1e-4)


def test_a_ball_from_a_turned_camera():
    made = trimesh.creation.icosphere(5)
    pose = torch.tensor([[0.0, 0, 1, -3], [1, 0, 0, 0], [0, 1, 0, 0]])
    cameras = camera(pose=pose)
    found = mesh_depth(Mesh(np.array(made.vertices), np.array(made.faces)), cameras, 0)
    rays = cameras.image_rays(0)
    b = (rays.origins * rays.directions).sum(1)
    root = (b * b - 8).reshape(30, 40).numpy()
    wanted = np.where(root > 0, -b.reshape(30, 40).numpy() - np.sqrt(np.maximum(root, 0)), 0)
    clear = np.abs(root) > 0.2  # away from the outline
    assert np.allclose(found[clear], wanted[clear], atol=3e-3)


def checkered() -> Mesh:
    """A slanted square with a texture that is red along u and green along v, first row at the top."""
    corners = np.array([[-1.0, 1, 2], [1, 1, 4], [1, -1, 4], [-1, -1, 2]])
    at = np.arange(64) / 63 * 255
    picture = np.stack(np.broadcast_arrays(at[None, :], at[::-1, None], 51.0), axis=-1).round().astype(np.uint8)
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(corners, faces, colors=np.zeros((4, 3), np.uint8), texture=Texture(uv, faces, picture))


@pytest.mark.parametrize("lens", LENSES)
def test_textures_are_in_perspective(lens):
    """The place on a slanted square under a pixel follows from its ray: x = 2 u - 1, z = 3 + x."""
    drawn = mesh_colors(checkered(), camera(lens), 0, background=(0, 0, 0))
    assert drawn.dtype == np.float32
    directions = camera(lens).image_rays(0).directions.double().numpy().reshape(30, 40, 3)
    x = 3 * directions[..., 0] / (directions[..., 2] - directions[..., 0])
    y = directions[..., 1] / directions[..., 2] * (3 + x)
    inside = (np.abs(x) < 0.9) & (np.abs(y) < 0.85)
    assert inside.sum() > 100
    # The texture's colors go from the middle of its first to that of its last pixel.
    u, v = ((np.stack((x, -y)) + 1) / 2 * 64 - 0.5) / 63
    assert np.abs(drawn[inside, 0] - u[inside]).max() < 0.01
    assert np.abs(drawn[inside, 1] - v[inside]).max() < 0.01
    assert np.allclose(drawn[inside, 2], 0.2, atol=1e-6)
    assert (drawn[~((np.abs(x) < 1.1) & (np.abs(y) < 1.1))] == 0).all()


def test_pictures_are_rounded_colors_and_edges_are_smooth():
    drawn = mesh_picture(checkered(), camera(), 0, background=(1, 1, 1))
    colors = mesh_colors(checkered(), camera(), 0, background=(1, 1, 1))
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, (colors * 255 + 0.5).astype(np.uint8))
    blue = drawn[..., 2]
    assert ((blue > 60) & (blue < 250)).any()  # half covered


def test_clay_is_lit_from_the_camera():
    corners = np.array([[-9.0, -9, 2], [9, -9, 2], [9, 9, 2], [-9, 9, 2]])
    for faces in ([[0, 1, 2], [0, 2, 3]], [[2, 1, 0], [3, 2, 0]]):  # either side
        drawn = mesh_colors(Mesh(corners, np.array(faces)), camera(size=(41, 31)), 0)
        assert drawn[15, 20] == pytest.approx((0.82, 0.80, 0.76), abs=1e-3)
        cosine = camera(size=(41, 31)).image_rays(0).directions[0, 2].item()
        assert drawn[0, 0] == pytest.approx(np.array((0.82, 0.80, 0.76)) * (0.2 + 0.8 * cosine), abs=5e-3)


def test_nothing_to_see_and_cameras_that_cannot():
    away = Mesh(np.array([[0.0, 0, -1], [1, 0, -2], [0, 1, -2]]), np.array([[0, 1, 2]]))
    nothing = Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    edge_on = Mesh(np.array([[0.0, 0, 1], [0, 0, 2], [0, 0, 3]]), np.array([[0, 1, 2]]))
    for mesh in (away, nothing, edge_on):
        assert not mesh_depth(mesh, camera(), 0).any()
        assert (mesh_picture(mesh, camera(), 0) == 255).all()
    fisheye = camera()
    fisheye.model[:] = int(CameraModel.FISHEYE)
    with pytest.raises(ConfigError, match="perspective"):
        mesh_depth(away, fisheye, 0)
