"""Meshes that are made of a formula, and a representation small enough for tests."""

from __future__ import annotations

import numpy as np
import trimesh

from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.mesh.mesh import Mesh

SMALL = HashGridConfig(n_levels=6, log2_hashmap_size=11, base_resolution=4, finest_resolution=48)


def as_mesh(made: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(made.vertices, dtype=np.float64), np.asarray(made.faces, dtype=np.int64))


def sphere(subdivisions: int = 4, radius: float = 1.0) -> Mesh:
    return as_mesh(trimesh.creation.icosphere(subdivisions, radius))


def torus() -> Mesh:
    return as_mesh(trimesh.creation.torus(0.7, 0.25, major_sections=48, minor_sections=24))


def plate(turn: float = 0.0, side: float = 1.0) -> Mesh:
    """Two triangles, turned about x by an angle in radians."""
    c, s = np.cos(turn), np.sin(turn)
    corners = np.array([[x, y * c, y * s] for x in (-side, side) for y in (-side, side)])
    return Mesh(corners, np.array([[0, 2, 1], [1, 2, 3]]))
