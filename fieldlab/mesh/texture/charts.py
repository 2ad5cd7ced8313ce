"""Pieces of a mesh that can be laid flat by looking at them from one side: faces that look the same way, together."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from fieldlab.data.graph import components

AXES = np.concatenate((np.eye(3), -np.eye(3)))
LOWEST = 0.35  # cosine to its axis below which a face may not lie flat: it would be squeezed to a third or fold
NORMAL_ROUNDS = 12  # of smoothing over neighbors: the shape counts, not its noise
LABEL_ROUNDS = 12
MERGE_ROUNDS = 24


def find_charts(
    normals: np.ndarray, area: np.ndarray, pairs: np.ndarray, small: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a mesh into charts, connected faces none of which is turned far from the direction they are looked at from.

    Args:
        normals: unit float64 [F,3], zero for faces without area.
        area: float64 [F].
        pairs: neighbors int64 [E,2], faces with an edge in common.
        small: area of charts that are better part of a neighbor.

    Returns:
        The chart of every face int64 [F] and the direction of every chart, unit float64 [C,3].
    """
    count = len(normals)
    either = np.concatenate((pairs, pairs[:, ::-1]))
    neighbors = csr_matrix((np.ones(len(either), np.float32), (either[:, 0], either[:, 1])), shape=(count, count))
    toward = normals @ AXES.T
    # Faces without area go with any chart.
    allowed = (toward >= LOWEST) | (area <= 0)[:, None]
    labels = _smooth_labels(normals * area[:, None], neighbors, allowed)
    labels = _without_small(labels, neighbors, allowed, area, pairs, small)
    chart = components(count, pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]])
    return chart, _directions(normals, area, labels, chart)


def side_pairs(faces: np.ndarray) -> np.ndarray:
    """Sides of faces, int64 [E,2] counted three a face, that are the same edge run along in opposite ways, and of no
    third face."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    key = np.minimum(start, end) * (faces.max(initial=0) + 1) + np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    two = first[np.diff(first, append=len(key)) == 2]
    one, other = order[two], order[two + 1]
    good = (start[one] == end[other]) & (one // 3 != other // 3)  # a face without area may be its own neighbor
    return np.stack((one[good], other[good]), axis=1)


def outer_sides(flat: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Sides of faces that no other face continues on the picture, int64 [S] counted three a face.

    Args:
        flat: corners of the faces on the picture float [F,3,2].
        sides: neighbors in space int64 [E,2], from :func:`side_pairs`.
    """
    start, end = flat.reshape(-1, 2), np.roll(flat, -1, axis=1).reshape(-1, 2)
    one, other = sides[:, 0], sides[:, 1]
    joined = (start[one] == end[other]).all(1) & (end[one] == start[other]).all(1)
    outer = np.ones(3 * len(flat), dtype=bool)
    outer[sides[joined]] = False
    return np.flatnonzero(outer)


def _smooth_labels(normals: np.ndarray, neighbors: csr_matrix, allowed: np.ndarray) -> np.ndarray:
    """The axis int64 [F] each face is looked at from: near its smoothed normal and, where allowed, its neighbors'."""
    smooth = normals.astype(np.float32)
    for _ in range(NORMAL_ROUNDS):
        smooth = smooth + neighbors @ smooth
        smooth /= np.maximum(np.abs(smooth).max(), 1e-30)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-30)
    preference = smooth @ AXES.T.astype(np.float32)
    labels = np.where(allowed, preference, -2).argmax(1)
    for _ in range(LABEL_ROUNDS):
        # Two of three neighbors outvote a preference that is not strong.
        votes = neighbors @ _one_hot(labels) + preference + 0.5 * _one_hot(labels)
        labels = np.where(allowed, votes, -9).argmax(1)
    return labels


def _without_small(
    labels: np.ndarray, neighbors: csr_matrix, allowed: np.ndarray, area: np.ndarray, pairs: np.ndarray, small: float
) -> np.ndarray:
    """Labels where the faces of small charts joined the larger ones around them, from their rims inwards."""
    for _ in range(MERGE_ROUNDS):
        chart = components(len(labels), pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]])
        tiny = (np.bincount(chart, area) < small)[chart]
        votes = np.where(allowed, neighbors @ (_one_hot(labels) * ~tiny[:, None]), 0)
        moved = np.flatnonzero(tiny & (votes.max(1) > 0))
        if not len(moved):
            break
        labels = labels.copy()
        labels[moved] = votes[moved].argmax(1)
    return labels


def _one_hot(labels: np.ndarray) -> np.ndarray:
    return (labels[:, None] == np.arange(len(AXES))).astype(np.float32)


def _directions(normals: np.ndarray, area: np.ndarray, labels: np.ndarray, chart: np.ndarray) -> np.ndarray:
    """The mean normals of the charts, which distort them least, but their axes where some face turns from the mean."""
    count = int(chart.max(initial=-1)) + 1
    axis = np.zeros((count, 3))
    axis[chart] = AXES[labels]
    mean = np.stack([np.bincount(chart, normals[:, k] * area, count) for k in range(3)], axis=1)
    mean = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-30)
    turned = (area > 0) & ((normals * mean[chart]).sum(1) < LOWEST)
    bad = np.bincount(chart, turned, count) > 0
    bad |= np.linalg.norm(mean, axis=1) < 0.5  # nothing in it has an area
    return np.where(bad[:, None], axis, mean)
