"""Which triangle of a mesh every pixel of a camera sees: a z-buffer over the camera's own rays.

A triangle with corners p0, p1, p2 in camera axes is hit by the ray through d where d = b0 p0 + b1 p1 + b2 p2 with no
b below zero; the b are linear in d (Olano and Greer 1997), so a triangle that reaches behind the camera needs no
clipping, and lens distortion no resampling: every pixel has a d of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fieldlab.data.cameras import CameraModel, Cameras, pixel_centers
from fieldlab.errors import ConfigError

CANDIDATES = 1 << 20  # pixels tested at a time
NEAR = 1e-6  # world units in front of the camera where things begin to be seen


@dataclass(frozen=True)
class Hits:
    """What the pixels see, row-major.

    Args:
        triangle: int64 [H*W], -1 where there is none.
        weights: float64 [H*W,3] of its corners, which add up to one.
    """

    triangle: np.ndarray
    weights: np.ndarray


def in_camera_axes(vertices: np.ndarray, camera: Cameras) -> np.ndarray:
    """World points [V,3] in the axes of a single camera."""
    pose = camera.camera_to_world[0].double().cpu().numpy()
    return (vertices - pose[:, 3]) @ pose[:, :3]


def rasterize(local: np.ndarray, faces: np.ndarray, camera: Cameras) -> Hits:
    """The nearest triangle under the middle of every pixel, from either side.

    Args:
        local: vertices [V,3] in camera axes.
        camera: a single one.

    Raises:
        ConfigError: the camera is not a perspective one.
    """
    if int(camera.model[0]) != CameraModel.PERSPECTIVE:
        raise ConfigError("meshes are drawn by perspective cameras only", found=CameraModel(int(camera.model[0])).name)
    camera = camera.to("cpu")
    plane = _plane(camera)
    chosen, low, span = _boxes(local, faces, plane, camera)
    weights, good = _weight_functions(local[faces[chosen]])
    found, share = _nearest(weights[good], low[good], span[good], plane, int(camera.size[0, 0]))
    hit = found >= 0
    triangle = np.full(len(plane), -1, dtype=np.int64)
    triangle[hit] = chosen[good][found[hit]]
    return Hits(triangle, share)


def _plane(camera: Cameras) -> np.ndarray:
    """Where the rays of the pixels meet the plane at depth 1, float64 [H*W,2] in camera axes."""
    width, height = camera.size[0].tolist()
    if not bool(camera.distortion.any()):
        fx, fy, cx, cy = camera.intrinsics[0].double().tolist()
        x, y = (np.arange(width) + 0.5 - cx) / fx, (np.arange(height) + 0.5 - cy) / fy
        return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    pixels = pixel_centers(width, height)
    directions, _ = camera.unproject(torch.zeros(len(pixels), dtype=torch.int64), pixels)
    directions = directions.double()
    return (directions[:, :2] / directions[:, 2:]).numpy()


def _weight_functions(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 [F,3,3] that makes the b of the rays through d out of d, of triangles [F,3,3] in camera axes, and which
    of them, bool [F], are not seen edge-on."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    rows = np.stack((np.cross(b, c), np.cross(c, a), np.cross(a, b)), axis=1)
    size = np.einsum("fk,fk->f", a, rows[:, 0])
    scale = np.sqrt(np.einsum("fk,fk->f", a, a) * np.einsum("fk,fk->f", b, b) * np.einsum("fk,fk->f", c, c))
    good = np.abs(size) > 1e-14 * scale
    return rows / np.where(good, size, 1.0)[:, None, None], good


def _boxes(
    local: np.ndarray, faces: np.ndarray, plane: np.ndarray, camera: Cameras
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The faces int64 [S] that pixels may see, and of each the box of these pixels: the first (x, y) int64 [S,2] and
    the extent [S,2], above zero."""
    low, high = _plane_boxes(local, faces)
    low, high = np.maximum(low, plane.min(0)), np.minimum(high, plane.max(0))
    chosen = np.flatnonzero((low[:, 0] <= high[:, 0]) & (low[:, 1] <= high[:, 1]))
    low, high = _pixel_boxes(low[chosen], high[chosen], camera)
    size = camera.size[0].numpy()
    # A little more than touches the middle of a pixel: the rays themselves say what is hit.
    first = np.clip(np.ceil(low - 0.5 - 1e-6), 0, size).astype(np.int64)
    span = np.clip(np.floor(high - 0.5 + 1e-6) + 1, 0, size).astype(np.int64) - first
    some = (span[:, 0] > 0) & (span[:, 1] > 0)
    return chosen[some], first[some], span[some]


