"""Procedural textures: colors as functions of position, with detail at several scales.

A texture maps points (three tensors [N], in the frame its part was made in) to linear RGB [3,N]. Colors are given as
sRGB hexadecimal strings. Noise is trilinear value noise on a small periodic table that an integer hash fills, so that
pictures are the same on every machine and with every version of PyTorch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fieldlab.synthetic.shapes import Points

Texture = Callable[[Points], Tensor]
Mask = Callable[[Points], Tensor]

_TABLE_SIZE = 32


def linear_rgb(color: str) -> tuple[float, float, float]:
    """Linear RGB of an sRGB color written ``#rrggbb``."""
    values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return r, g, b


@functools.lru_cache(maxsize=8)
def _noise_table(device: torch.device, dtype: torch.dtype) -> Tensor:
    n = np.arange(_TABLE_SIZE**3, dtype=np.uint64) + np.uint64(0x9E3779B9)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        n ^= n >> np.uint64(shift)
        n = (n * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    return torch.from_numpy(n.astype(np.float64) / 2**32).to(device, dtype)


def value_noise(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Smooth noise [N] in [0,1] with one feature per unit length, periodic after 32 units."""
    table = _noise_table(x.device, x.dtype)
    corners, weights = [], []
    for c in (x, y, z):
        floor = torch.floor(c)
        f = c - floor
        cell = floor.to(torch.int32)
        corners.append((cell & (_TABLE_SIZE - 1), (cell + 1) & (_TABLE_SIZE - 1)))
        weights.append(f * f * (3 - 2 * f))

    def at(index: Tensor) -> Tensor:
        return table.index_select(0, index)  # several times as fast as table[index]

    planes = []
    for ix in corners[0]:
        rows = []
        for iy in corners[1]:
            base = (ix * _TABLE_SIZE + iy) * _TABLE_SIZE
            rows.append(torch.lerp(at(base + corners[2][0]), at(base + corners[2][1]), weights[2]))
        planes.append(torch.lerp(rows[0], rows[1], weights[1]))
    return torch.lerp(planes[0], planes[1], weights[0])


def fractal_noise(p: Points, frequency: float, octaves: int = 3) -> Tensor:
    """Sum of octaves of value noise, [N] in [0,1]; each octave has twice the frequency and half the weight."""
    total = torch.zeros_like(p[0])
    weight, whole = 1.0, 0.0
    for octave in range(octaves):
        # The offset keeps lattice planes of different octaves from coinciding.
        x, y, z = (c * frequency + 7.3 * octave for c in p)
        total += weight * value_noise(x, y, z)
        whole += weight
        weight, frequency = 0.5 * weight, 2.03 * frequency
    return total / whole


def smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    """Cubic step from 0 at ``low`` to 1 at ``high``."""
    s = ((x - low) / (high - low)).clamp(0, 1)
    return s * s * (3 - 2 * s)


def _blend(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return a + (b - a) * weight


def _constant(color: str, like: Tensor) -> Tensor:
    return torch.tensor(linear_rgb(color), dtype=like.dtype, device=like.device)[:, None]


def plain(color: str) -> Texture:
    """One color."""
    return lambda p: _constant(color, p[0]).expand(3, p[0].shape[0])


def mottled(a: str, b: str, frequency: float, octaves: int = 3) -> Texture:
    """Two colors in cloudy patches."""

    def texture(p: Points) -> Tensor:
        weight = smoothstep(0.3, 0.7, fractal_noise(p, frequency, octaves))
        return _blend(_constant(a, weight), _constant(b, weight), weight)

    return texture


def wood(light: str, dark: str, axis: str = "x", rings: float = 9.0) -> Texture:
    """Grain along ``axis``: wavering rings, fine fibers and pores."""
    i = "xyz".index(axis)

    def texture(p: Points) -> Tensor:
        u, v, w = p[i], p[(i + 1) % 3], p[(i + 2) % 3]
        waver = fractal_noise((u * 0.6, v * 1.7, w * 1.7), 2.0, 2)
        radius = ((v + 0.35) ** 2 + (w * 1.3 - 0.2) ** 2).sqrt() + 0.22 * waver
        ring = torch.frac(radius * rings)
        ring = smoothstep(0.0, 0.75, ring) * (1 - smoothstep(0.85, 1.0, ring))
        fibers = fractal_noise((u * 1.5, v * 26, w * 26), 2.0, 2)
        weight = (0.62 * ring + 0.55 * (fibers - 0.3)).clamp(0, 1)
        return _blend(_constant(light, weight), _constant(dark, weight), weight)

    return texture


def masked(base: Texture, over: Texture, mask: Mask) -> Texture:
    """``over`` painted on ``base`` where ``mask`` is one."""
    return lambda p: _blend(base(p), over(p), mask(p))


def shaded(base: Texture, frequency: float, strength: float, octaves: int = 3) -> Texture:
    """``base`` made lighter and darker by noise: wear, dust, brush strokes."""

    def texture(p: Points) -> Tensor:
        return base(p) * (1 + strength * (2 * fractal_noise(p, frequency, octaves) - 1))

    return texture


def stretched(base: Texture, x: float, y: float, z: float) -> Texture:
    """``base`` read at scaled coordinates, so that its features are drawn out along an axis."""
    return lambda p: base((p[0] * x, p[1] * y, p[2] * z))


def bands(axis: str, edges: Sequence[tuple[float, float]], soft: float = 0.004) -> Mask:
    """One between each pair of coordinates along ``axis``."""
    i = "xyz".index(axis)

    def mask(p: Points) -> Tensor:
        total = torch.zeros_like(p[i])
        for low, high in edges:
            total += smoothstep(low - soft, low + soft, p[i]) - smoothstep(high - soft, high + soft, p[i])
        return total.clamp(0, 1)

    return mask


def stripes(axis: str, period: float, duty: float = 0.5, soft: float = 0.03) -> Mask:
    """Parallel stripes across ``axis``."""
    i = "xyz".index(axis)

    def mask(p: Points) -> Tensor:
        phase = torch.frac(p[i] / period + 64.25)
        return smoothstep(0.0, soft, phase) * (1 - smoothstep(duty, duty + soft, phase))

    return mask


def gores(count: int, duty: float = 0.5, soft: float = 0.01) -> Mask:
    """Sectors about the z axis, as on a beach ball."""

    def mask(p: Points) -> Tensor:
        phase = torch.frac(torch.atan2(p[1], p[0]) / (2 * torch.pi) * count + count)
        return smoothstep(0.0, soft, phase) * (1 - smoothstep(duty, duty + soft, phase))

    return mask


def checks(size: float) -> Mask:
    """A three-dimensional checkerboard."""

    def mask(p: Points) -> Tensor:
        parity = sum(torch.floor(c / size + 0.01) for c in p)
        return torch.remainder(torch.as_tensor(parity), 2)

    return mask


def dots(spacing: float, radius: float, soft: float = 0.01) -> Mask:
    """Round dots on a cubic lattice, every other layer shifted."""

    def mask(p: Points) -> Tensor:
        shift = 0.5 * torch.remainder(torch.floor(p[2] / spacing + 0.5), 2)
        x, y, z = p[0] / spacing + shift, p[1] / spacing + shift, p[2] / spacing
        squared = sum((c - torch.round(c)) ** 2 for c in (x, y, z))
        return 1 - smoothstep(radius - soft, radius + soft, torch.as_tensor(squared).sqrt() * spacing)

    return mask


def disc(x: float, z: float, radius: float, soft: float = 0.004) -> Mask:
    """A spot around (x, z), seen along y."""

    def mask(p: Points) -> Tensor:
        return 1 - smoothstep(radius - soft, radius + soft, ((p[0] - x) ** 2 + (p[2] - z) ** 2).sqrt())

    return mask


def noise_mask(frequency: float, low: float, high: float, octaves: int = 3) -> Mask:
    """Irregular patches, where noise exceeds a level."""
    return lambda p: smoothstep(low, high, fractal_noise(p, frequency, octaves))


def cobbles(stone: str, other: str, mortar: str, size: float) -> Texture:
    """Cobblestones in the xy plane: a Voronoi pattern whose cells vary in color, with mortar between."""

    def texture(p: Points) -> Tensor:
        u, v = p[0] / size, p[1] / size
        nearest, second, tint = _voronoi(u, v)
        grain = fractal_noise(p, 9.0 / size, 2)
        stones = _blend(_constant(stone, tint), _constant(other, tint), tint) * (0.7 + 0.6 * grain)
        return _blend(_constant(mortar, tint), stones, smoothstep(0.06, 0.16, second - nearest))

    return texture


def _voronoi(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances to the nearest and second nearest seed of a jittered square lattice, and a number for the nearest."""
    table = _noise_table(u.device, u.dtype)
    fu, fv = torch.floor(u), torch.floor(v)
    nearest, second, tint = torch.full_like(u, 9.0), torch.full_like(u, 9.0), torch.zeros_like(u)
    for du in (-1, 0, 1):
        for dv in (-1, 0, 1):
            iu, iv = (fu + du).to(torch.int32), (fv + dv).to(torch.int32)
            key = ((iu & 127) * 128 + (iv & 127)) * 2
            jitter_u, jitter_v = table.index_select(0, key), table.index_select(0, key + 1)
            d = ((iu + 0.15 + 0.7 * jitter_u - u) ** 2 + (iv + 0.15 + 0.7 * jitter_v - v) ** 2).sqrt()
            closer = d < nearest
            second = torch.where(closer, nearest, torch.minimum(second, d))
            tint = torch.where(closer, jitter_u, tint)
            nearest = torch.where(closer, d, nearest)
    return nearest, second, tint
