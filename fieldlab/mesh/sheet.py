"""A smooth sheet of triangles spanned by a closed rim."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

MOST_EARS = 4000  # vertices of a rim whose ears are cut one by one, which takes time with the square of them
LONG = 2.0  # lengths of an edge of the rim that an edge within may have
PASSES = 10  # halvings of edges
ENOUGH = 8  # triangles for every vertex of the rim: more are not halved, where its edges are short for its area


def sheet(rim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that close a rim, counterclockwise as it goes, and the vertices within.

    Seen along the rim's normal the triangles fill its outline, without overlap where the outline does not cross itself;
    heights over its plane, and all other values, spread from the rim as heat does, so a flat rim gets a flat sheet. No
    edge within joins two vertices of the rim, so none can be an edge of the mesh around it.

    Args:
        rim: float64 [N,3+K], at least three positions with further values.

    Returns:
        int64 [T,3] rows of the rim followed by those of the vertices within, and these, float64 [M,3+K].
    """
    rim = np.asarray(rim, dtype=np.float64)
    count = len(rim)
    if count == 3:
        return np.array([[0, 1, 2]]), rim[:0]
    points, axes = rim[:, :3], _axes(rim[:, :3])
    if count <= MOST_EARS:
        triangles = _ears(points @ axes[:2].T)
    else:
        around = np.arange(count)
        triangles = np.stack((around, np.roll(around, -1), np.full(count, count)), axis=1)
        points = np.concatenate((points, points.mean(0, keepdims=True)))
    points, triangles = _refined(points, triangles, count)
    height = points @ axes[2]
    spread = _spread(np.column_stack((height[:count], rim[:, 3:])), points, triangles)
    inner = points[count:] + (spread[:, :1] - height[count:, None]) * axes[2]
    return triangles, np.hstack((inner, spread[:, 1:]))


def _axes(rim: np.ndarray) -> np.ndarray:
    """Two axes of the rim's plane and its normal [3,3], from which the rim is seen counterclockwise (Newell)."""
    offset = rim - rim.mean(0)
    normal = np.cross(offset, np.roll(offset, -1, axis=0)).sum(0)
    length = np.linalg.norm(normal)
    # A rim that encloses nothing has the plane that its vertices are nearest to.
    normal = normal / length if length > 1e-12 * (offset**2).sum() else np.linalg.svd(offset, False)[2][2]
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    first /= max(float(np.linalg.norm(first)), 1e-300)
    return np.stack((first, np.cross(normal, first), normal))


def _ears(flat: np.ndarray) -> np.ndarray:
    """Triangles [N-2,3] of a polygon [N,2] by cutting off the ear with the shortest base until three vertices are left.

    Where the outline crosses itself no ear may be left; then the least bad corner is cut, so there always is a result.
    """
    count = len(flat)
    before, after = np.roll(np.arange(count), 1), np.roll(np.arange(count), -1)
    there = np.ones(count, dtype=bool)
    size = float(np.ptp(flat, axis=0).max()) or 1.0
    flat = (flat - flat.mean(0)) / size
    cost = np.array([_cost(flat, there, before[i], i, after[i]) for i in range(count)])
    cut = []
    for _ in range(count - 3):
        i = int(cost.argmin())
        a, b = before[i], after[i]
        cut.append((a, i, b))
        there[i], cost[i] = False, np.inf
        after[a], before[b] = b, a
        for j in (a, b):
            cost[j] = _cost(flat, there, before[j], j, after[j])
    i = int(there.argmax())
    return np.array([*cut, (before[i], i, after[i])], dtype=np.int64)


def _cost(flat: np.ndarray, there: np.ndarray, a: int, b: int, c: int) -> float:
    """How bad it is to cut off corner ``b`` of a polygon of size one: the length of the base below 2 for an ear, above
    10 where other vertices lie in the triangle, above 20 for a corner that goes inwards."""
    p, q, r = flat[a], flat[b], flat[c]
    base = float(np.hypot(*(r - p)))
    if _cross(q - p, r - p) <= 1e-14:
        return 20 + base
    within = there & (_cross(q - p, flat - p) >= 0) & (_cross(r - q, flat - q) >= 0) & (_cross(p - r, flat - r) >= 0)
    others = flat[within]
    others = others[~((others == p) | (others == q) | (others == r)).all(1)]  # those at the corners are no obstacle
    return base + (10 if len(others) else 0)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _refined(points: np.ndarray, triangles: np.ndarray, rim: int) -> tuple[np.ndarray, np.ndarray]:
    """Halve edges within until they are about as short as those of the rim; first all that join two of its vertices."""
    target = LONG * np.linalg.norm(np.roll(points[:rim], -1, axis=0) - points[:rim], axis=1).mean()
    for step in range(PASSES):
        sides = np.sort(np.stack((triangles, np.roll(triangles, -1, axis=1)), axis=2).reshape(-1, 2), axis=1)
        edges, edge, uses = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
        long = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1) > target
        if step == 0:
            long |= (edges < rim).all(1)
        elif len(triangles) >= ENOUGH * rim:
            break
        long &= uses == 2
        if not long.any():
            break
        middle = np.where(long, len(points) + np.cumsum(long) - 1, -1)
        points = np.concatenate((points, points[edges[long]].mean(1)))
        triangles = _halved(triangles, middle[edge.reshape(-1, 3)])
    return points, triangles


def _halved(triangles: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Triangles [T,3] cut at the vertices in the middle of their sides [T,3], from corner 0 to 1 first; -1 for none."""
    halved = middle >= 0
    count = halved.sum(1)
    # Turned so that a single halved side comes first, and a single whole one last.
    turn = np.where(count == 1, halved.argmax(1), np.where(count == 2, (halved.argmin(1) + 1) % 3, 0))
    index = (turn[:, None] + np.arange(3)) % 3
    rows = np.concatenate((np.take_along_axis(triangles, index, 1), np.take_along_axis(middle, index, 1)), axis=1)
    # Columns: corners 0 1 2, middles 3 (of 0 1), 4 (of 1 2), 5 (of 2 0).
    pieces = {
        0: [(0, 1, 2)],
        1: [(0, 3, 2), (3, 1, 2)],
        2: [(3, 1, 4), (0, 3, 4), (0, 4, 2)],
        3: [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)],
    }
    return np.concatenate([rows[count == k][:, piece] for k, cut in pieces.items() for piece in cut])


def _spread(values: np.ndarray, points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Values [M,C] at the points within, each the mean of its neighbors', nearer ones counting more.

    Args:
        values: [N,C] at the first points, the rim.
    """
    rim, total = len(values), len(points)
    start, end = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    length = np.linalg.norm(points[start] - points[end], axis=1)
    weight = 1 / np.maximum(length, 1e-3 * max(float(length.mean()), 1e-300))
    # An edge within is met from both of its sides, so each face gives its edges in one direction.
    links = coo_matrix((weight, (start, end)), shape=(total, total)).tocsr()
    mean = coo_matrix((np.asarray(links.sum(1)).ravel(), (np.arange(total), np.arange(total)))) - links
    inner = mean.tocsr()[rim:]
    return splu(inner[:, rim:].tocsc()).solve(-(inner[:, :rim] @ values))
