"""What a reader hands over: frames with pose, lens and picture file, before any pixel is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from fieldlab.data.cameras import CameraModel
from fieldlab.errors import DataError

POSE_TOLERANCE = 1e-3
ROUNDING = 1e-5  # deviations from a rotation below this are rounding in the file, not worth a note

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Lens:
    """Intrinsics as a file states them; missing values follow from the size of the picture.

    Args:
        focal: fx, fy in pixels of the stated size, either may be None.
        center: cx, cy in pixels of the stated size, either may be None.
        angle: horizontal and vertical field of view in radians, used where a focal length is missing.
        size: the stated width and height, or None when the file does not say.
        distortion: six coefficients in the order of :class:`fieldlab.data.cameras.Cameras`.
    """

    model: CameraModel
    focal: tuple[float | None, float | None] = (None, None)
    center: tuple[float | None, float | None] = (None, None)
    angle: tuple[float | None, float | None] = (None, None)
    size: tuple[int, int] | None = None
    distortion: tuple[float, ...] = (0.0,) * 6

    def intrinsics(self, width: int, height: int) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy for a picture of this size, which has the aspect ratio of the stated size.

        Raises:
            ValueError: neither a focal length nor a field of view is known.
        """
        if self.model == CameraModel.EQUIRECTANGULAR:
            return width / (2 * math.pi), height / math.pi, width / 2, height / 2
        stated = self.size or (width, height)
        scale = (width / stated[0], height / stated[1])
        fx, fy = (self._focal(axis, stated[axis]) for axis in (0, 1))
        fx, fy = fx or fy, fy or fx
        if fx is None or fy is None:
            raise ValueError("no focal length")
        cx, cy = (stated[axis] / 2 if value is None else value for axis, value in enumerate(self.center))
        return fx * scale[0], fy * scale[1], cx * scale[0], cy * scale[1]

    def _focal(self, axis: int, side: int) -> float | None:
        if self.focal[axis] is not None:
            return self.focal[axis]
        angle = self.angle[axis]
        return None if angle is None else 0.5 * side / math.tan(0.5 * angle)


@dataclass
class Frame:
    """One view before its picture is read.

    Args:
        name: how people know it; the path of its picture within the scene, with forward slashes.
        image: the picture file.
        camera_to_world: float64 [3,4], OpenCV axes.
        file, field: where the frame is described, for messages.
        mask: a picture whose black pixels are to be ignored.
        split: 'train', 'test' or 'val' when the data set says so.
        near_far: z-depth of the nearest and farthest content when the file says so.
    """

    name: str
    image: Path
    camera_to_world: np.ndarray
    lens: Lens
    file: Path
    field: str
    mask: Path | None = None
    split: str | None = None
    near_far: tuple[float, float] | None = None


@dataclass
class Reading:
    """Everything a reader found in the files of a scene.

    Args:
        points, point_colors: sparse points float64 [P,3] and uint8 [P,3].
        point_weights: float64 [P], how many views saw each point.
        aabb: float64 [2,3], a box given in the file.
        unbounded: what the file says about content outside the box; None when it says nothing.
        depth_of: reads the depth that a sensor measured for a frame, see :mod:`fieldlab.data.depth_maps`.
    """

    format: str
    source: Path
    frames: list[Frame]
    points: np.ndarray | None = None
    point_colors: np.ndarray | None = None
    point_weights: np.ndarray | None = None
    aabb: np.ndarray | None = None
    unbounded: bool | None = None
    notes: list[str] = field(default_factory=list)
    depth_of: Callable[[Frame], np.ndarray | None] | None = None


class Skips:
    """Either stops at the first bad frame or leaves it out and remembers why."""

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed
        self.errors: list[DataError] = []

    def collect(self, items: Iterable[U], make: Callable[[U], T]) -> list[T]:
        """``make`` of every item; items that raise DataError are left out when that is allowed."""
        made = []
        for item in items:
            try:
                made.append(make(item))
            except DataError as error:
                self.add(error)
        return made

    def add(self, error: DataError) -> None:
        """Remember a bad frame, or raise it when frames may not be skipped."""
        if not self.allowed:
            raise error
        self.errors.append(error)

    def notes(self) -> list[str]:
        if not self.errors:
            return []
        first = self.errors[0]
        where = f" ({first.file})" if first.file else ""
        return [f"{len(self.errors)} frames were skipped; the first because {first.what}{where}"]


