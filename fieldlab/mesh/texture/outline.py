"""The outlines of charts that lie flat: how they are turned to need little room, and where they are cut for that."""

from __future__ import annotations

import numpy as np

from fieldlab.data.graph import components
from fieldlab.mesh.texture.texels import cross2

ANGLES = 16  # in a right angle, in which charts are turned to fill their boxes best
CUTS = 5  # at most one after the other


def cut_hollow(chart: np.ndarray, flat: np.ndarray, sides: np.ndarray, large: float, least: float) -> np.ndarray:
    """Cut charts like rings and brackets, which leave most of their boxes empty, through the middles of these.

    Args:
        chart: int64 [F].
        flat: corners of the faces float64 [F,3,2], of each chart on a plane of its own.
        sides: neighbors int64 [E,2] as :func:`fieldlab.mesh.texture.charts.side_pairs` makes them.
        large: area of boxes that are worth it.
        least: share of the box that a chart must fill.

    Returns:
        The new charts int64 [F], counted from zero.
    """
    area = cross2(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]) / 2
    middle = flat.mean(1)
    for _ in range(CUTS):
        count = int(chart.max()) + 1
        side, owner = outline(chart, sides)
        points, owners = flat.reshape(-1, 2)[side], owner
        turn = turns(points, owners, count)
        low, high = extremes(np.einsum("nab,nb->na", turn[owners], points), owners, count)
        box = (high - low).prod(1)
        hollow = (box > large) & (np.bincount(chart, area, count) < least * box)
        if not hollow.any():
            break
        # Charts are at least as high as wide after turning.
        upper = (turn[chart, 1] * middle).sum(1) > ((low + high) / 2)[chart, 1]
        part = 2 * chart + (hollow[chart] & upper)
        one, other = part[sides[:, 0] // 3], part[sides[:, 1] // 3]
        chart = components(len(chart), sides[one == other] // 3)
    return chart


def apart(flat: np.ndarray, chart: np.ndarray) -> np.ndarray:
    """The corners [F,3,2] of charts with the lowest of each chart at zero."""
    return flat - extremes(flat.reshape(-1, 2), np.repeat(chart, 3), int(chart.max()) + 1)[0][chart][:, None]


def extremes(points: np.ndarray, chart: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest [C,2] of the points [N,2] of each chart; every chart has some."""
    order = np.argsort(chart, kind="stable")
    first = np.searchsorted(chart[order], np.arange(count))
    points = points[order]
    return np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)


def outline(chart: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sides of faces, int64 [S] counted three a face, without a neighbor in their chart, and their charts [S]."""
    outer = np.ones(3 * len(chart), dtype=bool)
    outer[sides[chart[sides[:, 0] // 3] == chart[sides[:, 1] // 3]]] = False
    # Faces without area may close up into a chart that has no rim.
    rims = np.bincount(np.repeat(chart, 3)[outer], minlength=int(chart.max()) + 1)
    found = np.flatnonzero(outer | np.repeat(rims[chart] == 0, 3))
    return found, chart[found // 3]


def turns(points: np.ndarray, chart: np.ndarray, count: int) -> np.ndarray:
    """Rotations [C,2,2] that give the points [N,2] of every chart the smallest box, at least as high as wide."""
    best, turns = np.full(count, np.inf), np.zeros((count, 2, 2))
    for angle in np.linspace(0, np.pi / 2, ANGLES, endpoint=False):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        low, high = extremes(points @ turn.T, chart, count)
        width, height = (high - low).T
        better = width * height < best
        best[better] = (width * height)[better]
        upright = np.where((height >= width)[:, None, None], turn, np.array([[0.0, -1.0], [1.0, 0.0]]) @ turn)
        turns[better] = upright[better]
    return turns
