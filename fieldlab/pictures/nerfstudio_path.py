"""Camera paths as JSON in the form nerfstudio's viewer saves them.

Poses are 4x4 camera-to-world matrices, row after row, with OpenGL axes; ``fov`` is vertical and in degrees. They are
taken to be in the scene's own world frame and units.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.errors import DataError
from fieldlab.files import write_json
from fieldlab.pictures.camera_path import MAX_FRAMES

MAX_FILE_BYTES = 256 << 20
OPENGL = np.diag([1.0, -1.0, -1.0])
MODELS = {
    "perspective": CameraModel.PERSPECTIVE,
    "fisheye": CameraModel.FISHEYE,
    "equirectangular": CameraModel.EQUIRECTANGULAR,
}


@dataclass(frozen=True)
class CameraPath:
    """Cameras to be shown one after another, ``fps`` of them per second."""

    cameras: Cameras
    fps: float


def read_camera_path(path: str | Path, size: tuple[int, int] | None = None) -> CameraPath:
    """Read a camera path; ``size`` (width, height) replaces the size in the file.

    Raises:
        DataError: the file is missing, not JSON, or a value in it is missing or impossible.
    """
    path = Path(path)
    content = load_json(path)
    entries = content.get("camera_path")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_FRAMES:
        found = f"{len(entries)} entries" if isinstance(entries, list) else entries
        raise DataError(
            "a camera path holds no list of cameras", file=path, field="camera_path", found=found,
            expected=f"1 to {MAX_FRAMES} cameras",
        )  # fmt: skip
    name = content.get("camera_type", "perspective")
    if name not in MODELS:
        raise DataError(
            "a camera path has a camera type that is not known",
            file=path,
            field="camera_type",
            found=name,
            expected=", ".join(MODELS),
        )
    if size is None:
        width, height = (round(_number(path, content, f"render_{side}", 1, 16384)) for side in ("width", "height"))
        size = (width, height)
    poses = np.stack([_pose(path, i, entry) for i, entry in enumerate(entries)])
    angles = [_angle(path, i, entry, MODELS[name]) for i, entry in enumerate(entries)]
    return CameraPath(_cameras(poses, angles, size, MODELS[name]), _fps(path, content, len(entries)))


def write_camera_path(path: str | Path, made: CameraPath) -> None:
    """Write pinhole cameras of one size as a camera path that :func:`read_camera_path` and nerfstudio read.

    Raises:
        DataError: the cameras are not pinhole cameras of one size.
        RunFolderError: the file cannot be written.
    """
    write_json(path, camera_path_entries(made, path))


def camera_path_entries(made: CameraPath, path: str | Path | None = None) -> dict[str, Any]:
    """What the file of a camera path holds.

    Raises:
        DataError: the cameras are not pinhole cameras of one size.
    """
    cameras = made.cameras.to("cpu")
    same_size = bool((cameras.size == cameras.size[:1]).all())
    if not same_size or bool((cameras.model != CameraModel.PERSPECTIVE).any()):
        raise DataError("only pinhole cameras of one size make a camera path", file=path)
    width, height = cameras.size[0].tolist()
    entries = []
    for pose, intrinsics in zip(cameras.camera_to_world.double().numpy(), cameras.intrinsics.tolist(), strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = pose[:, :3] @ OPENGL, pose[:, 3]
        fov = math.degrees(2 * math.atan(0.5 * height / intrinsics[1]))
        entries.append({"camera_to_world": matrix.ravel().tolist(), "fov": fov, "aspect": width / height})
    return {
        "camera_type": "perspective",
        "render_width": width,
        "render_height": height,
        "fps": made.fps,
        "seconds": len(entries) / made.fps,
        "camera_path": entries,
    }


def load_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of reasonable size.

    Raises:
        DataError: it is missing, too large, or none.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError("a camera path is too large", file=path, found=f"{path.stat().st_size} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError("a camera path cannot be read", file=path, found=error.strerror) from error
    except ValueError as error:
        raise DataError("a camera path is not JSON", file=path, found=error) from error
    if not isinstance(content, dict):
        raise DataError("a camera path is not a JSON object", file=path, found=type(content).__name__)
    return content


def _number(path: Path, content: dict[str, Any], key: str, low: float, high: float, label: str = "") -> float:
    value = content.get(key)
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not good:
        raise DataError(
            "a camera path has an impossible value", file=path, field=label + key, found=value,
            expected=f"a number from {low:g} to {high:g}",
        )  # fmt: skip
    return float(value)  # type: ignore[arg-type]


def _fps(path: Path, content: dict[str, Any], frames: int) -> float:
    if "fps" in content:
        return _number(path, content, "fps", 1e-3, 1000)
    if "seconds" in content:
        return frames / _number(path, content, "seconds", 1e-3, 1e6)
    return 30.0


def _pose(path: Path, i: int, entry: Any) -> np.ndarray:
    label = f"camera_path[{i}].camera_to_world"
    value = entry.get("camera_to_world") if isinstance(entry, dict) else None
    try:
        matrix = np.array(value, dtype=np.float64).reshape(4, 4)
    except (TypeError, ValueError) as error:
        raise DataError(
            "a camera of the path has no pose", file=path, field=label, found=value, expected="16 numbers"
        ) from error
    rotation = matrix[:3, :3]
    off = np.abs(rotation.T @ rotation - np.eye(3)).max() if np.isfinite(matrix).all() else math.inf
    if not off < 1e-2 or np.linalg.det(rotation) < 0:
        raise DataError(
            "a camera of the path has an impossible pose", file=path, field=label, found=np.round(matrix, 4).tolist(),
            expected="a rotation and a position",
        )  # fmt: skip
    return np.concatenate((rotation @ OPENGL, matrix[:3, 3:]), axis=1)


def _angle(path: Path, i: int, entry: dict[str, Any], model: CameraModel) -> float:
    if model == CameraModel.EQUIRECTANGULAR:
        return 0.0
    highest = 179.0 if model == CameraModel.PERSPECTIVE else 360.0
    return math.radians(_number(path, entry, "fov", 0.01, highest, f"camera_path[{i}]."))


def _cameras(poses: np.ndarray, angles: list[float], size: tuple[int, int], model: CameraModel) -> Cameras:
    n, (width, height) = len(poses), size
    if model == CameraModel.PERSPECTIVE:
        focal = [(0.5 * height / math.tan(0.5 * angle),) * 2 for angle in angles]
    elif model == CameraModel.FISHEYE:
        focal = [(height / angle,) * 2 for angle in angles]
    else:
        focal = [(width / (2 * math.pi), height / math.pi)] * n
    center = torch.tensor([width / 2, height / 2]).expand(n, 2)
    return Cameras(
        camera_to_world=torch.from_numpy(poses).float(),
        intrinsics=torch.cat((torch.tensor(focal), center), dim=1),
        size=torch.tensor([width, height]).expand(n, 2).contiguous(),
        model=torch.full((n,), int(model)),
        distortion=torch.zeros(n, 6),
    )
