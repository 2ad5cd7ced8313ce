"""Where the faces of a mesh lie on a picture: charts looked at from one side each, packed with space between them."""

from __future__ import annotations

import numpy as np

from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.texture.charts import LOWEST, find_charts, side_pairs
from fieldlab.mesh.texture.layers import split_layers
from fieldlab.mesh.texture.outline import apart, cut_hollow, extremes, outline, turns
from fieldlab.mesh.texture.packing import Outlines, pack
from fieldlab.mesh.texture.texels import cross2

USED = 0.6  # share of the texture that charts will cover, about
SMALL = 600.0  # texels of a chart that is better part of another
HOLLOW = 0.4  # share of its box that a large chart must fill
LARGE = 1 / 200  # of the picture: boxes that are worth filling


def unwrap(mesh: Mesh, size: int, padding: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Lay the faces of a mesh side by side on a square picture.

    Charts are connected faces that look about the same way, seen from there; a face is squeezed to no less than a
    third of its size in one direction, and all charts have the same scale. Charts do not lie over themselves, except
    that folds narrower than a texel may go unnoticed. The same mesh gives the same result.

    Args:
        mesh: any triangles; edges of more than two faces become seams.
        size: texels on a side of the picture.
        padding: texels between any two charts.

    Returns:
        uv float32 [T,2] in [0,1], v upwards, and the rows of it for the corners of every face, int64 [F,3]. Faces are
        counterclockwise on the picture as they are in space.

    Raises:
        ConfigError: the picture is too small for so many charts.
    """
    if not len(mesh.faces):
        return np.zeros((0, 2), dtype=np.float32), np.zeros((0, 3), dtype=np.int64)
    corners = mesh.vertices[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(across, axis=1)
    normals = across / np.where(length > 0, length, 1.0)[:, None]
    density = _density(corners, float(length.sum() / 2), size)
    sides = side_pairs(mesh.faces)
    pairs = sides // 3
    chart, directions = find_charts(normals, length / 2, pairs, SMALL / density**2)
    frames = _frames(directions)[chart]
    flat = np.einsum("fak,fck->fca", frames[:, :2], corners)
    height = np.einsum("fk,fck->fc", frames[:, 2], corners)
    chart = split_layers(chart, apart(flat, chart) * density, height * density, pairs)
    chart = cut_hollow(chart, flat, sides, LARGE * (size / density) ** 2, HOLLOW)
    return _packed(mesh.faces, flat, chart, sides, size, padding)


def _density(corners: np.ndarray, area: float, size: int) -> float:
    """About how many texels a unit of length will have: as the area says, unless it is next to nothing."""
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    longest = max(float(sides.max()), 1e-30)
    return size * min((USED / max(area, 1e-60)) ** 0.5, 1 / (LOWEST * longest))


def _frames(directions: np.ndarray) -> np.ndarray:
    """Right-handed frames [C,3,3], two rows across each unit direction [C,3] and the direction itself."""
    helper = np.eye(3)[np.abs(directions).argmin(1)]
    x = np.cross(helper, directions)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack((x, np.cross(directions, x), directions), axis=1)


def _packed(
    faces: np.ndarray, flat: np.ndarray, chart: np.ndarray, sides: np.ndarray, size: int, padding: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions on the picture of charts whose corners [F,3,2] lie flat."""
    count = int(chart.max()) + 1
    side, owner = outline(chart, sides)
    ends = np.stack((flat.reshape(-1, 2)[side], np.roll(flat, -1, axis=1).reshape(-1, 2)[side]), axis=1)
    turn = turns(ends.reshape(-1, 2), np.repeat(owner, 2), count)
    ends = np.einsum("sab,seb->sea", turn[owner], ends)
    low = extremes(ends.reshape(-1, 2), np.repeat(owner, 2), count)[0]
    area = float(cross2(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]).sum() / 2)
    scale, origins = pack(Outlines(ends - low[owner][:, None], owner, count), area, size, padding)
    keys, first, corners = np.unique(
        (np.repeat(chart, 3) * (faces.max() + 1) + faces.ravel()), return_index=True, return_inverse=True
    )
    chart = keys // (faces.max() + 1)
    turned = np.einsum("tab,tb->ta", turn[chart], flat.reshape(-1, 2)[first])
    uv = ((turned - low[chart]) * scale + origins[chart]) / size
    return uv.astype(np.float32), corners.reshape(-1, 3)
