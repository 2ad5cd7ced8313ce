"""Charts that lie over themselves when laid flat, such as the turns of a ramp, cut into layers that do not."""

from __future__ import annotations

import numpy as np

from fieldlab.data.graph import components
from fieldlab.mesh.texture.texels import barycentric, covered

ROUNDS = 8
INSIDE = -1e-4  # texels: centers on the side between two faces belong to neither


def split_layers(chart: np.ndarray, flat: np.ndarray, height: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Cut charts so that no center of a texel lies in two faces of one chart.

    Where several faces lie over one another the upper ones stay and the lower ones become charts of their own; faces
    that go through each other every which way end up alone.

    Args:
        chart: int64 [F].
        flat: corners of the faces float64 [F,3,2] in texels, of each chart on a plane of its own.
        height: of the corners above that plane, float64 [F,3].
        pairs: neighbors int64 [E,2].

    Returns:
        The new charts int64 [F], counted from zero.
    """
    suspects = np.arange(len(chart))
    for round_ in range(ROUNDS + 1):
        face, rank = _ranks(chart[suspects], flat[suspects], height[suspects])
        if not len(face):
            break
        face = suspects[face]
        layer = np.zeros(len(chart), dtype=np.int64)
        np.maximum.at(layer, face, rank if round_ < ROUNDS else 1 + face)
        suspects = np.flatnonzero(np.isin(chart, chart[face]))
        same = (chart[pairs[:, 0]] == chart[pairs[:, 1]]) & (layer[pairs[:, 0]] == layer[pairs[:, 1]])
        chart = components(len(chart), pairs[same])
    return chart


def _ranks(chart: np.ndarray, flat: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The faces int64 [N] of charts that share a texel with others of theirs, and how many of these are above them
    int64 [N], for every such texel."""
    low, high = np.floor(flat.min((0, 1))).astype(np.int64), np.ceil(flat.max((0, 1))).astype(np.int64)
    width, rows = (high - low + 1).tolist()
    faces, keys = [], []
    for face, x, y in covered(flat, INSIDE):
        faces.append(face)
        keys.append((chart[face] * rows + y - low[1]) * width + x - low[0])
    face, key = np.concatenate(faces), np.concatenate(keys)
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(np.diff(key[order]) == 0)
    crowded = order[np.union1d(same, same + 1)]
    face, key = face[crowded], key[crowded]
    x, y = key % width + low[0], key // width % rows + low[1]
    weights = barycentric(flat[face], np.stack((x, y), axis=1) + 0.5)
    above = (weights * height[face]).sum(1)
    order = np.lexsort((face, -above, key))
    begins = np.diff(key[order], prepend=-1) != 0
    rank = np.arange(len(order)) - np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    return face[order], rank
