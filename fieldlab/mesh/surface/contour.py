"""Triangles of the zero level of values in blocks: marching cubes window by window, welded without seams."""

from __future__ import annotations

import numpy as np
import torch
from skimage.measure import marching_cubes

from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.surface.blocks import BLOCK, SparseValues

WINDOW = 4  # blocks along each side of what is contoured at once
UNKNOWN = 2.0


def contour(values: SparseValues) -> Mesh:
    """The zero level (Lewiner et al. 2003), in world units, without colors.

    Windows overlap by a cell; the vertices on a cell's edge are the same from both sides, so windows leave no seam.
    Cells with an unknown corner have no triangles.
    """
    grid = values.grid
    shape = (grid.blocks * BLOCK).tolist()
    corners = grid.of(values.keys).numpy()
    starts = [np.zeros((0, 3), np.int64)]
    starts += [corners + offset for offset in -np.array(list(np.ndindex(2, 2, 2)))]
    windows = np.unique(np.maximum(np.concatenate(starts), 0) // WINDOW, axis=0)
    where, triangles, keys, count = [], [], [], 0
    for window in windows:
        vertices, faces = _window(values, window * WINDOW)
        if len(faces):
            where.append(vertices + window * WINDOW * BLOCK)
            keys.append(_edges(vertices, window * WINDOW * BLOCK, shape))
            triangles.append(faces + count)
            count += len(vertices)
    if not where:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    _, first, row = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    world = grid.world(torch.from_numpy(np.concatenate(where)[first])).numpy()
    # The layer around the box closes the surface on the box itself.
    world = np.clip(world, grid.box[0].numpy(), grid.box[1].numpy())
    return Mesh(world, row[np.concatenate(triangles)])


def _window(values: SparseValues, corner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float64 [V,3] counted from the window's corner, and faces [F,3]; the window's cells all have corners
    in it."""
    size = WINDOW + 1
    offsets = torch.from_numpy(np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1).reshape(-1, 3))
    blocks = offsets + torch.from_numpy(corner)
    inside = (blocks < values.grid.blocks).all(-1)
    rows = torch.where(inside, values.rows(values.grid.keys(blocks)), -1)
    dense = torch.full((size**3, BLOCK, BLOCK, BLOCK), UNKNOWN)
    dense[rows >= 0] = values.values[rows[rows >= 0]]
    cube = dense.view(size, size, size, BLOCK, BLOCK, BLOCK).permute(0, 3, 1, 4, 2, 5).reshape((size * BLOCK,) * 3)
    end = WINDOW * BLOCK + 1
    field = cube[:end, :end, :end].numpy()
    if not (field < 0).any():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    vertices, faces, _, _ = marching_cubes(field, level=0.0, gradient_direction="descent", allow_degenerate=True)
    unknown = field == UNKNOWN
    hidden = np.zeros(tuple(n - 1 for n in field.shape), bool)
    for x, y, z in np.ndindex(2, 2, 2):
        hidden |= unknown[x : x + end - 1, y : y + end - 1, z : z + end - 1]
    if hidden.any():
        cell = np.floor(vertices[faces].mean(1)).astype(np.int64).clip(0, end - 2)
        faces = faces[~hidden[cell[:, 0], cell[:, 1], cell[:, 2]]]
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    number = np.cumsum(used) - 1
    return vertices[used].astype(np.float64), number[faces].astype(np.int64)


def _edges(vertices: np.ndarray, corner: np.ndarray, shape: list[int]) -> np.ndarray:
    """int64 [V]: which edge of the whole grid a vertex is on, or which cell it is within."""
    low = np.floor(vertices + 1e-5).astype(np.int64)
    along = vertices - low > 1e-5
    kind = np.where(along.sum(1) > 1, 3, along.argmax(1))
    x, y, z = (low + corner).T
    return ((x * (shape[1] + 1) + y) * (shape[2] + 1) + z) * 4 + kind
