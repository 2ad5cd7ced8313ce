"""Colors of a field on a surface, against the formula that colors the ball."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from fieldlab.data.cameras import Cameras
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.picture import mesh_colors
from fieldlab.mesh.texture.field_colors import surface_colors, textured, vertex_colors
from fieldlab.ops import native
from fieldlab.pictures.camera_path import look_at
from fieldlab.render.build import build_model
from fieldlab.render.model import ModelConfig
from tests.mesh.formula_model import CENTER, RADIUS, FormulaModel, ball_color, ball_density

NEAR, FAR = -0.05, 0.08


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    made = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    return Mesh(np.asarray(made.vertices) + CENTER.numpy(), np.asarray(made.faces, dtype=np.int64))


def around(n: int, size: int = 64) -> Cameras:
    a = torch.arange(n) / n * 6.28318
    positions = CENTER + 3 * torch.stack((a.cos(), a.sin(), (a * 3).sin() * 0.5), -1)
    return Cameras.pinhole(look_at(positions, CENTER, torch.tensor([0.0, 0, 1])), 1.2 * size, size, size)


def test_vertices_have_the_colors_of_the_formula(ball, mesh):
    shares = []
    colors = vertex_colors(ball, mesh, None, NEAR, FAR, shares.append)
    wanted = ball_color(torch.from_numpy(mesh.vertices).float()).numpy() * 255
    assert colors.dtype == np.uint8
    assert np.abs(colors - wanted).max() < 6  # the wall is soft: what is seen is a little below the surface
    assert shares[-1] == 1.0


def test_the_given_directions_are_looked_along(mesh):
    """A color that is the direction it is looked at from."""
    seen = torch.stack((CENTER - 1, CENTER + 1))
    model = FormulaModel(seen, ball_density, ball_color)
    model.rgb = lambda points, directions: directions * 0.5 + 0.5
    inward = np.random.default_rng(0).normal(size=mesh.vertices.shape)
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    colors = vertex_colors(model, mesh, inward, NEAR, FAR)
    assert np.abs(colors / 255 - (inward * 0.5 + 0.5)).max() < 0.01
    assert np.abs(vertex_colors(model, mesh, None, NEAR, FAR) / 255 - (0.5 - mesh.normals() * 0.5)).max() < 0.01


def test_where_nothing_is_seen_the_point_itself_has_a_color(ball):
    """Far outside of the ball, and without a direction."""
    points = CENTER.numpy() + np.array([[0.9, 0, 0], [0, -0.9, 0]])
    colors = surface_colors(ball, points, np.zeros((2, 3)), -0.01, 0.01)
    wanted = ball_color(torch.from_numpy(points).float()).numpy() * 255
    assert np.abs(colors - wanted).max() < 2


def test_a_textured_ball_looks_like_the_field(ball, mesh):
    """Seams included: no pixel inside the silhouette is off."""
    made = textured(ball, mesh, 256, near=NEAR, far=FAR)
    assert made.colors is None
    assert made.texture is not None
    assert made.texture.color.shape == (256, 256, 3)
    cameras = around(5)
    for i in range(5):
        drawn = mesh_colors(made, cameras, i)
        wanted = ball.render_image(cameras, i, background=torch.ones(3))["rgb"].numpy()
        off = np.abs(drawn - wanted).max(-1)
        inside = ball.render_image(cameras, i, channels=("opacity",))["opacity"].numpy()[..., 0] > 0
        core = np.all([np.roll(inside, move, (0, 1)) for move in ((0, 1), (0, -1), (1, 0), (-1, 0))], axis=0)
        assert core.sum() > 500
        assert off[core].max() < 0.04
        assert off[core].mean() < 0.02


def test_a_normal_map_is_made_when_asked_for(ball, mesh):
    def outwards(points: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return ((points - CENTER.numpy()) / RADIUS).astype(np.float32)

    made = textured(ball, mesh, 128, near=NEAR, far=FAR, normal_map=outwards)
    assert made.texture is not None
    assert made.texture.normal is not None
    assert np.abs(made.texture.normal.astype(int) - (128, 128, 255)).max() < 12  # the mesh is nearly as smooth


def test_the_fused_renderer_and_the_separate_operations_agree():
    """A dense field, so that colors are settled within the short rays; a corner of its box counts as empty."""
    field = HashGridConfig(n_levels=4, log2_hashmap_size=10, finest_resolution=16)
    model = build_model(field, ModelConfig((-1.0, -1, -1, 1, 1, 1), step=0.02, grid_resolution=32), seed=3)
    with torch.no_grad():
        model.field.encoding.table.uniform_(-1.0, 1.0, generator=torch.Generator().manual_seed(0))
    occupied = torch.ones_like(model.occupancy.values, dtype=torch.bool)
    occupied.view(32, 32, 32)[:16] = False
    model.occupancy.exclude(~occupied)
    points = np.random.default_rng(0).uniform(-0.9, 0.9, size=(2000, 3))
    inward = -points / np.linalg.norm(points, axis=1, keepdims=True)
    fused = surface_colors(model, points, inward, -0.02, 0.02).astype(int)
    with native.use_backend("reference"):
        separate = surface_colors(model, points, inward, -0.02, 0.02).astype(int)
    assert np.ptp(separate, axis=0).min() > 20
    difference = np.abs(fused - separate)
    assert np.quantile(difference, 0.95) < 8
    assert difference.mean() < 3
