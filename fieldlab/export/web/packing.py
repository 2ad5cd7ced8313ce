"""Arrays of a mesh made small for a page: corners that need no seams, few bits, and what gzip likes."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldlab.mesh.mesh import Mesh

GRID = 65535  # steps of a position along each side of the box, and of a texture coordinate


@dataclass
class Corners:
    """Vertices as a graphics library takes them: each lies once on the texture and belongs to one segment.

    Args:
        vertex: int64 [N], which vertex of the mesh each is.
        uv: int64 [N], which position on the texture.
        row: int64 [N], which segment.
        faces: int64 [F,3], rows of these.
    """

    vertex: NDArray[np.int64]
    uv: NDArray[np.int64]
    row: NDArray[np.int64]
    faces: NDArray[np.int64]


def split_corners(mesh: Mesh, row: NDArray[np.int64]) -> Corners:
    """Corners of a mesh whose faces belong to segments ``row`` int64 [F], in the order of its vertices."""
    vertex = mesh.faces.astype(np.int64).ravel()
    uv = np.zeros_like(vertex) if mesh.texture is None else mesh.texture.corners.astype(np.int64).ravel()
    parts, places = int(row.max()) + 1, int(uv.max()) + 1
    keys, inverse = np.unique((vertex * places + uv) * parts + np.repeat(row, 3), return_inverse=True)
    place, part = np.divmod(keys, parts)
    return Corners(place // places, place % places, part, inverse.reshape(-1, 3).astype(np.int64))


def mesh_arrays(mesh: Mesh, row: NDArray[np.int64]) -> tuple[dict[str, NDArray[Any]], NDArray[Any], NDArray[Any]]:
    """What the page needs of a mesh, and the low corner and the size float64 [3] of the box of its positions.

    Args:
        mesh: with one face at least.
        row: int64 [F], segment of each face.

    Returns:
        ``position`` uint16 [N,3] (0 and 65535 are the sides of the box), ``normal`` uint8 [N,2] (octahedral, 128 is
        the middle), ``row`` uint32 [N,1], ``index`` uint32 [3F,1], and where the mesh has them ``color`` uint8 [N,3]
        or ``uv`` uint16 [N,2].
    """
    corners = split_corners(mesh, row)
    position = mesh.vertices[corners.vertex]
    low = position.min(0)
    size = position.max(0) - low
    share = np.divide(position - low, size, out=np.zeros_like(position), where=size > 0)
    arrays: dict[str, NDArray[Any]] = {
        "position": np.rint(share * GRID).astype(np.uint16),
        "normal": octahedral(mesh.normals())[corners.vertex],
        "row": corners.row.astype(np.uint32)[:, None],
        "index": corners.faces.astype(np.uint32).reshape(-1, 1),
    }
    if mesh.texture is not None:
        arrays["uv"] = np.rint(mesh.texture.uv[corners.uv].clip(0, 1) * GRID).astype(np.uint16)
    elif mesh.colors is not None:
        arrays["color"] = mesh.colors[corners.vertex]
    return arrays, low, size


def octahedral(normals: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 [N,2]: unit vectors [N,3] laid out on a square, 128 in its middle; no direction becomes the z axis."""
    total = np.abs(normals).sum(1, keepdims=True)
    x, y, z = np.divide(normals, total, out=np.zeros(normals.shape), where=total > 0).T
    across = np.where(x < 0, -1.0, 1.0), np.where(y < 0, -1.0, 1.0)
    folded_x = np.where(z < 0, (1 - np.abs(y)) * across[0], x)
    folded_y = np.where(z < 0, (1 - np.abs(x)) * across[1], y)
    return np.rint(np.stack((folded_x, folded_y), 1) * 127 + 128).astype(np.uint8)


def packed(arrays: dict[str, NDArray[Any]]) -> tuple[list[dict[str, Any]], str]:
    """What each array is, and all of them as gzip in base64.

    Rows become differences to the row before, small numbers either way, and their bytes are sorted by weight: gzip
    sees long runs of nearly the same byte and makes a mesh some three times smaller than it would otherwise.
    """
    listed = [
        {"name": name, "bytes": array.itemsize, "rows": len(array), "columns": array.shape[1]}
        for name, array in arrays.items()
    ]
    data = b"".join(_planes(_zigzag(array)) for array in arrays.values())
    return listed, base64.b64encode(gzip.compress(data, mtime=0)).decode()


def _zigzag(array: NDArray[Any]) -> NDArray[Any]:
    """Differences of rows modulo the range of the kind of number: 0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    signed = np.diff(array, axis=0, prepend=array.dtype.type(0)).view(f"i{array.itemsize}")
    return ((signed << 1) ^ (signed >> (8 * array.itemsize - 1))).view(array.dtype)


def _planes(array: NDArray[Any]) -> bytes:
    """All lowest bytes first, all highest last."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, array.itemsize).T.tobytes()
