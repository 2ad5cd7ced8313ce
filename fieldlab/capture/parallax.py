"""How far a camera moved: without parallax there is no depth, however well photographs fit together."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import numpy as np

from fieldlab.capture.mapping import Model

LITTLE_PARALLAX = 2.0  # degrees between the rays to a point, below which depths are guesses
_TURNED = 3.0  # degrees between two photographs from which on a turn can be told from standing still
_SAME_PLACE = 0.04  # relative spread of singular values; a turn has none, a step sideways before a wall has
_MOST_FLAT = 0.6  # share of pairs
_SAMPLE = 400  # pairs that are looked at


def parallax(model: Model) -> float:
    """The median over points of the widest angle between two rays to a point, in degrees."""
    reconstruction = model.reconstruction
    centers = {i: image.projection_center() for i, image in reconstruction.images.items() if image.has_pose}
    points = list(reconstruction.points3D.values())
    widest = []
    for point in points[:: max(1, len(points) // 500)]:
        rays = np.array([point.xyz - centers[element.image_id] for element in point.track.elements])
        rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
        widest.append(np.degrees(np.arccos(np.clip((rays @ rays.T).min(), -1, 1))))
    return float(np.median(widest)) if widest else 0.0


def camera_stood_still(database: Path) -> bool:
    """Whether photographs that agree are turns of each other about one place, as of a camera on a tripod.

    Two such photographs are joined by a homography K R K^-1, whatever the scene. The focal length in K is not known
    here, so that the one is taken with which the homographies are most nearly rotations.
    """
    agreeing, flat = _flat_pairs(database)
    if len(flat) < max(3, _MOST_FLAT * agreeing):
        return False
    spreads = []
    for factor in np.geomspace(0.5, 3, 16):
        turns = np.array([_as_turn(homography, factor, *sizes) for homography, *sizes in flat])
        turned = turns[turns[:, 1] > _TURNED, 0]
        if len(turned) >= 3:
            spreads.append(float(np.median(turned)))
    return bool(spreads) and min(spreads) < _SAME_PLACE


def _flat_pairs(database: Path) -> tuple[int, list[tuple[np.ndarray, tuple[int, int], tuple[int, int]]]]:
    """Of at most so many pairs that agree: how many there are, and the homography and the two sizes of those that one
    joins."""
    import pycolmap

    kinds = pycolmap.TwoViewGeometryConfiguration
    flat_kinds = {int(kind) for kind in (kinds.PLANAR, kinds.PANORAMIC, kinds.PLANAR_OR_PANORAMIC)}
    with contextlib.closing(sqlite3.connect(database)) as tables:
        sizes = {
            number: (width, height)
            for number, width, height in tables.execute(
                "SELECT image_id, width, height FROM images JOIN cameras USING (camera_id)"
            )
        }
        rows = tables.execute("SELECT pair_id, config, H FROM two_view_geometries WHERE rows > 0").fetchall()
    rows = rows[:: max(1, len(rows) // _SAMPLE)]
    flat = []
    for pair, kind, matrix in rows:
        if kind in flat_kinds and matrix:
            first, second = pycolmap.pair_id_to_image_pair(pair)
            flat.append((np.frombuffer(matrix, np.float64).reshape(3, 3), sizes[first], sizes[second]))
    return len(rows), flat


def _as_turn(
    homography: np.ndarray, factor: float, first: tuple[int, int], second: tuple[int, int]
) -> tuple[float, float]:
    """How far a homography is from a turn (relative spread of its singular values), and by how many degrees it turns,
    if focal lengths are ``factor`` times the larger side."""
    matrices = []
    for width, height in (first, second):
        focal = factor * max(width, height)
        matrices.append(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]))
    turn = np.linalg.inv(matrices[1]) @ homography @ matrices[0]
    values = np.linalg.svd(turn, compute_uv=False)
    turn = turn / np.cbrt(np.linalg.det(turn))
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return float((values[0] - values[2]) / max(values[1], 1e-12)), float(angle)
