"""``transforms.json`` as nerfstudio and instant-ngp write it: one file, OpenGL camera-to-world axes.

The writer is in :mod:`fieldlab.export.cameras_files`.
"""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fieldlab.data.cameras import CameraModel
from fieldlab.data.frames import (
    Frame,
    Lens,
    Reading,
    Skips,
    check_number,
    check_pose,
    check_positive,
    orthonormal_note,
)
from fieldlab.data.images import IMAGE_SUFFIXES
from fieldlab.data.json_file import read_json
from fieldlab.data.options import SceneOptions
from fieldlab.data.points import read_ply_points
from fieldlab.errors import DataError

OPENGL = np.array([1.0, -1.0, -1.0])  # y and z change sign between OpenGL and OpenCV camera axes
NGP_SCALE, NGP_OFFSET = 0.33, 0.5  # instant-ngp's default map from the file's units to its unit cube

_MODELS = {
    "SIMPLE_PINHOLE": CameraModel.PERSPECTIVE,
    "PINHOLE": CameraModel.PERSPECTIVE,
    "PERSPECTIVE": CameraModel.PERSPECTIVE,
    "SIMPLE_RADIAL": CameraModel.PERSPECTIVE,
    "RADIAL": CameraModel.PERSPECTIVE,
    "OPENCV": CameraModel.PERSPECTIVE,
    "OPENCV_FISHEYE": CameraModel.FISHEYE,
    "FISHEYE": CameraModel.FISHEYE,
    "EQUIRECTANGULAR": CameraModel.EQUIRECTANGULAR,
}
_SPLIT_LISTS = {"train_filenames": "train", "val_filenames": "val", "test_filenames": "test"}


def read_transforms(path: Path, options: SceneOptions, skips: Skips) -> Reading:
    """Read one ``transforms.json``.

    Args:
        path: the file itself or the folder that holds it.

    Raises:
        DataError: something in the file is missing or wrong.
    """
    file = path / "transforms.json" if path.is_dir() else path
    data = load_json(file)
    notes: list[str] = []
    frames = parse_frames(file, data, skips, notes)
    _assign_splits(file, data, frames)
    aabb, unbounded = _ngp_box(file, data)
    if data.get("rolling_shutter"):
        notes.append("rolling_shutter is ignored: every picture is taken to show one instant")
    reading = Reading("transforms", file, frames, aabb=aabb, unbounded=unbounded, notes=notes)
    if isinstance(ply := data.get("ply_file_path"), str):
        ply_file = file.parent / ply
        if ply_file.is_file():
            reading.points, reading.point_colors = read_ply_points(ply_file)
        else:
            notes.append(f"the sparse points {ply} are not there; bounds come from the cameras instead")
    return reading


