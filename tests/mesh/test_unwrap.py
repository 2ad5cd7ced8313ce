"""Positions of faces on a texture: none over another, far enough apart, all about as large as in space."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from fieldlab.errors import ConfigError
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.texture.texels import barycentric, covered
from fieldlab.mesh.texture.unwrap import unwrap

SIZE, PADDING = 256, 4


def bumpy(noise=0.03, subdivisions=4) -> Mesh:
    """A sphere with bumps, some of which are steeper than a chart may be."""
    made = trimesh.creation.icosphere(subdivisions=subdivisions)
    random = np.random.default_rng(0).normal(size=(len(made.vertices), 1))
    return Mesh(np.asarray(made.vertices) * (1 + noise * random), np.asarray(made.faces, dtype=np.int64))


def ramp(turns=3.0, steps=120) -> Mesh:
    """A spiral ramp, all of whose faces look upwards: flat, its turns lie over one another."""
    angle = np.linspace(0, 2 * np.pi * turns, steps)
    height = 0.1 * angle
    rings = [np.stack((r * np.cos(angle), r * np.sin(angle), height), axis=1) for r in (0.5, 1.0)]
    k = np.arange(steps - 1)
    inner, outer = k, k + steps
    faces = np.concatenate((np.stack((inner, outer, outer + 1), 1), np.stack((inner, outer + 1, inner + 1), 1)))
    return Mesh(np.concatenate(rings), faces)


def ring() -> Mesh:
    """A flat frame, with a hole that takes nearly all of its box."""
    made = trimesh.creation.annulus(r_min=0.9, r_max=1.0, height=0.02, sections=96)
    return Mesh(np.asarray(made.vertices), np.asarray(made.faces, dtype=np.int64))


def stitched() -> Mesh:
    """A sphere with faces without area, one on its own, a fin on an edge, and one twice."""
    ball = bumpy(0.0, 2)
    extra = np.array([[0, 0, 1], [2, 2, 2], [5, 6, 5]])
    alone = len(ball.vertices) + np.array([[0, 1, 2]])
    fin = np.array([[ball.faces[0, 0], ball.faces[0, 1], alone[0, 0]]])
    vertices = np.concatenate((ball.vertices, np.array([[3.0, 0, 0], [3.5, 0, 0], [3, 0.5, 0]])))
    return Mesh(vertices, np.concatenate((ball.faces, extra, alone, fin, ball.faces[:1])))


MESHES = {"bumpy": bumpy, "ramp": ramp, "ring": ring, "stitched": stitched}


@pytest.fixture(scope="module", params=MESHES)
def laid(request) -> tuple[Mesh, np.ndarray, np.ndarray]:
    mesh = MESHES[request.param]()
    return mesh, *unwrap(mesh, SIZE, PADDING)


def areas(points: np.ndarray) -> np.ndarray:
    """Of triangles [F,3,2] signed, of triangles [F,3,3] not."""
    across = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    return (across if across.ndim == 1 else np.linalg.norm(across, axis=1)) / 2


def charts_of(uv: np.ndarray, corners: np.ndarray) -> np.ndarray:
    edges = np.concatenate((corners[:, :2], corners[:, 1:]))
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(uv), len(uv)))
    return connected_components(graph, directed=False)[1][corners[:, 0]]


def test_shapes_and_range(laid):
    mesh, uv, corners = laid
    assert uv.dtype == np.float32
    assert corners.dtype == np.int64
    assert corners.shape == mesh.faces.shape
    assert uv.min() >= 0
    assert uv.max() <= 1
    assert np.array_equal(np.unique(corners), np.arange(len(uv)))


def test_faces_stay_counterclockwise_and_about_as_large(laid):
    mesh, uv, corners = laid
    space, flat = areas(mesh.vertices[mesh.faces]), areas(uv.astype(np.float64)[corners])
    real = space > 1e-9
    density = flat[real] / space[real]
    assert density.min() > 0
    assert density.max() / density.min() < 3


@pytest.mark.slow
@pytest.mark.parametrize("name", MESHES)
def test_no_texel_has_two_faces(name):
    """But for folds of a very rough surface that are narrower than a texel."""
    uv, corners = unwrap(MESHES[name](), SIZE, PADDING)
    count = np.zeros((SIZE, SIZE), dtype=int)
    for a, b, c in (uv.astype(np.float64) * SIZE)[corners]:
        low = np.floor(np.minimum(np.minimum(a, b), c)).astype(int)
        high = np.ceil(np.maximum(np.maximum(a, b), c)).astype(int)
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
        sides = [
            (q[0] - p[0]) * (y + 0.5 - p[1]) - (q[1] - p[1]) * (x + 0.5 - p[0]) for p, q in ((a, b), (b, c), (c, a))
        ]
        count[low[1] : high[1], low[0] : high[0]] += np.all([side > 2e-3 for side in sides], axis=0)
    assert (count > 0).mean() > 0.2
    assert (count > 1).sum() <= (1e-3 * (count > 0).sum() if name == "bumpy" else 0)


def test_charts_keep_their_distance(laid):
    """Points on the sides of faces of one chart are away from those of the others."""
    _, uv, corners = laid
    chart = charts_of(uv, corners)
    flat = (uv.astype(np.float64) * SIZE)[corners]
    share = np.linspace(0, 1, 33)[:, None]
    points = (flat[:, :, None] * (1 - share) + np.roll(flat, -1, axis=1)[:, :, None] * share).reshape(-1, 2)
    owner = np.repeat(chart, 3 * len(share))
    if len(points) > 40000:
        some = np.random.default_rng(0).choice(len(points), 40000, replace=False)
        points, owner = points[some], owner[some]
    found = cKDTree(points).query_pairs(PADDING - 0.02, output_type="ndarray")
    assert (owner[found[:, 0]] == owner[found[:, 1]]).all()


def test_it_is_the_same_every_time():
    first, second = unwrap(bumpy(), SIZE), unwrap(bumpy(), SIZE)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_noise_does_not_tear_a_sphere_to_pieces():
    mesh = bumpy(0.004)
    assert charts_of(*unwrap(mesh, SIZE)).max() + 1 < 20


def test_a_hollow_chart_is_cut_to_use_the_picture():
    uv, corners = unwrap(ring(), SIZE)
    assert areas(uv.astype(np.float64)[corners]).sum() > 0.3


def test_nothing_and_nearly_nothing():
    uv, corners = unwrap(Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)), SIZE)
    assert (len(uv), len(corners)) == (0, 0)
    uv, corners = unwrap(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2], [0, 2, 1]])), SIZE)
    assert np.isfinite(uv).all()
    uv, corners = unwrap(Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]])), SIZE)
    assert np.isfinite(uv).all()


@pytest.mark.slow
def test_too_many_pieces_for_the_picture():
    """Triangles that touch nothing need a place each."""
    corners = np.random.default_rng(0).normal(size=(400, 3, 3))
    soup = Mesh(corners.reshape(-1, 3), np.arange(1200).reshape(-1, 3))
    with pytest.raises(ConfigError, match="no room"):
        unwrap(soup, 64)
    assert charts_of(*unwrap(soup, 512)).max() + 1 == 400


def test_covered_texels_are_those_whose_centers_are_inside():
    triangles = np.random.default_rng(1).uniform(0, 30, size=(60, 3, 2))
    triangles = np.where((areas(triangles) < 0)[:, None, None], triangles[:, ::-1], triangles)
    y, x = np.mgrid[:30, :30]
    centers = np.stack((x, y), axis=-1).reshape(-1, 2) + 0.5
    found = {tuple(row) for part in covered(triangles, 0.0) for row in np.stack(part, axis=1).tolist()}
    for k, triangle in enumerate(triangles):
        weights = barycentric(np.repeat(triangle[None], len(centers), 0), centers)
        inside = centers[(weights >= 0).all(1)] - 0.5
        assert {(k, *map(int, at)) for at in inside} == {row for row in found if row[0] == k}
