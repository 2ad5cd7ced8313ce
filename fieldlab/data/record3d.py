"""Captures of Record3D: ``metadata.json`` beside ``rgb`` and ``depth`` (the EXR export), or beside ``rgbd``.

A pose is the camera's quaternion x y z w and position in ARKit's world (meters, y up), with OpenGL camera axes. ``K``
is the camera matrix by columns, in pixels of the size ``w`` by ``h``; ``perFrameIntrinsicCoeffs`` holds fx, fy, cx, cy
of each frame, which change as the lens focuses. Pictures are numbered as poses are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from fieldlab.data.cameras import CameraModel
from fieldlab.data.depth_maps import read_exr_depth
from fieldlab.data.frames import Frame, Lens, Reading, Skips, check_number, check_pose, check_positive
from fieldlab.data.images import IMAGE_SUFFIXES
from fieldlab.data.json_file import read_object
from fieldlab.data.options import SceneOptions
from fieldlab.data.transforms import OPENGL, mask_beside
from fieldlab.errors import DataError

FOLDERS = (".", "EXR_RGBD")  # where exports keep the metadata
FILES = ("metadata.json", "metadata")
PICTURES = ("rgb", "rgbd")
UNIT = 1e-3  # how far from 1 the length of a quaternion may be


def find_record3d(path: Path) -> Path | None:
    """The metadata of a capture: ``path`` itself, or in the folder ``path`` or its ``EXR_RGBD``; None without."""
    if path.is_file():
        places = [path] if path.name in FILES else []
    else:
        places = [path / folder / name for folder in FOLDERS for name in FILES]
    return next((file for file in places if file.is_file() and _picture_folder(file) is not None), None)


def read_record3d(path: Path, options: SceneOptions, skips: Skips) -> Reading:
    """Read a capture as Record3D exports it; ``path`` is the folder or its metadata.

    Raises:
        DataError: something in the metadata is missing or wrong, or there are no pictures.
    """
    file = find_record3d(path)
    if file is None:
        raise DataError(
            "there is no capture of Record3D here",
            file=path,
            expected=f"{FILES[0]} beside a folder {' or '.join(PICTURES)}",
        )
    data = read_object(file, "the metadata")
    pictures, poses = _pictures(file), _list(file, data, "poses")
    size = (_side(file, data, "w"), _side(file, data, "h"))
    shared = _camera_matrix(file, data)
    own = _list(file, data, "perFrameIntrinsicCoeffs") if data.get("perFrameIntrinsicCoeffs") else None

    def make(i: int) -> Frame:
        focal, center = shared if own is None else _coefficients(file, own, i)
        image = pictures[i]
        return Frame(
            name=image.relative_to(file.parent).as_posix(),
            image=image,
            camera_to_world=_pose(file, poses[i], f"poses[{i}]"),
            lens=Lens(CameraModel.PERSPECTIVE, focal=focal, center=center, size=size),
            file=file,
            field=f"poses[{i}]",
            mask=mask_beside(file.parent, image),
        )

    frames = skips.collect(sorted(i for i in pictures if i < len(poses)), make)
    reading = Reading("record3d", file, frames, depth_of=_depth)
    if len(frames) + len(skips.errors) < max(len(poses), len(pictures)):
        reading.notes.append(f"{len(poses)} poses and {len(pictures)} pictures: what has no counterpart is left out")
    return reading


def _picture_folder(file: Path) -> Path | None:
    return next((file.parent / name for name in PICTURES if (file.parent / name).is_dir()), None)


def _pictures(file: Path) -> dict[int, Path]:
    """Pictures by the number of their pose."""
    folder = _picture_folder(file)
    found = {} if folder is None else {
        int(image.stem): image
        for image in folder.iterdir()
        if image.suffix.lower() in IMAGE_SUFFIXES and image.stem.isdecimal()
    }  # fmt: skip
    if not found:
        raise DataError(
            "a capture has no pictures",
            file=folder,
            found="no numbered pictures",
            expected="0.jpg, 1.jpg and so on",
            hint="export the capture again as EXR + JPG sequence",
        )
    return found


def _depth(frame: Frame) -> np.ndarray | None:
    """Meters; None without. Depth beside pictures in ``rgbd`` is compressed in a way that is not read."""
    file = frame.file.parent / "depth" / f"{frame.image.stem}.exr"
    return read_exr_depth(file) if file.is_file() else None


def _list(file: Path, data: dict[str, Any], name: str) -> list[Any]:
    values = data.get(name)
    if not isinstance(values, list) or not values:
        raise DataError(
            f"the metadata has no {name}", file=file, field=name, found=type(values).__name__, expected="a list"
        )
    return values


def _side(file: Path, data: dict[str, Any], name: str) -> int:
    return max(1, round(check_positive(data.get(name), file, name, "the size of the pictures")))


def _numbers(file: Path, value: object, name: str, count: int, what: str) -> list[float]:
    """``count`` finite numbers."""
    if not isinstance(value, list) or len(value) != count:
        raise DataError(f"{what} is wrong", file=file, field=name, found=value, expected=f"{count} numbers")
    return [check_number(number, file, f"{name}[{k}]", what) for k, number in enumerate(value)]


def _pose(file: Path, value: object, name: str) -> np.ndarray:
    """OpenCV camera-to-world [3,4] of a quaternion x y z w and a position."""
    numbers = np.array(_numbers(file, value, name, 7, "a pose"))
    length = float(np.linalg.norm(numbers[:4]))
    if abs(length - 1) > UNIT:
        raise DataError(
            "the quaternion of a pose has no unit length",
            file=file,
            field=name,
            found=f"length {length:.6g}",
            expected="qx qy qz qw of length 1, then the position",
        )
    rotation = Rotation.from_quat(numbers[:4]).as_matrix()
    pose, _ = check_pose(np.concatenate((rotation, numbers[4:, None]), axis=1), file, name)
    pose[:, :3] *= OPENGL
    return pose


def _camera_matrix(file: Path, data: dict[str, Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """fx, fy and cx, cy of ``K``."""
    matrix = _numbers(file, data.get("K"), "K", 9, "the camera matrix")
    return _checked(file, (matrix[0], matrix[4], matrix[6], matrix[7]), "K")


def _coefficients(file: Path, values: list[Any], i: int) -> tuple[tuple[float, float], tuple[float, float]]:
    name = f"perFrameIntrinsicCoeffs[{i}]"
    if i >= len(values):
        raise DataError(
            "a frame has no intrinsics", file=file, field=name, found=f"{len(values)} frames", expected="every frame's"
        )
    fx, fy, cx, cy = _numbers(file, values[i], name, 4, "the intrinsics of a frame")
    return _checked(file, (fx, fy, cx, cy), name)


def _checked(
    file: Path, values: tuple[float, float, float, float], name: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    fx, fy = (check_positive(value, file, name, "a focal length") for value in values[:2])
    return (fx, fy), (values[2], values[3])
