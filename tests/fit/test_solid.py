"""Distances, insides and surfaces of meshes, against brute force and formulas."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.errors import ConfigError, DataError
from fieldlab.fit.solid import RADIUS, Solid, read_mesh, read_solid
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.queries import face_normals, nearest_on, sample_surface
from tests.fit.shapes import plate, sphere, torus


def brute_force_distance(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance [P] of points to triangles [F,3,3]: to the plane where the foot is inside, else to the nearest edge."""
    best = np.full(len(points), np.inf)
    for a, b, c in corners:
        normal = np.cross(b - a, c - a)
        normal = normal / np.linalg.norm(normal)
        height = (points - a) @ normal
        foot = points - height[:, None] * normal
        within = np.ones(len(points), dtype=bool)
        edges = np.full(len(points), np.inf)
        for p, q in ((a, b), (b, c), (c, a)):
            within &= np.cross(q - p, foot - p) @ normal >= 0
            share = ((points - p) @ (q - p) / ((q - p) @ (q - p))).clip(0, 1)
            edges = np.minimum(edges, np.linalg.norm(points - p - share[:, None] * (q - p), axis=1))
        best = np.minimum(best, np.where(within, np.abs(height), edges))
    return best


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), faces=st.integers(1, 30), count=st.integers(1, 50))
def test_distances_are_those_of_brute_force(seed, faces, count):
    rng = np.random.default_rng(seed)
    mesh = Mesh(rng.uniform(-1, 1, (3 * faces, 3)), np.arange(3 * faces).reshape(faces, 3))
    points = rng.uniform(-1.5, 1.5, (count, 3))
    distance, face = nearest_on(mesh, points)
    assert np.allclose(distance, brute_force_distance(points, mesh.vertices[mesh.faces]), atol=1e-9)
    own = [brute_force_distance(points[i : i + 1], mesh.vertices[mesh.faces[face[i]]][None])[0] for i in range(count)]
    assert np.allclose(own, distance, atol=1e-9)


def test_normalizing_and_back():
    made = sphere(2, radius=3.0)
    moved = made.vertices + np.array([10.0, -4.0, 0.5])
    solid = Solid(Mesh(moved, made.faces))
    assert np.isclose(np.linalg.norm(solid.mesh.vertices, axis=1).max(), RADIUS)
    assert np.allclose(solid.placement.original(solid.mesh.vertices), moved)
    assert np.allclose(solid.mesh.vertices.max(0), -solid.mesh.vertices.min(0))


def test_sign_and_size_of_distances_to_a_ball():
    solid = Solid(sphere(5))
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 3))
    wanted = np.linalg.norm(points, axis=1) - RADIUS
    assert np.allclose(solid.signed_distance(points), wanted, atol=2e-3)
    assert solid.nearest(np.zeros((0, 3)))[0].shape == (0,)
    assert solid.inside(np.zeros((0, 3))).shape == (0,)


def test_faces_that_look_inward_are_turned():
    made = torus()
    points = np.random.default_rng(1).uniform(-1, 1, (1000, 3))
    turned = Solid(Mesh(made.vertices, made.faces[:, ::-1]))
    assert np.allclose(turned.signed_distance(points), Solid(made).signed_distance(points))
    outward = turned.mesh.vertices[turned.mesh.faces].mean(1)
    assert ((face_normals(turned.mesh) * outward).sum(1) > 0).mean() > 0.5


def test_a_ball_with_a_hole_is_reported_and_winding_closes_it(tmp_path):
    made = sphere(4)
    cut = made.kept(made.vertices[made.faces].mean(1)[:, 2] < 0.9)
    path = tmp_path / "cut.ply"
    trimesh.Trimesh(cut.vertices, cut.faces, process=False).export(path)
    with pytest.raises(DataError, match=r"\d+ open edges") as error:
        read_solid(path, "closed")
    assert "--sign winding" in str(error.value)
    assert "--sign filled" in str(error.value)
    points = np.random.default_rng(0).uniform(-1, 1, (4000, 3))
    points = points[np.abs(np.linalg.norm(points, axis=1) - RADIUS) > 0.15]
    inside = read_solid(path, "winding").inside(points)
    assert (inside == (np.linalg.norm(points, axis=1) < RADIUS)).mean() > 0.999


