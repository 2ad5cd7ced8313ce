"""Baked textures: what is sampled from them is what was asked for, at seams too."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from fieldlab.mesh.gltf import split_at_seams
from fieldlab.mesh.mesh import Mesh, Texture
from fieldlab.mesh.picture import _texture_colors
from fieldlab.mesh.tangents import tangents
from fieldlab.mesh.texture.bake import _samples, bake, blended
from fieldlab.mesh.texture.unwrap import unwrap

SIZE = 128


def sphere(subdivisions: int) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions=subdivisions)
    return Mesh(np.asarray(made.vertices), np.asarray(made.faces, dtype=np.int64))


def shade(points: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Colors that change evenly over space, and quickly next to the steps of 8 bits."""
    return np.rint(127.5 + 110 * points).astype(np.uint8)


def outwards(points: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def places(mesh: Mesh, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Random faces and weights of their corners; half of them are on sides, where the seams are."""
    random = np.random.default_rng(0)
    weights = random.dirichlet((1, 1, 1), size=count)
    weights[: count // 2, 0] = 0
    weights = np.take_along_axis(weights, random.permuted(np.tile(np.arange(3), (count, 1)), axis=1), axis=1)
    return random.integers(0, len(mesh.faces), count), weights / weights.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def baked() -> tuple[Mesh, Texture]:
    mesh = sphere(3)
    uv, corners = unwrap(mesh, SIZE)
    return mesh, bake(mesh, uv, corners, SIZE, shade, outwards)


def test_sampled_colors_are_those_asked_for(baked):
    mesh, texture = baked
    face, weights = places(mesh)
    found = _texture_colors(texture, face, weights) * 255
    wanted = 127.5 + 110 * blended(mesh.vertices, mesh.faces[face], weights)
    # A texel is about 0.05 of the radius, and rim texels hold what is up to that far away.
    assert np.abs(found - wanted).max() < 110 * 0.06
    assert np.abs(found - wanted).mean() < 1.0


def test_every_texel_is_asked_for_once_and_where_it_lies(baked):
    mesh, texture = baked
    asked, shares = [], []

    def check(points: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        assert np.allclose(blended(mesh.vertices, mesh.faces[face], weights), points)
        assert weights.min() >= 0
        assert np.allclose(weights.sum(1), 1)
        asked.append(len(points))
        return np.zeros((len(points), 3), dtype=np.uint8)

    bake(mesh, texture.uv, texture.corners, SIZE, check, on_share=shares.append)
    texels, face, weights = _samples(mesh, texture.uv.astype(np.float64)[texture.corners] * SIZE, SIZE)
    assert sum(asked) == len(texels) == len(np.unique(texels))
    assert shares[-1] == 1.0
    uv = blended(texture.uv.astype(np.float64), texture.corners[face], weights) * SIZE
    centers = np.stack((texels % SIZE + 0.5, SIZE - 0.5 - texels // SIZE), axis=1)
    gap = np.abs(uv - centers).max(1)
    assert gap.max() <= 1
    assert (gap < 1e-6).mean() > 0.6


def test_empty_texels_copy_the_nearest(baked):
    """By looking at every used texel from every empty one."""
    mesh, texture = baked
    texels = _samples(mesh, texture.uv.astype(np.float64)[texture.corners] * SIZE, SIZE)[0]
    used = np.zeros(SIZE * SIZE, dtype=bool)
    used[texels] = True
    flat = texture.color.reshape(-1, 3).astype(int)
    at = np.stack((np.arange(SIZE * SIZE) // SIZE, np.arange(SIZE * SIZE) % SIZE), axis=1)
    empty = np.flatnonzero(~used)
    assert len(empty) > 100
    for texel in np.random.default_rng(0).choice(empty, 300):
        far = ((at[texels] - at[texel]) ** 2).sum(1)
        nearest = flat[texels[far == far.min()]]
        assert (nearest == flat[texel]).all(1).any()


def test_the_normal_map_brings_back_smooth_normals(baked):
    """As a viewer decodes it: mixed vertex normals and tangents, and the texture sampled in between."""
    mesh, uv_size = sphere(2), 256
    uv, corners = unwrap(mesh, uv_size)
    texture = bake(mesh, uv, corners, uv_size, shade, outwards)
    assert texture.normal is not None
    face, weights = places(mesh)
    local = 2 * _texture_colors(Texture(uv, corners, texture.normal), face, weights) - 1
    shape = split_at_seams(Mesh(mesh.vertices, mesh.faces, None, texture))
    assert shape.uv is not None
    along = tangents(shape.positions, shape.normals, shape.uv, shape.faces)
    up = blended(shape.normals, shape.faces[face], weights)
    x = blended(along, shape.faces[face], weights)
    y = np.cross(up, x[:, :3]) * x[:, 3:]
    world = local[:, :1] * x[:, :3] + local[:, 1:2] * y + local[:, 2:] * up
    world /= np.linalg.norm(world, axis=1, keepdims=True)
    wanted = outwards(blended(mesh.vertices, mesh.faces[face], weights), face, weights)
    angle = np.degrees(np.arccos(np.clip((world * wanted).sum(1), -1, 1)))
    assert angle.max() < 2
    assert angle.mean() < 0.5


def test_tilts_are_told_right_and_up():
    """glTF's green is up: on a wall whose v grows upwards, a normal tilted up is greener, one tilted right redder."""
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]])  # seen from -y
    mesh = Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]))
    uv = vertices[:, [0, 2]].astype(np.float32) * 0.8 + 0.1

    def tilted(points: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.tile(np.float32([0.6, -0.64, 0.48]), (len(points), 1))

    texture = bake(mesh, uv, mesh.faces, 32, shade, tilted)
    assert texture.normal is not None
    middle = texture.normal[16, 16] / 255 * 2 - 1
    assert np.allclose(middle, (0.6, 0.48, 0.64), atol=0.01)


def test_without_faces_the_picture_is_blank():
    mesh = Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    texture = bake(mesh, np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int64), 16, shade)
    assert texture.color.shape == (16, 16, 3)
    assert texture.normal is None
