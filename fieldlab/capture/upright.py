"""Where a reconstruction stands: up is +z, what the photographs look at is the origin, and the scale is sensible.

Structure from motion knows neither place, turn nor size of what it finds. Here people's habit to level their cameras
tells what is up; the size, which no photograph tells, is chosen so that cameras are two to three units from the middle.
"""

from __future__ import annotations

import numpy as np

from fieldlab.data.bounds import focus_point

DISTANCE = 2.5  # of the middle camera from the origin, scene units
_NEARER = 0.3  # share of the depth of points below which cameras stand in the middle and look outwards


def upright(camera_to_world: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The similarity float64 [3,4] (scale times rotation, and translation) that sets a reconstruction upright.

    Args:
        camera_to_world: float64 [N,3,4], OpenCV axes.
        points: float64 [P,3], what the cameras see.
    """
    origins, forward = camera_to_world[:, :, 3], camera_to_world[:, :, 2]
    depth = _depth(origins, forward, points)
    middle = focus_point(origins, forward)
    if not _before_cameras(middle, origins, forward) or np.median(np.linalg.norm(middle - origins, axis=1)) > 3 * depth:
        # Axes that are parallel or spread meet nowhere useful.
        middle = np.median(origins + depth * forward, axis=0)
    reach = float(np.median(np.linalg.norm(origins - middle, axis=1)))
    if reach < _NEARER * depth:
        reach = depth
    scaled = DISTANCE / max(reach, 1e-12) * _turn_to_z(up_of(camera_to_world), forward.mean(axis=0))
    return np.concatenate((scaled, -scaled @ middle[:, None]), axis=1)


def up_of(camera_to_world: np.ndarray) -> np.ndarray:
    """The unit vector [3] that photographers held to be up.

    It is perpendicular to most cameras' right axes, whichever way round they were held, which four rounds of weights
    make robust against single photographs on their side. A small pull to the middle of the cameras' own up axes decides
    the sign, and what remains free where all look the same way.
    """
    right, own = camera_to_world[:, :, 0], -camera_to_world[:, :, 1]
    pull = np.median(own, axis=0) if len(own) > 2 else own.mean(axis=0)
    weights, up = np.ones(len(right)), np.array([0.0, 0.0, 1.0])
    for _ in range(4):
        scatter = np.einsum("n,ni,nj->ij", weights, right, right) / weights.sum() + 1e-2 * np.eye(3)
        up = np.linalg.solve(scatter, pull)
        up /= max(np.linalg.norm(up), 1e-12)
        weights = 1 / (0.1 + np.abs(right @ up))
    return up if np.linalg.norm(up) > 0.5 else np.array([0.0, 0.0, 1.0])


def _depth(origins: np.ndarray, forward: np.ndarray, points: np.ndarray) -> float:
    """How far the middle point lies before the cameras."""
    chosen = points[:: max(1, len(points) // 2000)]
    depths = ((chosen[None] - origins[:, None]) * forward[:, None]).sum(axis=2)
    before = depths[depths > 0]
    return float(np.median(before)) if before.size else 1.0


def _before_cameras(point: np.ndarray, origins: np.ndarray, forward: np.ndarray) -> bool:
    return bool((((point - origins) * forward).sum(axis=1) > 0).mean() > 0.5)


def _turn_to_z(up: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """The rotation [3,3] that takes ``up`` to +z, and the middle viewing direction to +y as far as that allows."""
    ahead = forward - (forward @ up) * up
    if np.linalg.norm(ahead) < 1e-3:  # cameras all round have no common direction
        ahead = np.eye(3)[np.abs(up).argmin()]
        ahead = ahead - (ahead @ up) * up
    ahead /= np.linalg.norm(ahead)
    return np.stack((np.cross(ahead, up), ahead, up))
