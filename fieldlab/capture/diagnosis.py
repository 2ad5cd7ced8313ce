"""What is said about a capture in which something went wrong, and what to do about it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from fieldlab.capture.mapping import Model
from fieldlab.capture.parallax import LITTLE_PARALLAX, camera_stood_still, parallax
from fieldlab.capture.photographs import MIN_PHOTOS
from fieldlab.errors import DataError

ADVICE = (
    "take more photographs with at least 70 % overlap, walk around the subject rather than turn on the spot, "
    "avoid blur, mirrors and blank walls, and keep zoom and exposure fixed"
)
WALK = "walk sideways or around the subject: photographs from one place show no depth, however far the camera turns"
FEW_DETAILS = 100  # features of a photograph


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
        if len(apart) >= MIN_PHOTOS:
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
    if camera_stood_still(database):
        notes.append(f"the camera turned without moving, so that depths are made up; {WALK}")
    elif (angle := parallax(models[0])) < LITTLE_PARALLAX:
        notes.append(
            f"the camera hardly moved: rays to a point meet at {angle:.1f} degrees, so depths are uncertain; {WALK}"
        )
    return notes


def listed(names: list[str], most: int = 5) -> str:
    """The first few of some names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _with_few_details(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database)) as tables:
        rows = tables.execute(
            "SELECT name FROM images LEFT JOIN keypoints USING (image_id) WHERE COALESCE(rows, 0) < ?", (FEW_DETAILS,)
        )
        return {name for (name,) in rows}
