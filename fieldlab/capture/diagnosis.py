"""What is wrong with a capture: a camera that turned on the spot, parts that do not meet, no details."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from fieldlab.capture.mapping import Model
from fieldlab.errors import DataError

ADVICE = (
    "take more photographs with at least 70 % overlap, walk around the subject rather than turn on the spot, "
    "avoid blur, mirrors and blank walls, and keep zoom and exposure fixed"
)
WALK = "walk sideways or around the subject: photographs from one place show no depth, however far the camera turns"
LITTLE_PARALLAX = 2.0  # degrees between the rays to a point, below which depths are guesses
FEW_DETAILS = 100  # features of a photograph
_TURNED = 3.0  # degrees between two photographs from which on a turn can be told from standing still
_SAME_PLACE = 0.04  # relative spread of singular values; a turn has none, a step sideways before a wall has


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
    import pycolmap

    with pycolmap.Database.open(database) as tables:
        pairs, geometries = tables.read_two_view_geometries()
        images = {image.image_id: image.camera_id for image in tables.read_all_images()}
        cameras = {camera.camera_id: camera for camera in tables.read_all_cameras()}
    flat = [
        (geometry.H, *(cameras[images[i]] for i in pycolmap.pair_id_to_image_pair(pair)))
        for pair, geometry in zip(pairs, geometries, strict=True)
        if _is_flat(geometry)
    ]
    if len(flat) < max(3, 0.6 * len(pairs)):
        return False
    spreads = []
    for factor in np.geomspace(0.5, 3, 16):
        turns = np.array([_as_turn(homography, factor, first, second) for homography, first, second in flat])
        turned = turns[turns[:, 1] > _TURNED, 0]
        if len(turned) >= 3:
            spreads.append(float(np.median(turned)))
    return bool(spreads) and min(spreads) < _SAME_PLACE


def why_nothing_fits(photos: Path, database: Path, count: int, tried: list[str]) -> DataError:
    """The error for a capture in which not even three photographs were placed."""
    with contextlib.closing(sqlite3.connect(database)) as tables:
        [agreeing] = tables.execute("SELECT COUNT(*) FROM two_view_geometries WHERE rows > 0").fetchone()
    if camera_stood_still(database):
        return DataError(
            "no photographs could be placed, since the camera turned without moving",
            file=photos,
            found=f"0 of {count} placed; {agreeing} pairs overlap, but all from one place",
            expected="photographs from different places",
            hint=WALK,
        )
    return DataError(
        "no photographs could be placed",
        file=photos,
        found=f"0 of {count} placed; {agreeing} of {count * (count - 1) // 2} pairs overlap; tried {', '.join(tried)}",
        expected="photographs that overlap",
        hint=ADVICE,
    )


def notes_on(models: list[Model], names: list[str], few: float, database: Path) -> list[str]:
    """What a person should know of a result: the largest of ``models`` (the first), the parts that do not meet it, and
    photographs in none of them."""
    placed, notes = set(models[0].names), []
    for other in models[1:]:
        apart = [name for name in other.names if name not in placed]
        if len(apart) >= 3:
            notes.append(
                f"{len(apart)} photographs ({listed(apart)}) fit together but not to the {len(placed)} that were "
                "placed: take some from in between, or capture them by themselves"
            )
    missing = [name for name in names if name not in placed]
    if plain := sorted(_with_few_details(database) & set(missing)):
        notes.append(f"{listed(plain)}: hardly any detail; blurred, dark or plain")
    if len(placed) < few * len(names):
        notes.append(
            f"only {len(placed)} of {len(names)} photographs could be placed (not {listed(missing)}): {ADVICE}"
        )
    if (angle := parallax(models[0])) < LITTLE_PARALLAX:
        notes.append(
            f"the camera hardly moved: rays to a point meet at {angle:.1f} degrees, so depths are uncertain; {WALK}"
        )
    return notes


def listed(names: list[str], most: int = 5) -> str:
    """The first few of some names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _is_flat(geometry: Any) -> bool:
    import pycolmap

    kinds = pycolmap.TwoViewGeometryConfiguration
    flat = (kinds.PLANAR, kinds.PANORAMIC, kinds.PLANAR_OR_PANORAMIC)
    return geometry.config in [int(kind) for kind in flat] and geometry.H is not None


def _as_turn(homography: np.ndarray, factor: float, first: Any, second: Any) -> tuple[float, float]:
    """How far a homography is from a turn (relative spread of its singular values), and by how many degrees it turns,
    if focal lengths are ``factor`` times the larger side."""
    matrices = []
    for camera in (first, second):
        focal = factor * max(camera.width, camera.height)
        matrices.append(np.array([[focal, 0, camera.width / 2], [0, focal, camera.height / 2], [0, 0, 1]]))
    turn = np.linalg.inv(matrices[1]) @ homography @ matrices[0]
    values = np.linalg.svd(turn, compute_uv=False)
    turn = turn / np.cbrt(np.linalg.det(turn))
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return float((values[0] - values[2]) / max(values[1], 1e-12)), float(angle)


def _with_few_details(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database)) as tables:
        rows = tables.execute(
            "SELECT name FROM images LEFT JOIN keypoints USING (image_id) WHERE COALESCE(rows, 0) < ?", (FEW_DETAILS,)
        )
        return {name for (name,) in rows}