def test_holes_are_filled_flat(tmp_path):
    made = sphere(4)
    cut = made.kept(made.vertices[made.faces].mean(1)[:, 2] < 0.9)
    path = tmp_path / "cut.ply"
    trimesh.Trimesh(cut.vertices, cut.faces, process=False).export(path)
    solid = read_solid(path, "filled")
    assert solid.topology().closed
    top = solid.mesh.vertices[:, 2].max()
    above, below = np.array([[0.0, 0.0, top + 0.01]]), np.array([[0.0, 0.0, top - 0.05]])
    assert solid.signed_distance(above)[0] > 0
    assert solid.signed_distance(below)[0] < 0


def test_what_filling_cannot_close_is_refused(tmp_path):
    made, path = sphere(3), tmp_path / "three.ply"
    faces = np.concatenate((made.faces, [[made.faces[0, 0], made.faces[0, 1], made.faces[50, 0]]]))  # a fin
    trimesh.Trimesh(made.vertices, faces, process=False).export(path)
    with pytest.raises(DataError, match="after its holes were filled") as error:
        read_solid(path, "filled")
    assert "--sign winding" in str(error.value)


def test_pieces_are_turned_each_for_itself_and_holes_stay():
    made = sphere(3)
    inner, beside = made.vertices * 0.5, made.vertices * 0.4 + [3.0, 0.0, 0.0]
    flipped, n = made.faces[:, ::-1], len(made.vertices)
    shell = np.concatenate((made.faces, flipped + n, flipped + 2 * n))  # a hollow ball, and one turned inside out
    solid = Solid(Mesh(np.concatenate((made.vertices, inner, beside)), shell))
    middle, wall, side = np.array([[0.0, 0, 0], [0.75, 0, 0], [3.0, 0, 0]])
    points = solid.placement.normalized(np.stack((middle, wall, side)))
    assert solid.inside(points).tolist() == [False, True, True]


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "glb", "off"])
def test_formats(tmp_path, suffix):
    made, path = torus(), tmp_path / f"torus.{suffix}"
    trimesh.Trimesh(made.vertices, made.faces, process=False).export(path)
    solid = read_solid(path, "closed")
    assert solid.topology().closed
    assert len(solid.mesh.faces) == len(made.faces)


def test_seams_of_textures_are_closed(tmp_path):
    """An OBJ whose corners have texture coordinates of their own, as at the seams of a texture."""
    made, path = sphere(1), tmp_path / "seams.obj"
    lines = [f"v {x} {y} {z}" for x, y, z in made.vertices]
    lines += [f"vt {i / 300} {i % 7 / 7}" for i in range(3 * len(made.faces))]
    lines += ["f " + " ".join(f"{v + 1}/{3 * i + k + 1}" for k, v in enumerate(f)) for i, f in enumerate(made.faces)]
    path.write_text("\n".join(lines))
    assert read_solid(path, "closed").topology().closed


def test_what_is_no_mesh(tmp_path):
    with pytest.raises(DataError, match="missing"):
        read_mesh(tmp_path / "none.obj")
    with pytest.raises(ConfigError, match=r"expected: \.obj"):
        read_mesh(tmp_path / "mesh.txt")
    flat = "OFF\n3 1 0\n" + "0 0 0\n" * 3 + "3 0 1 2\n"
    for name, text in (("empty.obj", ""), ("points.obj", "v 0 0 0\nv 1 0 0\n"), ("flat.off", flat)):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=r"no surface|damaged"):
            read_mesh(tmp_path / name)
    (tmp_path / "noise.glb").write_bytes(bytes(range(200)))
    with pytest.raises(DataError, match="damaged"):
        read_mesh(tmp_path / "noise.glb")


def test_points_are_spread_evenly_over_a_surface():
    mesh = plate(side=2.0)
    points, face = sample_surface(mesh, 40_000, np.random.default_rng(0))
    assert np.allclose(points.mean(0), 0, atol=0.05)
    assert np.allclose(points[:, :2].std(0), 4 / np.sqrt(12), atol=0.02)
    assert abs((face == 0).mean() - 0.5) < 0.02
    assert nearest_on(mesh, points)[0].max() < 1e-9
