"""Features of photographs: SIFT, at a size that finds enough."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldlab.capture.photographs import Photograph
from fieldlab.capture.stages import Stage
from fieldlab.data.images import available_memory

FEATURE_BATCH = 16  # photographs
FEW_FEATURES = 1000  # a photograph with fewer is looked at again at twice its size
MAX_SIDE = 3200  # pixels of the larger side in which features are looked for
BYTES_PER_PIXEL = 100  # that one thread needs, at the size in which features are looked for


@dataclass(frozen=True)
class FeatureSettings:
    """How features are found.

    Args:
        most: features per photograph.
        doubled: look at photographs at twice their size, which finds three times as many features and takes four times
            as long.
        camera_model: the lens model that the cameras begin with.
        one_camera: photographs of one camera share its lens; otherwise each has its own.
    """

    most: int
    doubled: bool
    camera_model: str
    one_camera: bool


def extract_features(
    database: Path, folder: Path, photographs: Sequence[Photograph], settings: FeatureSettings, stage: Stage
) -> None:
    """Find the features of ``photographs`` in ``folder`` and keep them in ``database``, with one camera for each that
    took some. What is there already costs little, so that an interrupted call goes on."""
    done = 0
    threads = _threads(max((photograph.size for photograph in photographs), key=math.prod), settings.doubled)
    for names in _camera_groups(photographs, settings.one_camera):
        for start in range(0, len(names), FEATURE_BATCH):
            batch = names[start : start + FEATURE_BATCH]
            stage.run(
                functools.partial(_extract, database, folder, batch, names[0], settings, threads),
                functools.partial(int, done),
            )
            done += len(batch)


def forget_poor(database: Path) -> list[str]:
    """Take away the features of photographs that have few, for another look, and name these photographs.

    One without any counts too: it lost them in an earlier call that was interrupted, or it cannot be read.
    """
    with contextlib.closing(sqlite3.connect(database)) as tables, tables:
        rows = tables.execute(
            "SELECT images.image_id, name FROM images LEFT JOIN keypoints USING (image_id) WHERE COALESCE(rows, 0) < ?",
            (FEW_FEATURES,),
        ).fetchall()
        for table in ("keypoints", "descriptors"):
            tables.executemany(f"DELETE FROM {table} WHERE image_id = ?", [(number,) for number, _ in rows])
    return sorted(name for _, name in rows)


def _camera_groups(photographs: Sequence[Photograph], one_camera: bool) -> list[list[str]]:
    """Names of photographs that share a lens."""
    groups: dict[str, list[str]] = {}
    for photograph in photographs:
        groups.setdefault(photograph.camera if one_camera else photograph.name, []).append(photograph.name)
    return list(groups.values())


def _threads(size: tuple[int, int], doubled: bool) -> int:
    """How many photographs of a size can be looked at side by side: as many as there are processors, or as memory
    allows."""
    scale = min(1, MAX_SIDE / max(size)) * (2 if doubled else 1)
    needed = BYTES_PER_PIXEL * size[0] * size[1] * scale**2
    processors = os.cpu_count() or 1
    memory = available_memory()
    return processors if memory is None else max(1, min(processors, int(0.7 * memory / needed)))


def _extract(
    database: Path,
    folder: Path,
    names: list[str],
    first_of_camera: str,
    settings: FeatureSettings,
    threads: int,
    token: Any,
) -> None:
    import pycolmap

    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = settings.camera_model
    reader.existing_camera_id = _camera_of(database, first_of_camera)
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads = threads
    extraction.max_image_size = MAX_SIDE
    extraction.sift.max_num_features = settings.most
    extraction.sift.first_octave = -1 if settings.doubled else 0
    pycolmap.extract_features(
        database,
        folder,
        image_names=names,
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=reader,
        extraction_options=extraction,
        cancellation_token=token,
    )


def _camera_of(database: Path, name: str) -> int:
    """The camera of a photograph in the database, -1 where it is not there yet."""
    if not database.is_file():
        return -1
    with contextlib.closing(sqlite3.connect(database)) as tables:
        row = tables.execute("SELECT camera_id FROM images WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else -1
