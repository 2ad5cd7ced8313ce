"""Where charts lie on a square picture: dropped one after the other onto a skyline, the tall ones first.

Like the bricks of the game, every chart falls to where its own lower outline meets what lies there (Lévy et al. 2002,
section 3.4). All distances are whole texels, so that the space between charts is what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import minimum_filter1d

from fieldlab.errors import ConfigError
from fieldlab.mesh.texture.texels import expanded

ATTEMPTS = 6  # at finding the largest charts that still fit
FULL = 0.97  # of the picture's height: near enough
FAR = 1 << 30
BORDER = 1  # texels at the edges of the picture that stay free


@dataclass
class Outlines:
    """Charts as their sides: segments float64 [S,2,2], the lowest x and y of each chart 0, and the chart of each
    int64 [S]; ``count`` charts."""

    segments: np.ndarray
    chart: np.ndarray
    count: int


@dataclass
class _Profiles:
    """Lower and upper outlines of charts in texels, one after the other, int64 [sum of widths] each.

    ``below`` is ``bottom`` with room for the padding, ``padding`` columns longer at both ends; ``start`` and ``width``
    [C] tell where a chart begins in ``top``, and ``start + 2 padding c`` where in ``below``.
    """

    top: np.ndarray
    below: np.ndarray
    start: np.ndarray
    width: np.ndarray


def pack(outlines: Outlines, area: float, size: int, padding: int) -> tuple[float, np.ndarray]:
    """Place charts on a picture of ``size`` x ``size`` texels, as large as they fit.

    Args:
        area: of all charts together, in the units of the outlines.
        padding: texels between any two charts.

    Returns:
        Texels per unit, and where the origins of the charts lie, int64 [C,2] in texels.

    Raises:
        ConfigError: there are more charts than the picture has room for.
    """
    inner = size - 2 * BORDER
    extent = float(np.abs(outlines.segments).max(initial=0))
    scale = min(0.8 * inner / max(area, 1e-30) ** 0.5, inner / max(extent, 1e-30) * 0.999)
    fits, too_large = 0.0, np.inf
    placed = np.zeros((outlines.count, 2), dtype=np.int64)
    attempt = 0
    while attempt < ATTEMPTS or (fits == 0 and attempt < 60):
        attempt += 1
        origins, height = _drop(_profiles(outlines, scale, padding), inner, padding)
        if height <= inner:
            fits, placed = scale, origins
            if height >= FULL * inner:
                break
        else:
            too_large = scale
        guess = scale * (0.99 * inner / height) ** 0.5
        scale = guess if fits < guess < too_large else (fits + min(too_large, 2 * scale)) / 2
    if fits == 0:
        raise ConfigError(
            "the texture has no room for the pieces of the mesh",
            field="size", found=f"{outlines.count:,} pieces on {size} x {size} texels", expected="a larger texture",
        )  # fmt: skip
    return fits, placed + BORDER


def _profiles(outlines: Outlines, scale: float, padding: int) -> _Profiles:
    ends = outlines.segments * scale
    order = np.argsort(ends[:, :, 0], axis=1)[..., None]
    a, b = np.moveaxis(np.take_along_axis(ends, order, axis=1), 1, 0)
    first, last = np.floor(a[:, 0]).astype(np.int64), np.floor(b[:, 0]).astype(np.int64)
    width = np.zeros(outlines.count, dtype=np.int64)
    np.maximum.at(width, outlines.chart, last + 1)
    start = np.cumsum(width) - width
    side, offset = expanded(last - first + 1)
    column = first[side] + offset
    slope = (b[:, 1] - a[:, 1]) / np.maximum(b[:, 0] - a[:, 0], 1e-12)
    one = a[side, 1] + (np.maximum(column, a[side, 0]) - a[side, 0]) * slope[side]
    other = a[side, 1] + (np.minimum(column + 1, b[side, 0]) - a[side, 0]) * slope[side]
    upright = (first == last)[side]
    one, other = np.where(upright, a[side, 1], one), np.where(upright, b[side, 1], other)
    chart = outlines.chart[side]
    top = np.zeros(int(width.sum()), dtype=np.int64)
    np.maximum.at(top, start[chart] + column, np.floor(np.maximum(one, other)).astype(np.int64) + 1)
    below = np.full(len(top) + 2 * padding * outlines.count, FAR, dtype=np.int64)
    place = start[chart] + column + padding * (2 * chart + 1)
    np.minimum.at(below, place, np.floor(np.minimum(one, other)).astype(np.int64))
    return _Profiles(top, minimum_filter1d(below, 2 * padding + 1, mode="nearest") - padding, start, width)


def _drop(profiles: _Profiles, size: int, padding: int) -> tuple[np.ndarray, float]:
    """Where the charts come to lie, int64 [C,2], and how high they reach together."""
    origins = np.zeros((len(profiles.start), 2), dtype=np.int64)
    # What lies there already; beyond the picture there is nothing to keep away from.
    skyline = np.full(size + 2 * padding, -padding, dtype=np.int64)
    tallest = np.maximum.reduceat(profiles.top, profiles.start) if len(profiles.start) else profiles.start
    widest = int(profiles.width.max(initial=0))
    if widest > size:
        return origins, widest * widest / size  # at the scale that this height suggests it is not too wide
    for chart in np.lexsort((-profiles.width, -tallest)).tolist():
        width, start = int(profiles.width[chart]), int(profiles.start[chart])
        long = width + 2 * padding
        below = profiles.below[start + 2 * padding * chart :][:long]
        there = np.lib.stride_tricks.sliding_window_view(skyline, long)
        level = np.maximum((there - below).max(1), 0)
        x = int(level.argmin())
        origins[chart] = x, level[x]
        skyline[x + padding : x + padding + width] = level[x] + profiles.top[start : start + width]
    return origins, float(skyline.max(initial=0))
