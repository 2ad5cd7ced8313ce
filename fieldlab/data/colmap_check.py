"""Checks of a COLMAP model before it is parsed, so that errors name the file and the entry and no size is trusted."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fieldlab.errors import DataError

# Model names in the order of COLMAP's numbers, with how many parameters each has.
MODEL_PARAMETERS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12,
    "FOV": 5,
    "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5,
    "THIN_PRISM_FISHEYE": 12,
    "RAD_TAN_THIN_PRISM_FISHEYE": 16,
    "SIMPLE_DIVISION": 4,
    "DIVISION": 5,
    "SIMPLE_FISHEYE": 3,
    "FISHEYE": 4,
    "EUCM": 6,
    "EQUIRECTANGULAR": 2,
}
_FIRST_CAMERA_FIELDS = struct.Struct("<iiQQ")
_IMAGE_FIELDS = struct.Struct("<i7di")
_POINT_FIELDS = struct.Struct("<Q3d3Bd")
_COUNT = struct.Struct("<Q")


def check_model(folder: Path, suffix: str, supported: Collection[str]) -> None:
    """Check cameras, images and points3D of one folder, '.bin' or '.txt'.

    Raises:
        DataError: a file is missing, cut short or damaged, or uses a camera model that is not ``supported``.
    """
    points = folder / f"points3D{suffix}"
    if not points.is_file():
        raise DataError(
            "a COLMAP model has no points",
            file=points,
            found="no such file",
            expected="cameras, images and points3D",
            hint="an empty points3D.txt is enough when there are none",
        )
    if suffix == ".bin":
        cameras = _binary_cameras(folder / "cameras.bin", supported)
        _binary_images(folder / "images.bin", cameras)
        _binary_points(points)
    else:
        cameras = _text_cameras(folder / "cameras.txt", supported)
        _text_images(folder / "images.txt", cameras)


def refuse_model(file: Path, camera: int, model: str, supported: Collection[str]) -> DataError:
    """The error for a camera model that fieldlab does not know."""
    return DataError(
        "a camera model is not supported",
        file=file,
        field=f"camera {camera}",
        found=model,
        expected=f"one of {', '.join(supported)}",
        hint="run COLMAP's image_undistorter, or map again with the OPENCV model",
    )


class _Bytes:
    """A file read from front to back; raises DataError where it ends too early."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.data = file.read_bytes()
        self.position = 0

    def take(self, layout: struct.Struct, field: str) -> tuple[Any, ...]:
        self.need(layout.size, field)
        values = layout.unpack_from(self.data, self.position)
        self.position += layout.size
        return values

    def skip(self, size: int, field: str) -> None:
        self.need(size, field)
        self.position += size

    def skip_text(self, field: str) -> None:
        end = self.data.find(b"\0", self.position)
        self.skip((len(self.data) if end < 0 else end - self.position) + 1, field)

    def count(self, smallest: int, what: str) -> int:
        """A number of entries, which must fit in the rest of the file."""
        count: int
        (count,) = self.take(_COUNT, f"number of {what}")
        self.need(count * smallest, f"{count} {what}")
        return count

    def need(self, size: int, field: str) -> None:
        if self.position + size > len(self.data):
            raise DataError(
                "a COLMAP file is cut short",
                file=self.file,
                field=field,
                found=f"{len(self.data)} bytes",
                expected=f"at least {self.position + size}",
                hint="copy the file again or export the model again",
            )


def _binary_cameras(file: Path, supported: Collection[str]) -> set[int]:
    data = _Bytes(file)
    names = list(MODEL_PARAMETERS)
    cameras = set()
    for entry in range(data.count(_FIRST_CAMERA_FIELDS.size, "cameras")):
        camera, model, _, _ = data.take(_FIRST_CAMERA_FIELDS, f"entry {entry}")
        name = names[model] if 0 <= model < len(names) else f"number {model}"
        if name not in supported:
            raise refuse_model(file, camera, name, supported)
        length = MODEL_PARAMETERS[name]
        params = data.take(struct.Struct(f"<{length}d"), f"camera {camera}")
        _finite(params, file, f"camera {camera}")
        cameras.add(camera)
    return cameras


def _binary_images(file: Path, cameras: set[int]) -> None:
    data = _Bytes(file)
    for entry in range(data.count(_IMAGE_FIELDS.size + 9, "images")):
        image, *pose, camera = data.take(_IMAGE_FIELDS, f"entry {entry}")
        field = f"image {image}"
        _finite(pose, file, field)
        _known_camera(camera, cameras, file, field)
        data.skip_text(field)
        (observations,) = data.take(_COUNT, field)
        data.skip(24 * observations, field)


def _binary_points(file: Path) -> None:
    data = _Bytes(file)
    for entry in range(data.count(_POINT_FIELDS.size + 8, "points")):
        field = f"entry {entry}"
        data.skip(_POINT_FIELDS.size, field)
        (track,) = data.take(_COUNT, field)
        data.skip(8 * track, field)


def _text_cameras(file: Path, supported: Collection[str]) -> set[int]:
    cameras = set()
    for number, line in _lines(file):
        if not line:
            continue
        words = line.split()
        field = f"line {number}"
        camera = int(_numbers(words[:1], file, field, 1)[0])
        if len(words) < 4 or words[1] not in supported:
            raise refuse_model(file, camera, words[1] if len(words) > 1 else "nothing", supported)
        params = _numbers(words[2:], file, field, None)[2:]
        expected = MODEL_PARAMETERS.get(words[1])
        if expected is not None and len(params) != expected:
            raise DataError(
                "a camera has the wrong number of parameters",
                file=file,
                field=field,
                found=len(params),
                expected=f"{expected} for {words[1]}",
            )
        cameras.add(camera)
    return cameras


def _text_images(file: Path, cameras: set[int]) -> None:
    wants_image = True
    for number, line in _lines(file):
        if wants_image and not line:
            continue
        if wants_image:
            words = line.split()
            values = _numbers(words[:9], file, f"line {number}", 9)
            if len(words) < 10:
                raise DataError("an image has no name", file=file, field=f"line {number}", found=line[:60])
            _known_camera(int(values[8]), cameras, file, f"line {number}")
        wants_image = not wants_image


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and lines without comments."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError("a file is not text", file=file, found=str(error)) from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            yield number, line.strip()


def _numbers(words: list[str], file: Path, field: str, count: int | None) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise DataError("something is not a number", file=file, field=field, found=" ".join(words)[:80]) from error
    if count is not None and len(values) != count:
        raise DataError("a line is incomplete", file=file, field=field, found=f"{len(values)} numbers", expected=count)
    _finite(values, file, field)
    return values


def _finite(values: Collection[float], file: Path, field: str) -> None:
    if not all(math.isfinite(value) for value in values):
        raise DataError(
            "a COLMAP model holds numbers that are not finite",
            file=file,
            field=field,
            found=", ".join(str(value) for value in np.asarray(list(values))[~np.isfinite(list(values))][:4]),
            expected="finite numbers",
            hint="remove this entry or map again",
        )


def _known_camera(camera: int, cameras: set[int], file: Path, field: str) -> None:
    if camera not in cameras:
        known = ", ".join(str(number) for number in sorted(cameras)[:8])
        raise DataError(
            "an image names a camera that is not there", file=file, field=field, found=camera, expected=known
        )
