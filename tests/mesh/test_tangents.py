"""Tangents are the directions in which a texture runs."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.mesh.tangents import tangents


def one_by_one(positions: np.ndarray, normals: np.ndarray, uv: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The same by solving for each face how positions follow from places on the texture."""
    along = np.zeros((len(uv), 2, 3))
    for face in faces:
        a, b, c = face
        places = np.stack((uv[b] - uv[a], uv[c] - uv[a]))
        found = np.linalg.solve(places, np.stack((positions[b] - positions[a], positions[c] - positions[a])))
        for corner in face:
            along[corner] += found / np.linalg.norm(found, axis=1, keepdims=True)
    made = []
    for normal, (tangent, bitangent) in zip(normals, along, strict=True):
        tangent = tangent - (tangent @ normal) * normal
        tangent /= np.linalg.norm(tangent)
        made.append([*tangent, -1.0 if np.cross(normal, tangent) @ bitangent < 0 else 1.0])
    return np.array(made)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_tangents_are_those_found_one_by_one(seed):
    rng = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(1)
    normals, uv = np.array(ball.vertex_normals), rng.random((len(ball.vertices), 2))
    faces = np.array(ball.faces)[rng.random(len(ball.faces)) < 0.9]
    used = np.unique(faces)
    made = tangents(ball.vertices, normals, uv, faces)
    assert made.dtype == np.float32
    expected = one_by_one(ball.vertices, normals, uv, faces[np.isin(faces, used).all(1)])
    assert np.allclose(made[used], expected[used], atol=1e-4)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5, -1.6])
def test_a_flat_patch_has_the_direction_of_its_texture(angle, mirrored):
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(3.0)), axis=-1).reshape(-1, 2)
    corner = np.array([0, 1, 2, 4, 5, 6])[:, None]
    faces = (corner[:, None] + np.array([[0, 1, 5], [0, 5, 4]])).reshape(-1, 3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    uv = 0.1 * grid @ turn * (1, -1 if mirrored else 1)
    made = tangents(np.pad(grid, ((0, 0), (0, 1))), np.tile([0.0, 0, 1], (12, 1)), uv, faces)
    assert np.allclose(made[:, :2], turn[:, 0], atol=1e-6)
    assert np.array_equal(made[:, 3], np.full(12, -1.0 if mirrored else 1.0))


def test_they_are_unit_and_across_the_normals_even_without_a_texture():
    ball = trimesh.creation.icosphere(2)
    normals = np.array(ball.vertex_normals)
    rng = np.random.default_rng(0)
    squeezed = rng.random((len(normals), 2)) * (1, 0)
    for uv in (rng.random((len(normals), 2)), squeezed, np.zeros((len(normals), 2))):
        made = tangents(ball.vertices, normals, uv, np.array(ball.faces))
        assert np.allclose(np.linalg.norm(made[:, :3], axis=1), 1, atol=1e-6)
        assert np.abs((made[:, :3] * normals).sum(1)).max() < 1e-6
        assert set(made[:, 3]) <= {-1.0, 1.0}
    unused = tangents(ball.vertices, normals, squeezed, np.zeros((0, 3), dtype=np.int64))
    assert np.allclose(np.linalg.norm(unused[:, :3], axis=1), 1, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_they_turn_with_the_mesh(seed):
    rng = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(1)
    turn = trimesh.transformations.random_rotation_matrix(rng.random(3))[:3, :3]
    normals, uv = np.array(ball.vertex_normals), rng.random((len(ball.vertices), 2))
    made = tangents(ball.vertices, normals, uv, np.array(ball.faces))
    turned = tangents(5 * ball.vertices @ turn.T, normals @ turn.T, uv, np.array(ball.faces))
    assert np.allclose(turned[:, :3], made[:, :3] @ turn.T, atol=1e-4)
    assert np.array_equal(turned[:, 3], made[:, 3])
