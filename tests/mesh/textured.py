"""A small textured mesh whose pictures and places on them are known."""

from __future__ import annotations

import numpy as np
import trimesh

from fieldlab.mesh.mesh import Mesh, Texture

SIZE = 48  # pixels of a side of the pictures


def textured(normal_map: bool = True) -> Mesh:
    """A closed box of 12 triangles, each with a place of its own on the pictures: seams are everywhere."""
    box = trimesh.creation.box(extents=(1.0, 2.0, 3.0))
    column, row = np.arange(12) % 4, np.arange(12) // 4
    corner = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    uv = (corner[None] + np.stack((column, row), axis=1)[:, None]) / (4, 3)
    y, x = np.mgrid[:SIZE, :SIZE]
    color = np.stack((x * 5, y * 5, 255 - x * 3), axis=2).astype(np.uint8)
    normal = np.full((SIZE, SIZE, 3), (128, 128, 255), dtype=np.uint8) if normal_map else None
    texture = Texture(uv.reshape(-1, 2).astype(np.float32), np.arange(36).reshape(12, 3), color, normal)
    return Mesh(np.array(box.vertices), np.array(box.faces), texture=texture)


def colored() -> Mesh:
    """A ball of 320 triangles with a color of its own at every vertex, the darkest among them."""
    ball = trimesh.creation.icosphere(2)
    colors = np.random.default_rng(0).integers(0, 256, (len(ball.vertices), 3), dtype=np.uint8)
    colors[:3] = [[0, 1, 2], [10, 11, 12], [255, 254, 128]]
    return Mesh(np.array(ball.vertices), np.array(ball.faces), colors)
