"""Raw exports of Polycam: a folder ``keyframes`` with a camera as JSON for each picture.

A camera holds the rows ``t_00`` to ``t_23`` of camera-to-world in ARKit's world (meters, y up) with OpenGL camera axes,
and fx, fy, cx, cy in pixels of ``width`` by ``height``. ``corrected_cameras`` and ``corrected_images`` have poses that
were optimized together and pictures without lens distortion; they are not there when a capture was too long.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fieldlab.data.cameras import CameraModel
from fieldlab.data.depth_maps import read_gray
from fieldlab.data.frames import Frame, Lens, Reading, Skips, check_number, check_pose, check_positive, orthonormal_note
from fieldlab.data.images import IMAGE_SUFFIXES
from fieldlab.data.json_file import read_object
from fieldlab.data.options import SceneOptions
from fieldlab.data.transforms import OPENGL, mask_beside
from fieldlab.errors import DataError

FOLDER = "keyframes"
KINDS = (("corrected_cameras", "corrected_images"), ("cameras", "images"))
MILLIMETER = 1e-3
CONFIDENT = 255  # of 0, 127 and 255


def find_polycam(path: Path) -> tuple[Path, Path] | None:
    """Folders of cameras and pictures beneath ``path``, the capture or its ``keyframes``: the corrected ones if both
    are there; None without."""
    for root in (path / FOLDER, path):
        for cameras, images in KINDS:
            # The names alone are too common to tell Polycam's folders from others outside of keyframes.
            known = root.name == FOLDER or cameras != "cameras"
            if known and (root / images).is_dir() and next((root / cameras).glob("*.json"), None):
                return root / cameras, root / images
    return None


def read_polycam(path: Path, options: SceneOptions, skips: Skips) -> Reading:
    """Read a raw export; ``path`` is its folder or the folder ``keyframes`` in it.

    Raises:
        DataError: there are no cameras, or something in one is missing or wrong.
    """
    found = find_polycam(path)
    if found is None:
        raise DataError(
            "there is no raw export of Polycam here",
            file=path,
            expected=f"{FOLDER}/cameras with JSON files and {FOLDER}/images",
            hint="turn on developer mode in Polycam and export raw data",
        )
    cameras, images = found
    root = cameras.parent
    pictures = {image.stem: image for image in images.iterdir() if image.suffix.lower() in IMAGE_SUFFIXES}
    deviations: list[float] = []

    def make(file: Path) -> Frame:
        data = read_object(file, "a camera")
        image = pictures.get(file.stem, images / f"{file.stem}.jpg")  # what is missing is said when it is opened
        pose, deviation = _pose(file, data)
        deviations.append(deviation)
        return Frame(
            name=image.relative_to(root).as_posix(),
            image=image,
            camera_to_world=pose,
            lens=_lens(file, data),
            file=file,
            field=file.stem,
            mask=mask_beside(root, image),
        )

    frames = skips.collect(sorted(cameras.glob("*.json"), key=_order), make)
    notes = orthonormal_note(deviations)
    if cameras.name != KINDS[0][0]:
        notes.append("poses are those of the telephone, not optimized, and lens distortion is not known")
    elif (rest := len(list((root / KINDS[1][0]).glob("*.json"))) - len(frames) - len(skips.errors)) > 0:
        notes.append(f"{rest} pictures have no corrected pose and are left out")
    return Reading("polycam", path, frames, notes=notes, depth_of=_depth)


def _order(file: Path) -> tuple[int, str]:
    """Names are times; shorter ones are earlier."""
    return len(file.stem), file.stem


def _pose(file: Path, data: dict[str, Any]) -> tuple[np.ndarray, float]:
    """OpenCV camera-to-world [3,4], and how far from a rotation it was."""
    matrix = [[_number(file, data, f"t_{row}{column}") for column in range(4)] for row in range(3)]
    pose, deviation = check_pose(matrix, file, "t_00 to t_23")
    pose[:, :3] *= OPENGL
    return pose, deviation


def _lens(file: Path, data: dict[str, Any]) -> Lens:
    fx, fy, width, height = (check_positive(data.get(key), file, key, key) for key in ("fx", "fy", "width", "height"))
    return Lens(
        CameraModel.PERSPECTIVE,
        focal=(fx, fy),
        center=(_number(file, data, "cx"), _number(file, data, "cy")),
        size=(max(1, round(width)), max(1, round(height))),
    )


def _number(file: Path, data: dict[str, Any], key: str) -> float:
    return check_number(data.get(key), file, key, key)


def _depth(frame: Frame) -> np.ndarray | None:
    """Meters, 0 where the sensor was not confident; None without."""
    root, name = frame.file.parent.parent, f"{frame.file.stem}.png"
    file, confidence = root / "depth" / name, root / "confidence" / name
    if not file.is_file():
        return None
    depth = MILLIMETER * read_gray(file)
    if confidence.is_file():
        sure = read_gray(confidence)
        if sure.shape != depth.shape:
            raise DataError(
                "a confidence map has another size than its depth map",
                file=confidence,
                found=f"{sure.shape[1]}x{sure.shape[0]}",
                expected=f"{depth.shape[1]}x{depth.shape[0]}",
            )
        depth[sure < CONFIDENT] = 0
    return depth
