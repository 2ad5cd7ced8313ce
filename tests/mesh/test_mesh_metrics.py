"""Measures of meshes whose distances, normals and pieces follow from formulas."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
import trimesh

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError, DataError
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.metrics import MeshScore, mesh_shape, score_mesh, seen_points
from fieldlab.mesh.queries import joined_faces, nearest_on, pieces, topology, volume


def ball(radius: float = 1.0, center: tuple[float, float, float] = (0, 0, 0), subdivisions: int = 4) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions, radius)
    return Mesh(np.array(made.vertices) + center, np.array(made.faces, dtype=np.int64))


def box() -> Mesh:
    made = trimesh.creation.box((1, 2, 3))
    return Mesh(np.array(made.vertices), np.array(made.faces, dtype=np.int64))


def plate(turn: float = 0.0) -> Mesh:
    """A square of side 2 turned about the x axis through its middle, by radians."""
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    c, s = np.cos(turn), np.sin(turn)
    return Mesh(corners @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]), np.array([[0, 1, 2], [0, 2, 3]]))


def joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def split(mesh: Mesh) -> Mesh:
    """The same triangles, each with three vertices of its own."""
    return Mesh(mesh.vertices[mesh.faces.ravel()], np.arange(mesh.faces.size).reshape(-1, 3))


def score(made: Mesh, truth: Mesh, **options) -> MeshScore:
    return score_mesh(made, truth, points=20_000, **options)


@pytest.mark.parametrize("gap", [0.02, 0.2, -0.1])
def test_balls_in_balls(gap):
    size = abs(gap)
    found = score(ball(1 + gap), ball(), shares=(), distances=(0.9 * size, 1.1 * size))
    assert found.chamfer == pytest.approx(size, rel=0.05)
    assert found.accuracy == pytest.approx(size, rel=0.05)
    assert found.completeness == pytest.approx(size, rel=0.05)
    below, above = found.closeness
    assert (below.precision, below.recall, below.f_score) == (0, 0, 0)
    assert (above.precision, above.recall, above.f_score) == (1, 1, 1)
    assert found.normal_consistency == pytest.approx(1, abs=0.01)
    assert found.normal_cosine == pytest.approx(1, abs=0.01)


def test_thresholds_are_shares_of_the_diagonal_and_distances():
    truth = box()
    found = score(truth, truth, shares=(0.01, 0.005), distances=(0.5,))
    diagonal = np.sqrt(14)
    assert found.diagonal == pytest.approx(diagonal)
    assert [c.distance for c in found.closeness] == pytest.approx([0.005 * diagonal, 0.01 * diagonal, 0.5])
    assert [c.share for c in found.closeness] == pytest.approx([0.005, 0.01, 0.5 / diagonal])
    assert all(c.f_score == 1 for c in found.closeness)


def test_precision_and_recall_are_of_areas():
    """Two balls are made of which the truth has one: half the made surface is right, and all of the true one found."""
    truth = ball()
    found = score(joined(truth, ball(center=(5, 0, 0))), truth, shares=(0.01,))
    assert found.closeness[0].precision == pytest.approx(0.5, abs=0.02)
    assert found.closeness[0].recall == 1
    assert found.closeness[0].f_score == pytest.approx(2 / 3, abs=0.02)
    # Mean distance from a unit ball at distance 5 to the surface of the other, by numerical integration.
    away = ball(center=(5, 0, 0), subdivisions=5).vertices
    mean = (np.linalg.norm(away, axis=1) - 1).mean()
    assert found.accuracy == pytest.approx(mean / 2, rel=0.03)


@pytest.mark.parametrize("degrees", [0, 20, 60])
def test_normals_of_turned_planes(degrees):
    # Of a turned plate's points the nearest ones are inside the other plate or on its edge: always the same faces.
    found = score(plate(np.radians(degrees)), plate())
    assert found.normal_consistency == pytest.approx(np.cos(np.radians(degrees)), abs=1e-6)


def test_faces_inside_out_show_in_the_plain_cosine_alone():
    made = ball()
    turned = Mesh(made.vertices, made.faces[:, ::-1])
    found = score(turned, made)
    assert found.normal_consistency == pytest.approx(1, abs=0.01)
    assert found.normal_cosine == pytest.approx(-1, abs=0.01)
    assert mesh_shape(turned).volume == pytest.approx(-4 / 3 * np.pi, rel=0.01)


def test_recall_over_what_is_seen():
    """Half the ball is made and half is seen; the halves are the same, or the opposite ones."""
    truth = ball()
    upper = truth.kept(truth.vertices[truth.faces].mean(1)[:, 2] > 0)
    high = truth.vertices[truth.vertices[:, 2] > 0.1]
    whole = score(upper, truth, shares=(0.01,))
    assert whole.closeness[0].recall == pytest.approx(0.5, abs=0.03)
    assert not whole.seen
    for seen, recall in ((high, 1), (-high, 0), (np.concatenate((high, -high)), 0.5)):
        found = score(upper, truth, shares=(0.01,), seen=seen)
        assert found.closeness[0].recall == pytest.approx(recall, abs=0.03)
        assert found.closeness[0].precision == 1
        assert found.seen
        assert found.points == (20_000, len(seen))


def test_the_truth_may_be_points():
    cloud = Mesh(ball(subdivisions=5).vertices, np.zeros((0, 3), dtype=np.int64))
    found = score(ball(1.2), cloud, shares=(), distances=(0.15, 0.25))
    assert found.chamfer == pytest.approx(0.2, rel=0.05)
    assert [c.f_score for c in found.closeness] == [0, 1]
    assert found.normal_consistency is None
    assert found.truth_components is None


def test_the_same_every_time_and_plain_values():
    made, truth = ball(1.05), box()
    first = score(made, truth)
    assert score(made, truth) == first
    assert score(made, truth, seed=1) != first
    assert json.loads(json.dumps(asdict(first)))["closeness"][0]["share"] == pytest.approx(0.005)
    assert json.loads(json.dumps(asdict(mesh_shape(made))))["triangles"] == len(made.faces)


def test_what_cannot_be_measured():
    made = ball(subdivisions=1)
    for options in ({"shares": (0.0,)}, {"distances": (-1.0,)}, {"shares": (float("nan"),)}):
        with pytest.raises(ConfigError, match="above zero"):
            score_mesh(made, made, **options)
    with pytest.raises(ConfigError, match="above zero"):
        score_mesh(made, made, points=0)
    nothing = Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    with pytest.raises(DataError, match="no extent"):
        score_mesh(made, nothing)
    with pytest.raises(DataError, match="no surface"):
        score_mesh(nothing, made)
    with pytest.raises(DataError, match="nothing is seen"):
        score_mesh(made, made, seen=np.zeros((0, 3)))


def test_shapes():
    whole = mesh_shape(box())
    assert (whole.watertight, whole.manifold, whole.components) == (True, True, 1)
    assert whole.volume == pytest.approx(6)
    assert (whole.triangles, whole.vertices) == (12, 8)
    opened = mesh_shape(box().kept(np.arange(12) > 0))
    assert (opened.watertight, opened.manifold, opened.volume) == (False, True, None)
    faces = box().faces.copy()
    faces[0] = faces[0, ::-1]
    turned = mesh_shape(Mesh(box().vertices, faces))
    assert (turned.watertight, turned.manifold, turned.volume) == (True, False, None)
    fin = Mesh(np.concatenate((box().vertices, [[5.0, 5, 5]])), np.concatenate((box().faces, [[*faces[1][:2], 8]])))
    assert not mesh_shape(fin).manifold
    assert not mesh_shape(fin).watertight
    empty = mesh_shape(Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)))
    assert (empty.watertight, empty.components, empty.triangles) == (False, 0, 0)


def test_pieces_are_counted_across_the_seams_of_textures():
    two = joined(ball(subdivisions=2), ball(center=(3, 0, 0), subdivisions=2))
    found = mesh_shape(split(two))
    assert (found.components, found.watertight, found.manifold) == (2, True, True)
    assert found.vertices == 3 * found.triangles
    assert found.volume == pytest.approx(volume(two))
    assert len(np.unique(pieces(two.faces))) == 2
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, 0, 0], [0, 1, 0], [-1, 0, 0]])
    assert mesh_shape(Mesh(vertices, np.arange(6).reshape(2, 3))).components == 1  # minus zero is zero


@pytest.mark.slow
def test_queries_against_brute_force():
    rng = np.random.default_rng(0)
    mesh = ball(subdivisions=1)
    points = rng.normal(size=(50, 3))
    grid = np.array([(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)]) / 60
    dense = np.einsum("wk,fkd->fwd", grid, mesh.vertices[mesh.faces])
    wanted = np.linalg.norm(dense[None] - points[:, None, None], axis=-1).min((1, 2))
    assert np.allclose(nearest_on(mesh, points)[0], wanted, atol=2e-3)
    faces = rng.integers(0, 12, (30, 3))
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
    edges: dict[tuple[int, int], int] = {}
    for a, b, c in faces.tolist():
        for edge in ((a, b), (b, c), (c, a)):
            edges[min(edge), max(edge)] = edges.get((min(edge), max(edge)), 0) + 1
    found = topology(faces)
    assert found.open_edges == sum(n == 1 for n in edges.values())
    assert found.crowded_edges == sum(n > 2 for n in edges.values())
    assert len(joined_faces(Mesh(rng.random((12, 3)), faces))) == len(faces)


SIZE = (24, 20)


def ball_cameras() -> Cameras:
    """Two cameras at distance 3 from a unit ball at the origin, from below and from the side."""
    below = torch.eye(3, 4)
    below[2, 3] = -3
    side = torch.tensor([[0.0, 0, 1, -3], [1, 0, 0, 0], [0, 1, 0, 0]])
    return Cameras.pinhole(torch.stack((below, side)), 30.0, *SIZE)


def ball_depth(cameras: Cameras, i: int) -> np.ndarray:
    rays = cameras.image_rays(i)
    b = (rays.origins * rays.directions).sum(1)
    root = b * b - (rays.origins.square().sum(1) - 1)
    depth = torch.where(root > 0, -b - root.clamp_min(0).sqrt(), 0)
    return depth.reshape(SIZE[1], SIZE[0]).numpy()


def test_seen_points_lie_on_what_is_seen(tmp_path):
    cameras = ball_cameras()
    depths = [ball_depth(cameras, i) for i in range(2)]
    for i in range(2):
        np.savez_compressed(tmp_path / f"r_{i}.npz", depth=depths[i], ids=np.zeros((1, *depths[i].shape), np.int16))
    points = seen_points(tmp_path, cameras, ["train/r_0.png", "train/r_1.png"])
    assert len(points) == sum((depth > 0).sum() for depth in depths)
    assert np.allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    first = (depths[0] > 0).sum()
    assert (points[:first, 2] < 0).all()
    assert (points[first:, 0] < 0).all()
    only = seen_points(tmp_path, cameras, ["train/r_0.png", "train/other.png"])
    assert np.array_equal(only, points[:first])


def test_depths_that_cannot_be_used(tmp_path):
    cameras = ball_cameras()[:1]
    file = tmp_path / "r_0.npz"

    def said() -> str:
        with pytest.raises(DataError) as error:
            seen_points(tmp_path, cameras, ["r_0.png"])
        return str(error.value)

    assert "no view has depths" in said()
    np.savez(file, ids=np.zeros((1, 20, 24)))
    assert "no depth" in said()
    assert str(file) in said()
    np.savez(file, depth=np.zeros((24, 20), np.float32))
    assert "does not fit its camera" in said()
    np.savez(file, depth=np.zeros((20, 24), np.int32))
    assert "does not fit its camera" in said()
    np.savez(file, depth=np.full((20, 24), None))
    assert "does not fit its camera" in said()
    np.savez(file, depth=np.full((20, 24), np.nan, np.float32))
    assert "not finite" in said()
    file.write_bytes(file.read_bytes()[:200])
    assert "cannot be read" in said()
    with pytest.raises(DataError, match="there are no depths"):
        seen_points(tmp_path / "none", cameras, ["r_0.png"])