def _plane_boxes(local: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds [F,2] and [F,2] on the plane at depth 1 of the part of each triangle that is in front of the camera; the
    lower is above the upper where no part is."""
    front = local[:, 2] > NEAR
    flat = local[:, :2] / np.where(front, local[:, 2], 1.0)[:, None]
    # One corner after the other: reductions over an axis of three are many times slower.
    a, b, c = (flat[faces[:, k]] for k in range(3))
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    if front.all():
        return low, high
    ahead = front[faces]
    count = ahead[:, 0].astype(np.int8) + ahead[:, 1] + ahead[:, 2]
    low[count == 0], high[count == 0] = np.inf, -np.inf
    across = np.flatnonzero((count == 1) | (count == 2))
    low[across], high[across] = _front_boxes(local[faces[across]], ahead[across])
    return low, high


def _front_boxes(corners: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of :func:`_plane_boxes` for triangles [A,3,3] some of whose corners are ``ahead``, bool [A,3]: those
    of these corners and of where the sides come out in front of the camera."""
    ends = np.roll(corners, -1, axis=1)
    cut = ahead != np.roll(ahead, -1, axis=1)
    share = (NEAR - corners[..., 2]) / np.where(cut, ends[..., 2] - corners[..., 2], 1.0)
    crossing = (corners[..., :2] + share[..., None] * (ends[..., :2] - corners[..., :2])) / NEAR
    points = np.concatenate((corners[..., :2] / np.where(ahead, corners[..., 2], 1.0)[..., None], crossing), axis=1)
    used = np.concatenate((ahead, cut), axis=1)[..., None]
    return np.where(used, points, np.inf).min(1), np.where(used, points, -np.inf).max(1)


def _pixel_boxes(low: np.ndarray, high: np.ndarray, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Bounds in pixels [F,2] and [F,2] of rectangles [F,2] and [F,2] on the plane at depth 1."""
    if not bool(camera.distortion.any()):
        fx, fy, cx, cy = camera.intrinsics[0].double().tolist()
        return low * (fx, fy) + (cx, cy), high * (fx, fy) + (cx, cy)
    # Straight sides become curves: their ends and middles, and as far again as the middles are off the chords.
    share = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)])
    points = low[:, None] + share * (high - low)[:, None]
    here = replace(camera, camera_to_world=torch.eye(3, 4)[None])
    flat = np.concatenate((points.reshape(-1, 2), np.ones((points.size // 2, 1))), axis=1)
    pixels = here.project(0, torch.from_numpy(flat))[0].numpy().reshape(points.shape)
    corners, middles = pixels[:, :4], pixels[:, 4:]
    bulge = np.abs(middles - (corners + np.roll(corners, -1, axis=1)) / 2).max(1)
    return pixels.min(1) - bulge, pixels.max(1) + bulge


def _nearest(
    weights: np.ndarray, low: np.ndarray, span: np.ndarray, plane: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of the triangles int64 [H*W] under each pixel (-1: none) and its corners' weights [H*W,3] there."""
    counts = span[:, 0] * span[:, 1]
    ends = np.cumsum(counts)
    nearest = torch.full((len(plane),), torch.inf, dtype=torch.float64)
    triangle = np.full(len(plane), -1, dtype=np.int64)
    share = np.zeros((len(plane), 3))
    start = 0
    while start < len(counts):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + CANDIDATES, side="right")))
        chosen, pixel = _candidates(start, stop, low, span, counts, width)
        at = plane[pixel]
        functions = np.repeat(weights[start:stop], counts[start:stop], axis=0)
        b = functions[:, :, 0] * at[:, :1] + functions[:, :, 1] * at[:, 1:] + functions[:, :, 2]
        total = b[:, 0] + b[:, 1] + b[:, 2]
        inside = (b[:, 0] >= 0) & (b[:, 1] >= 0) & (b[:, 2] >= 0) & (total > 0) & (total < 1 / NEAR)
        chosen, pixel, b = chosen[inside], pixel[inside], b[inside]
        depth = 1 / total[inside]
        before = nearest.numpy()[pixel]
        nearest.scatter_reduce_(0, torch.from_numpy(pixel), torch.from_numpy(depth), "amin")
        wins = (depth == nearest.numpy()[pixel]) & (depth < before)
        triangle[pixel[wins]] = chosen[wins]
        share[pixel[wins]] = b[wins] * depth[wins, None]
        start = stop
    return triangle, share


def _candidates(
    start: int, stop: int, low: np.ndarray, span: np.ndarray, counts: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel of the boxes from ``start`` to ``stop``: the triangle int64 [N] and the pixel int64 [N]."""
    count = counts[start:stop]
    chosen = np.repeat(np.arange(start, stop), count)
    first = np.cumsum(count) - count
    offset = np.arange(len(chosen)) - np.repeat(first, count)
    across = np.repeat(span[start:stop, 0], count)
    corner = np.repeat(low[start:stop, 1] * width + low[start:stop, 0], count)
    row = offset // across
    return chosen, corner + row * width + (offset - row * across)
