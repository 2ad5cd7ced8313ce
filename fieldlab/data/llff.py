"""LLFF captures: ``poses_bounds.npy`` beside folders ``images``, ``images_4``, ``images_8``.

A row holds a 3x5 matrix and two depths. Columns 0 to 2 are the camera axes down, right and backwards in the world,
column 3 the position, column 4 height, width and focal length in pixels (Mildenhall et al. 2019). Such files are made
from COLMAP models and lose lens distortion and points: a complete model beside one goes first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fieldlab.data.cameras import CameraModel
from fieldlab.data.colmap import find_model, read_colmap
from fieldlab.data.frames import Frame, Lens, Reading, Skips, check_number, check_pose, check_positive, orthonormal_note
from fieldlab.data.images import IMAGE_SUFFIXES, image_size
from fieldlab.data.options import SceneOptions
from fieldlab.data.transforms import mask_beside
from fieldlab.errors import DataError

MAX_VIEWS = 1_000_000


def read_llff(path: Path, options: SceneOptions, skips: Skips) -> Reading:
    """Read a folder with ``poses_bounds.npy``, or the COLMAP model beside it unless this format was asked for.

    Raises:
        DataError: the array has the wrong shape or values, or no folder holds one picture for each pose.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / "poses_bounds.npy"
    rows = _load(file)
    told: list[str] = []
    if options.format is None and (instead := _model_beside(folder, len(rows), options, told)) is not None:
        return instead
    images, notes = _choose_images(folder, file, len(rows), rows[0], options)
    deviations: list[float] = []

    def make(item: tuple[int, tuple[np.ndarray, Path]]) -> Frame:
        i, (row, image) = item
        name = f"row {i}"
        matrix, bounds = row[:15].reshape(3, 5), row[15:]
        down, right, back, position = matrix[:, :4].T
        pose, deviation = check_pose(np.stack((right, down, -back, position), axis=1), file, name)
        deviations.append(deviation)
        height, width, focal = (
            check_positive(float(value), file, name, what)
            for value, what in zip(matrix[:, 4], ("height", "width", "focal length"), strict=True)
        )
        near, far = (check_number(float(value), file, name, "a depth bound") for value in bounds)
        return Frame(
            name=image.relative_to(folder).as_posix(),
            image=image,
            camera_to_world=pose,
            lens=Lens(CameraModel.PERSPECTIVE, focal=(focal, focal), size=(round(width), round(height))),
            file=file,
            field=name,
            mask=mask_beside(folder, image),
            near_far=(near, far) if 0 < near < far else None,
        )

    frames = skips.collect(enumerate(zip(rows, images, strict=True)), make)
    return Reading("llff", folder, frames, notes=told + notes + orthonormal_note(deviations))


def _model_beside(folder: Path, count: int, options: SceneOptions, notes: list[str]) -> Reading | None:
    """The COLMAP model beside the file, if it has a pose for every one of ``count`` and its pictures are there."""
    if find_model(folder) is None:
        return None
    try:
        reading = read_colmap(folder, options, Skips(False))
    except DataError as error:
        lacking = error.what
    else:
        there = sum(frame.image.is_file() for frame in reading.frames)
        if there == len(reading.frames) >= count:
            reading.notes.append("poses_bounds.npy is not used: the COLMAP model beside it knows the lens distortion")
            return reading
        lacking = f"{there} of its {len(reading.frames)} pictures are there, for {count} poses"
    notes.append(f"poses come from poses_bounds.npy, not from the COLMAP model beside it: {lacking}")
    return None


def _load(file: Path) -> np.ndarray:
    try:
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError("the poses are missing", file=file, found="no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError("the poses cannot be read", file=file, found=str(error), expected="a NumPy array") from error
    if rows.ndim != 2 or rows.shape[1] != 17 or not 0 < len(rows) < MAX_VIEWS or rows.dtype.kind != "f":
        raise DataError(
            "the poses have the wrong shape",
            file=file,
            found=f"{rows.dtype} {list(rows.shape)}",
            expected="floats [N, 17]: a 3x5 matrix and two depths in each row",
        )
    return np.array(rows, dtype=np.float64)


def _choose_images(
    folder: Path, file: Path, count: int, row: np.ndarray, options: SceneOptions
) -> tuple[list[Path], list[str]]:
    """Pictures for ``count`` poses in order of name, from the folder with the largest pictures.

    A folder called ``images_8`` whose pictures are indeed an eighth of the size in the file goes before one whose
    name and pictures disagree, since that one may hold previews.
    """
    stated = row[4::5][1]
    names = [options.images] if options.images else ["images", *(f"images_{n}" for n in (2, 4, 8, 16))]
    found, choices = [], []
    for name in names:
        files = _pictures(folder / name)
        found.append(f"{name} {len(files)}")
        if len(files) != count:
            continue
        width, _, _ = image_size(files[0])
        factor = int(name.rpartition("_")[2]) if "_" in name and name.rpartition("_")[2].isdigit() else 1
        choices.append((abs(width * factor - stated) <= factor, width, files, name))
    if not choices:
        raise DataError(
            "the number of pictures differs from the number of poses",
            file=file,
            found=f"{count} poses; pictures: {', '.join(found)}",
            expected="a folder with one picture for each pose",
            hint="poses belong to pictures in order of name; remove pictures that were not registered",
        )
    _, width, files, name = max(choices, key=lambda choice: choice[:2])
    return files, [f"pictures come from {name} ({width} of {stated:.0f} pixels wide)"]


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
