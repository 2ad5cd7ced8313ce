"""Camera paths through views that somebody chose, as nerfstudio's JSON keeps them too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError, DataError
from fieldlab.files import write_json
from fieldlab.pictures.camera_path import MAX_FRAMES
from fieldlab.pictures.nerfstudio_path import OPENGL, CameraPath, camera_path_entries, load_json
from fieldlab.view.cameras import Eye, eye_of

MOST_KEYS = 500
USUAL = 0.5  # seconds between two views of a file that says nothing about it, as in nerfstudio


@dataclass(frozen=True)
class Keyframe:
    """A view to pass through, and the seconds from it to the next one."""

    name: str
    eye: Eye
    seconds: float = 2.0


@dataclass(frozen=True)
class Flight:
    """A path through keyframes; in a loop the last leads back to the first."""

    keys: tuple[Keyframe, ...] = ()
    fps: float = 30.0
    size: tuple[int, int] = (960, 540)
    loop: bool = False

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(key.seconds for key in (self.keys if self.loop else self.keys[:-1]))

    @property
    def frames(self) -> int:
        """How many pictures it has."""
        return max(round(self.seconds * self.fps) + (0 if self.loop else 1), 1) if self.keys else 0

    def at(self, times: np.ndarray) -> list[Eye]:
        """Where the camera is at times float64 [N] in seconds: cubic splines with continuous speed through positions,
        through unit quaternions of one hemisphere, normalized, and the logarithm of the field of view's tangent.

        Raises:
            ConfigError: there is no keyframe.
        """
        if not self.keys:
            raise ConfigError("a camera path has no keyframes yet", hint="add some")
        looped = self.loop and len(self.keys) > 1
        keys = [*self.keys, self.keys[0]] if looped else list(self.keys)
        quaternions = np.array([[*key.eye.wxyz[1:], key.eye.wxyz[0]] for key in keys])
        for i in range(1, len(keys)):
            if quaternions[i] @ quaternions[i - 1] < 0:
                quaternions[i] *= -1
        lens = np.array([[math.log(math.tan(key.eye.fov / 2))] for key in keys])
        values = np.concatenate((np.array([key.eye.position for key in keys]), quaternions, lens), axis=1)
        marks = np.concatenate(([0.0], np.cumsum([key.seconds for key in keys[:-1]])))
        found = _spline(marks, values, times % marks[-1] if looped else np.clip(times, 0, marks[-1]), looped)
        aspect = self.size[0] / self.size[1]
        turned = Rotation.from_quat(found[:, 3:7]).as_quat()
        return [Eye.of((q[3], *q[:3]), row[:3].tolist(), 2 * math.atan(math.exp(row[7])), aspect)
                for row, q in zip(found, turned, strict=True)]  # fmt: skip

    def cameras(self) -> Cameras:
        """All pictures of the path.

        Raises:
            ConfigError: there is no keyframe, or there are too many pictures.
        """
        if self.frames > MAX_FRAMES:
            raise ConfigError("a camera path is too long", found=self.frames, expected=f"at most {MAX_FRAMES} frames")
        eyes = self.at(np.arange(self.frames) / self.fps)
        return Cameras.concatenate([eye.cameras(*self.size) for eye in eyes])


def _spline(marks: np.ndarray, values: np.ndarray, at: np.ndarray, looped: bool) -> np.ndarray:
    """Cubic Hermite spline through ``values`` [K,D] at times ``marks`` [K]; at every key the slope of the parabola
    through it and its neighbors. In a loop the first and the last value are one view, perhaps as opposite quaternions.
    """
    if len(marks) == 1:
        return np.repeat(values, len(at), axis=0)
    h = np.diff(marks)[:, None]
    secants = np.diff(values, axis=0) / h
    if looped:
        sign = np.ones(values.shape[1])
        sign[3:7] = 1.0 if values[0, 3:7] @ values[-1, 3:7] > 0 else -1.0
        h = np.concatenate((h[-1:], h, h[:1]))
        secants = np.concatenate((secants[-1:] * sign, secants, secants[:1] * sign))
    else:
        h, secants = np.concatenate((h[:1], h, h[-1:])), np.concatenate((secants[:1], secants, secants[-1:]))
    slopes = (h[:-1] * secants[1:] + h[1:] * secants[:-1]) / (h[:-1] + h[1:])
    return np.asarray(CubicHermiteSpline(marks, values, slopes)(at))


def write_flight(path: Path, flight: Flight) -> None:
    """Write keyframes and the path through them as nerfstudio's viewer does.

    Raises:
        ConfigError: there is no keyframe.
        RunFolderError: the file cannot be written.
    """
    write_json(path, flight_dict(flight))


def flight_dict(flight: Flight) -> dict[str, Any]:
    """The same as plain values."""
    made = camera_path_entries(CameraPath(flight.cameras(), flight.fps))
    keys = []
    for before, key in zip((flight.keys[-1], *flight.keys[:-1]), flight.keys, strict=True):
        matrix = np.eye(4)
        pose = key.eye.camera_to_world.double().numpy()
        matrix[:3, :3], matrix[:3, 3] = pose[:, :3] @ OPENGL, pose[:, 3]
        keys.append({
            "name": key.name, "matrix": matrix.ravel().tolist(), "fov": math.degrees(key.eye.fov),
            "aspect": flight.size[0] / flight.size[1], "override_transition_enabled": True,
            "override_transition_sec": before.seconds,  # there, it is the time from the view before to this one
        })  # fmt: skip
    return {**made, "keyframes": keys, "is_cycle": flight.loop, "default_fov": math.degrees(flight.keys[0].eye.fov),
            "default_transition_sec": Keyframe.seconds}  # fmt: skip


def read_flight(path: Path) -> Flight:
    """Read keyframes; a path without any becomes one of its own pictures.

    Raises:
        DataError: the file is missing, damaged, or holds neither.
    """
    content = load_json(path)
    entries = content.get("keyframes") or content.get("camera_path")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_FRAMES:
        raise DataError("a camera path holds no keyframes", file=path, field="keyframes")
    step = max(math.ceil(len(entries) / MOST_KEYS), 1)
    entries = entries[::step]
    try:
        fps = min(max(float(content.get("fps", 30.0)), 1.0), 240.0)
        size = tuple(min(max(int(content.get(f"render_{side}", usual)), 16), 8192)
                     for side, usual in (("width", 960), ("height", 540)))  # fmt: skip
        has_keys = bool(content.get("keyframes"))
        usual = float(content.get("default_transition_sec", USUAL)) if has_keys else step / fps
        keys = tuple(_keyframe(entry, i, size[0] / size[1], _seconds(entries[(i + 1) % len(entries)], usual))
                     for i, entry in enumerate(entries))  # fmt: skip
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError("a camera path holds a view that is none", file=path, found=error) from error
    return Flight(keys, fps, (size[0], size[1]), bool(content.get("is_cycle", False)))


def _keyframe(entry: dict[str, Any], i: int, aspect: float, seconds: float) -> Keyframe:
    matrix = np.array(entry["matrix"] if "matrix" in entry else entry["camera_to_world"], dtype=float).reshape(4, 4)
    pose = np.concatenate((matrix[:3, :3] @ OPENGL, matrix[:3, 3:]), axis=1)
    eye = eye_of(torch.from_numpy(pose).float(), math.radians(float(entry.get("fov", 50.0))), aspect)
    return Keyframe(str(entry.get("name", f"view {i + 1}"))[:100], eye, seconds)


def _seconds(entry: dict[str, Any], usual: float) -> float:
    """From the view before to this one."""
    own = entry.get("override_transition_sec", usual) if entry.get("override_transition_enabled") else usual
    return min(max(float(own), 0.01), 3600.0)


def moved(keys: Sequence[Keyframe], i: int, by: int) -> tuple[Keyframe, ...]:
    """Keyframes with number ``i`` earlier or later."""
    made = list(keys)
    to = min(max(i + by, 0), len(made) - 1)
    made.insert(to, made.pop(i))
    return tuple(made)


def replaced(keys: Sequence[Keyframe], i: int, **changes: Any) -> tuple[Keyframe, ...]:
    """Keyframes with another number ``i``."""
    return tuple(replace(key, **changes) if k == i else key for k, key in enumerate(keys))
