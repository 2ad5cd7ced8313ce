"""Cameras of the browser as cameras of fieldlab: viser's frames are OpenCV's too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from fieldlab.data.cameras import Cameras

LEAST_SIDE = 16  # pixels of a picture's shorter side


@dataclass(frozen=True)
class Eye:
    """Where somebody looks from: ``wxyz`` (camera to world), ``position``, vertical field of view in radians, and the
    width of the window over its height."""

    wxyz: tuple[float, ...]
    position: tuple[float, ...]
    fov: float
    aspect: float

    @staticmethod
    def of(wxyz: Sequence[float], position: Sequence[float], fov: float, aspect: float) -> Eye:
        """From what a browser says, made safe: a field of view from 1 to 170 degrees and a window that is no line.

        Raises:
            ValueError: a value is not finite, or there is no rotation.
        """
        values = [*map(float, wxyz), *map(float, position), float(fov), float(aspect)]
        norm = math.sqrt(sum(v * v for v in values[:4]))
        if len(values) != 9 or not all(map(math.isfinite, values)) or norm < 1e-6:
            raise ValueError("a camera is not finite")
        turned = tuple(v / norm for v in values[:4])
        fov = min(max(values[7], math.radians(1)), math.radians(170))
        return Eye(turned, tuple(values[4:7]), fov, min(max(values[8], 0.1), 10.0))

    @property
    def camera_to_world(self) -> Tensor:
        """float32 [3,4]."""
        w, *xyz = self.wxyz
        turn = torch.from_numpy(Rotation.from_quat([*xyz, w]).as_matrix()).float()
        return torch.cat((turn, torch.tensor(self.position).view(3, 1)), dim=1)

    def size(self, rays: float) -> tuple[int, int]:
        """Width and height of a picture of about so many rays."""
        height = max(round(math.sqrt(rays / self.aspect)), LEAST_SIDE)
        return max(round(height * self.aspect), LEAST_SIDE), height

    def cameras(self, width: int, height: int) -> Cameras:
        """One pinhole camera for a picture of this size."""
        focal = 0.5 * height / math.tan(0.5 * self.fov)
        return Cameras.pinhole(self.camera_to_world[None], focal, width, height)


def eye_of(camera_to_world: Tensor, fov: float, aspect: float) -> Eye:
    """The eye at a pose [3,4]."""
    x, y, z, w = Rotation.from_matrix(camera_to_world[:, :3].double().cpu().numpy()).as_quat().tolist()
    return Eye.of((w, x, y, z), camera_to_world[:, 3].tolist(), fov, aspect)


def wxyz_of(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """Unit quaternion of a rotation matrix [3,3]."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat().tolist()
    return w, x, y, z


def cropped(cameras: Cameras, start: int, stop: int) -> Cameras:
    """One pinhole camera that sees the columns from ``start`` to ``stop`` of another one's picture."""
    intrinsics, size = cameras.intrinsics.clone(), cameras.size.clone()
    intrinsics[:, 2] -= start
    size[:, 0] = stop - start
    return Cameras(cameras.camera_to_world, intrinsics, size, cameras.model, cameras.distortion)