def load_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: missing, not JSON, or not an object with a list of frames.
    """
    data = read_json(file, "a transforms file")
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list):
        raise DataError(
            "a transforms file has no list of frames",
            file=file,
            field="frames",
            found=type(frames).__name__ if isinstance(data, dict) else type(data).__name__,
            expected="a list with file_path and transform_matrix",
        )
    checked: dict[str, Any] = data
    return checked


def parse_frames(
    file: Path, data: dict[str, Any], skips: Skips, notes: list[str], split: str | None = None
) -> list[Frame]:
    """The frames of a transforms file, sorted as in the file; bad ones go to ``skips``."""
    deviations: list[float] = []

    def make(item: tuple[int, Any]) -> Frame:
        i, entry = item
        if not isinstance(entry, dict):
            raise DataError("a frame is not an object", file=file, field=f"frames[{i}]", found=type(entry).__name__)
        path = entry.get("file_path")
        if not isinstance(path, str) or not path:
            raise DataError(
                "a frame has no file_path", file=file, field=f"frames[{i}].file_path", found=path, expected="a path"
            )
        if "transform_matrix" not in entry:
            raise DataError(
                "a frame has no transform_matrix",
                file=file,
                field=f"frames[{i}].transform_matrix",
                found=f"keys {', '.join(entry)}",
                expected="a 4x4 camera-to-world matrix",
                hint="were some pictures not registered? Remove their frames, or leave them out with --skip-bad-frames",
            )
        pose, deviation = check_pose(entry["transform_matrix"], file, f"frames[{i}].transform_matrix")
        deviations.append(deviation)
        pose[:, :3] *= OPENGL
        image = find_image(file.parent, path)
        mask = entry.get("mask_path")
        return Frame(
            name=_name(image, file.parent),
            image=image,
            camera_to_world=pose,
            lens=_lens(file, data, entry, i),
            file=file,
            field=f"frames[{i}].file_path",
            mask=_mask_file(file, i, mask) if mask else mask_beside(file.parent, image),
            split=split,
        )

    frames = skips.collect(enumerate(data["frames"]), make)
    notes += orthonormal_note(deviations)
    return frames


def find_image(folder: Path, path: str) -> Path:
    """The picture a file_path means: as written, or with the extension it leaves out (.png unless another exists)."""
    plain = folder / PurePosixPath(path.replace("\\", "/"))
    if plain.suffix.lower() in IMAGE_SUFFIXES:
        return plain
    candidates = [plain.with_name(plain.name + suffix) for suffix in IMAGE_SUFFIXES]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])


def mask_beside(folder: Path, image: Path) -> Path | None:
    """The mask of a picture in the folder ``masks`` of a scene, if there is one.

    ``images/a/b.jpg`` has its mask in ``masks/a/b.png``, ``masks/a/b.jpg.png`` or ``masks/images/a/b.png``.
    """
    root = folder / "masks"
    if not root.is_dir():
        return None
    try:
        relative = image.relative_to(folder)
    except ValueError:
        relative = Path(image.name)
    places = [relative]
    if len(relative.parts) > 1:
        places.insert(0, Path(*relative.parts[1:]))
    for place in places:
        for name in (place.stem + ".png", place.name + ".png", place.name):
            if (candidate := root / place.parent / name).is_file():
                return candidate
    return None


def _name(image: Path, folder: Path) -> str:
    try:
        return image.relative_to(folder).as_posix()
    except ValueError:
        return image.name


def _mask_file(file: Path, i: int, mask: object) -> Path:
    if not isinstance(mask, str) or not (path := file.parent / mask).is_file():
        raise DataError(
            "a mask is missing",
            file=file,
            field=f"frames[{i}].mask_path",
            found=mask,
            expected="a picture, black where pixels are to be ignored",
        )
    return path


def _lens(file: Path, data: dict[str, Any], entry: dict[str, Any], i: int) -> Lens:
    """The lens of a frame: its own values, else those of the whole file."""

    def where(key: str) -> str:
        return f"frames[{i}].{key}" if key in entry else key

    def value(key: str) -> Any:
        return entry.get(key, data.get(key))

    def positive(key: str) -> float | None:
        return None if value(key) is None else check_positive(value(key), file, where(key), key)

    def number(key: str) -> float | None:
        return None if value(key) is None else check_number(value(key), file, where(key), key)

    def angle(key: str) -> float | None:
        found = positive(key)
        if found is not None and found >= math.pi:
            raise DataError(
                "a field of view is too large", file=file, field=where(key), found=found, expected="radians, below pi"
            )
        return found

    model = _model(file, value("camera_model"), bool(value("is_fisheye")), where("camera_model"))
    width, height = positive("w"), positive("h")
    keys = ("k1", "k2", "k3", "k4") if model == CameraModel.FISHEYE else ("k1", "k2", "p1", "p2", "k3", "k4")
    distortion = [number(key) or 0.0 for key in keys]
    return Lens(
        model=model,
        focal=(positive("fl_x"), positive("fl_y")),
        center=(number("cx"), number("cy")),
        angle=(angle("camera_angle_x"), angle("camera_angle_y")) if model == CameraModel.PERSPECTIVE else (None, None),
        size=(round(width), round(height)) if width and height else None,
        distortion=tuple(distortion + [0.0] * (6 - len(distortion))),
    )


def _model(file: Path, name: object, is_fisheye: bool, field: str) -> CameraModel:
    if name is None:
        return CameraModel.FISHEYE if is_fisheye else CameraModel.PERSPECTIVE
    if not isinstance(name, str) or name.upper() not in _MODELS:
        raise DataError(
            "a camera model is not supported",
            file=file,
            field=field,
            found=name,
            expected=f"one of {', '.join(_MODELS)}",
            hint="undistort the pictures to a pinhole camera first",
        )
    return _MODELS[name.upper()]


def _assign_splits(file: Path, data: dict[str, Any], frames: list[Frame]) -> None:
    """nerfstudio's lists of file names; frames that no list names stay out when there are lists."""
    lists = {split: data[key] for key, split in _SPLIT_LISTS.items() if key in data}
    if not lists:
        return
    by_name = {frame.name: frame for frame in frames}
    for split, names in lists.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError("a list of file names is wrong", file=file, field=f"{split}_filenames", expected="strings")
        for name in names:
            frame = by_name.get(_name(find_image(file.parent, name), file.parent))
            if frame is not None:
                frame.split = split
    frames[:] = [frame for frame in frames if frame.split is not None]


def _ngp_box(file: Path, data: dict[str, Any]) -> tuple[np.ndarray | None, bool | None]:
    """instant-ngp's box in the file's units, and whether there is more outside.

    A point p of the file is at p * scale + offset there, and the box is a cube of side ``aabb_scale`` about 0.5.
    With ``aabb_scale`` 1 everything is inside the cube; larger values say how far the background reaches, which
    contraction answers better than a larger box.
    """
    if "aabb_scale" not in data:
        return None, None
    size = check_positive(data["aabb_scale"], file, "aabb_scale", "aabb_scale")
    if size > 1:
        return None, True
    scale = check_positive(data.get("scale", NGP_SCALE), file, "scale", "scale")
    offset = np.asarray(data.get("offset", [NGP_OFFSET] * 3), dtype=np.float64)
    if offset.shape != (3,) or not np.isfinite(offset).all():
        raise DataError("the offset is wrong", file=file, field="offset", found=data["offset"], expected="3 numbers")
    center, half = (0.5 - offset) / scale, 0.5 * size / scale
    return np.stack((center - half, center + half)), False