def check_pose(matrix: object, file: Path, name: str) -> tuple[np.ndarray, float]:
    """A camera-to-world matrix [3,4] or [4,4] as float64 [3,4] with an exact rotation, and how far off it was.

    Raises:
        DataError: wrong shape, not finite, a scale in it, mirrored, or more than 1e-3 away from a rotation.
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            "a pose is not a matrix of numbers", file=file, field=name, found=_short(matrix), expected="4x4 numbers"
        ) from error
    if pose.shape not in ((3, 4), (4, 4)):
        raise DataError(
            "a pose has the wrong shape", file=file, field=name, found=list(pose.shape), expected="4x4 or 3x4"
        )
    if not np.isfinite(pose).all():
        raise DataError(
            "a pose holds numbers that are not finite",
            file=file,
            field=name,
            found=_short(pose[~np.isfinite(pose)].tolist()),
            expected="finite numbers",
            hint="remove this frame or estimate its pose again; skipping bad frames leaves it out",
        )
    if pose.shape == (4, 4) and not np.allclose(pose[3], (0, 0, 0, 1), atol=1e-6):
        raise DataError(
            "the last row of a pose is not 0 0 0 1",
            file=file,
            field=name,
            found=pose[3].tolist(),
            expected=[0, 0, 0, 1],
            hint="the matrix may be stored transposed",
        )
    rotation, deviation = _nearest_rotation(pose[:3, :3], file, name)
    return np.concatenate((rotation, pose[:3, 3:]), axis=1), deviation


def _nearest_rotation(matrix: np.ndarray, file: Path, name: str) -> tuple[np.ndarray, float]:
    u, singular, vt = np.linalg.svd(matrix)
    deviation = float(np.abs(singular - 1).max())
    scale = float(singular.mean())
    if deviation > POSE_TOLERANCE:
        uniform = scale > 0 and float(np.ptp(singular)) <= POSE_TOLERANCE * scale
        raise DataError(
            "the rotation of a pose is scaled" if uniform else "the rotation of a pose is not orthonormal",
            file=file,
            field=name,
            found=f"axis lengths {', '.join(f'{value:.6g}' for value in np.linalg.norm(matrix, axis=0))}",
            expected="three perpendicular axes of length 1",
            hint=f"divide the 3x3 part by {scale:.6g}; the position stays as it is"
            if uniform
            else "the matrix may be transposed, sheared or damaged; export the poses again",
        )
    rotation = u @ vt
    if np.linalg.det(rotation) < 0:
        raise DataError(
            "the rotation of a pose is a mirror image",
            file=file,
            field=name,
            found="determinant -1",
            expected="determinant +1",
            hint="one axis is flipped or two are swapped: write x right, y up, z backward (OpenGL) as columns",
        )
    return rotation, deviation


def check_positive(value: object, file: Path, name: str, what: str) -> float:
    """``value`` as a finite positive number.

    Raises:
        DataError: it is something else.
    """
    number = check_number(value, file, name, what)
    if number <= 0:
        raise DataError(f"{what} must be positive", file=file, field=name, found=value, expected="a number above 0")
    return number


def check_number(value: object, file: Path, name: str, what: str) -> float:
    """``value`` as a finite number.

    Raises:
        DataError: it is something else.
    """
    number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{what} is not a finite number", file=file, field=name, found=_short(value), expected="a number"
        )
    return number


def check_unique(frames: list[Frame], skips: Skips) -> list[Frame]:
    """The frames without those whose picture a frame of the same split already has.

    Raises:
        DataError: there is a duplicate and frames may not be skipped.
    """
    seen: dict[tuple[str | None, Path], Frame] = {}
    kept = []
    for frame in frames:
        first = seen.setdefault((frame.split, frame.image), frame)
        if first is frame:
            kept.append(frame)
        else:
            skips.add(
                DataError(
                    f"the picture {frame.name} is listed twice",
                    file=frame.file,
                    field=frame.field,
                    found=f"{frame.name}, also in {first.field}",
                    expected="every picture once",
                    hint="remove one of the two entries",
                )
            )
    return kept


def orthonormal_note(deviations: list[float]) -> list[str]:
    """A note when rotations had to be mended by more than rounding."""
    mended = [value for value in deviations if value > ROUNDING]
    if not mended:
        return []
    return [f"the rotations of {len(mended)} poses were off by up to {max(mended):.1e} and were made orthonormal"]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
