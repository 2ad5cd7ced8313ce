"""Which texels triangles and segments on a plane cover, a bounded number at a time.

A texel (x, y) is the unit square with its lower corner there; its center is (x + 0.5, y + 0.5).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROWS = 1 << 19  # rows of texels looked at together
LEAST_AREA = 1e-9  # square texels, below which weights of the corners mean nothing


def covered(corners: np.ndarray, slack: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The texels whose centers lie in triangles, row by row of every triangle.

    Args:
        corners: float64 [F,3,2] in texels, counterclockwise.
        slack: texels by which a row may begin earlier and end later than the triangle; below zero to leave out the
            centers on its sides.

    Yields:
        Triangle, x and y, all int64 [N]; triangles without area or turned over have none.
    """
    low, high = _bounds(corners[..., 1])
    area = cross2(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    first = np.ceil(low - 0.5 - slack).astype(np.int64)
    count = np.maximum(np.floor(high - 0.5 + slack).astype(np.int64) - first + 1, 0) * (area > LEAST_AREA)
    for start, stop in chunks(count, ROWS):
        face, offset = expanded(count[start:stop])
        face += start
        y = first[face] + offset
        left, right = _row_bounds(corners[start:stop], face - start, y + 0.5)
        begin = np.ceil(left - 0.5 - slack)
        across = np.maximum(np.floor(right - 0.5 + slack) - begin + 1, 0).astype(np.int64)
        row, offset = expanded(across)
        yield face[row], begin.astype(np.int64)[row] + offset, y[row]


def boxed(segments: np.ndarray, reach: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The texels whose centers lie in the boxes of segments float64 [S,2,2], made larger by ``reach`` on every side.

    Yields:
        Segment, x and y, all int64 [N].
    """
    first = np.ceil(segments.min(1) - reach - 0.5).astype(np.int64)
    span = np.floor(segments.max(1) + reach - 0.5).astype(np.int64) - first + 1
    count = np.maximum(span, 0).prod(1)
    for start, stop in chunks(count, ROWS):
        segment, offset = expanded(count[start:stop])
        segment += start
        row = offset // span[segment, 0]
        yield segment, first[segment, 0] + offset - row * span[segment, 0], first[segment, 1] + row


def barycentric(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Weights float64 [N,3] of the corners [N,3,2] of triangles with area at points [N,2] on their planes."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = cross2(b - a, c - a)
    second, third = cross2(points - a, c - a) / area, cross2(b - a, points - a) / area
    return np.stack((1 - second - third, second, third), axis=1)


def cross2(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The area [...] that vectors [...,2] span, above zero where the second lies counterclockwise of the first."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def chunks(counts: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of ``counts`` int64 [N] that add up to no more than ``most`` each, unless a single one does."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + most, side="right")))
        yield start, stop
        start = stop


def expanded(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row of ``counts`` int64 [N] as often as it says, and which of its repetitions it is: int64 [sum] both."""
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)


def _bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest of three [F,3]; one after the other, since reductions over an axis of three are slow."""
    a, b, c = values[:, 0], values[:, 1], values[:, 2]
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)


def _row_bounds(corners: np.ndarray, face: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the horizontal lines at ``y`` [R] enter and leave the triangles ``face`` [R]; empty ones end before."""
    left, right = np.full(len(y), -np.inf), np.full(len(y), np.inf)
    for side in range(3):
        start, end = corners[:, side], corners[:, (side + 1) % 3]
        rise = end[:, 1] - start[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(rise != 0, (end[:, 0] - start[:, 0]) / rise, 0.0)
        x = start[face, 0] + (y - start[face, 1]) * slope[face]
        # Counterclockwise: the inside is to the left of a side, so sides that go down bound the row on its left.
        np.maximum(left, x, out=left, where=(rise < 0)[face])
        np.minimum(right, x, out=right, where=(rise > 0)[face])
    flat = np.isinf(left) | np.isinf(right)
    return np.where(flat, 0.0, left), np.where(flat, -2.0, right)
