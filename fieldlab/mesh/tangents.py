"""Tangents of a textured mesh: the directions in which its normal map is meant."""

from __future__ import annotations

import numpy as np


def tangents(positions: np.ndarray, normals: np.ndarray, uv: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit tangents and the sign w of the bitangent, float32 [N,4], as glTF has them.

    The bitangent is w cross(normal, tangent). Each tangent is the direction of growing u, the mean of the faces around,
    made perpendicular to the normal.

    Args:
        positions, normals: [N,3], unit normals.
        uv: [N,2], v upwards.
        faces: int64 [F,3].
    """
    a, b, c = (positions[faces[:, k]].astype(np.float64) for k in range(3))
    s, t = uv[faces[:, 1]] - uv[faces[:, 0]], uv[faces[:, 2]] - uv[faces[:, 0]]
    area = (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).astype(np.float64)
    area = np.where(np.abs(area) > 1e-20, area, np.inf)[:, None]
    along_u = ((b - a) * t[:, 1:] - (c - a) * s[:, 1:]) / area
    along_v = ((c - a) * s[:, :1] - (b - a) * t[:, :1]) / area
    tangent, bitangent = _gathered(along_u, faces, len(uv)), _gathered(along_v, faces, len(uv))
    tangent -= (tangent * normals).sum(1, keepdims=True) * normals
    length = np.linalg.norm(tangent, axis=1, keepdims=True)
    # Where the texture is squeezed to nothing any direction across the normal does.
    any_axis = np.eye(3)[np.abs(normals).argmin(1)]
    other = np.cross(normals, any_axis)
    other /= np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-12)
    tangent = np.where(length > 1e-12, tangent / np.maximum(length, 1e-12), other)
    sign = np.where((np.cross(normals, tangent) * bitangent).sum(1) < 0, -1.0, 1.0)
    return np.concatenate((tangent, sign[:, None]), axis=1).astype(np.float32)


def _gathered(rows: np.ndarray, faces: np.ndarray, count: int) -> np.ndarray:
    """Sums [N,3] over the faces around every vertex of unit rows [F,3]."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-20)
    total = np.zeros((count, 3))
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, corner], unit[:, axis], count)
    return total
