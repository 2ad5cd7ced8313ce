"""Fewer triangles, vertices on the surface itself, and its normals."""

from __future__ import annotations

from dataclasses import replace

import fast_simplification
import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from fieldlab.mesh.cap import mended
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.surface.blocks import Grid
from fieldlab.mesh.surface.implicit import Implicit

STEPS = 2  # of Newton's method; the surface is nearly linear within a cell
SHRINK, GROW = 0.5, 0.53
FARTHEST = 0.5  # cells that a vertex may be moved


def decimated(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about ``faces`` triangles, by quadric edge collapse (Garland and Heckbert 1997); without colors."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    # The library computes in single precision: far from the origin little would be left of it.
    vertices, triangles = fast_simplification.simplify(
        (mesh.vertices - low).astype(np.float32), mesh.faces.astype(np.int32), target_count=int(faces)
    )
    # The collapse may overshoot the box by a little.
    return mended(Mesh(np.clip(vertices.astype(np.float64) + low, low, high), triangles.astype(np.int64)))


def smoothed(mesh: Mesh, rounds: int) -> Mesh:
    """The mesh without noise of the size of a triangle (Taubin 1995): each round shrinks it a little and grows it back.

    The border of an open mesh is smoothed along itself, so that it keeps its place.
    """
    edges = np.concatenate((mesh.faces[:, :2], mesh.faces[:, 1:], mesh.faces[:, [2, 0]]))
    pairs, times = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    border = np.zeros(len(mesh.vertices), bool)
    border[pairs[times == 1]] = True
    used = pairs[(times == 1) | ~border[pairs].any(1) | ~border[pairs].all(1)]
    from_, to = np.concatenate((used, used[:, ::-1])).T
    told = ~border[from_] | border[to]  # a vertex of the border listens to the border alone
    from_, to = from_[told], to[told]
    n = len(mesh.vertices)
    weight = 1 / np.maximum(np.bincount(from_, minlength=n), 1)
    mean = csr_matrix((weight[from_], (from_, to)), shape=(n, n))
    alone = np.bincount(from_, minlength=n) == 0
    vertices = mesh.vertices.copy()
    for factor in (SHRINK, -GROW) * rounds:
        step = mean @ vertices - vertices
        step[alone] = 0
        vertices += factor * step
    return replace(mesh, vertices=vertices)


def onto_surface(mesh: Mesh, implicit: Implicit, grid: Grid) -> Mesh:
    """The mesh with its vertices moved along the gradient to where the function is zero.

    Linear interpolation and decimation leave vertices a little off, most of all at sharp edges and thin parts. A vertex
    is moved only where that brings it nearer to zero, and never on the faces of the box.
    """
    box = grid.box.numpy()
    free = ((mesh.vertices > box[0] + 1e-9) & (mesh.vertices < box[1] - 1e-9)).all(1)
    start = torch.from_numpy(mesh.vertices[free])
    points = start.clone()
    value = implicit.values(points.float())
    for _ in range(STEPS):
        slope = _gradient(implicit, points, 0.5 * grid.cell)
        step = value[:, None] * slope / slope.square().sum(-1, keepdim=True).clamp_min(1e-12)
        moved = points - step.clamp(-FARTHEST * grid.cell, FARTHEST * grid.cell).double()
        near = (moved - start).norm(dim=-1) <= FARTHEST * grid.cell
        moved_value = implicit.values(moved.float())
        better = near & (moved_value.abs() < value.abs())
        points = torch.where(better[:, None], moved, points)
        value = torch.where(better, moved_value, value)
    vertices = mesh.vertices.copy()
    vertices[free] = np.clip(points.numpy(), box[0], box[1])
    return replace(mesh, vertices=vertices)


def unit_gradients(points: np.ndarray, around: np.ndarray, implicit: Implicit, cell: float) -> np.ndarray:
    """Unit normals float32 [P,3] at points [P,3]: the gradient of the function, where it agrees with the normals of the
    triangles ``around`` [P,3]."""
    slope = torch.nn.functional.normalize(_gradient(implicit, torch.from_numpy(points), cell), dim=-1).numpy()
    around = (around / np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    # Where a function is noisy, or both sides of a thin part are within reach, the triangles know better.
    return np.where(((slope * around).sum(1) > 0.5)[:, None], slope, around)


def _gradient(implicit: Implicit, points: Tensor, width: float) -> Tensor:
    """Central differences float32 [P,3] over twice ``width`` world units, per world unit."""
    columns = []
    for axis in range(3):
        offset = torch.zeros(3, dtype=points.dtype)
        offset[axis] = width
        ahead, behind = implicit.values((points + offset).float()), implicit.values((points - offset).float())
        columns.append((ahead - behind) / (2 * width))
    return torch.stack(columns, dim=1)
