"""Axes and units of exported files: those of the scene, unless others are asked for; what was done is recorded."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.mesh.mesh import Mesh

AXES = ("input", "y-up", "z-up", "opencv")
UP = {"y-up": (0.0, 1.0, 0.0), "z-up": (0.0, 0.0, 1.0), "opencv": (0.0, -1.0, 0.0)}
LARGEST_SCALE = 1e9  # beyond, and below its inverse, single precision and its squares end
SNAP = math.cos(math.radians(20.0))  # an up direction this close to an axis is that axis


@dataclass(frozen=True)
class Placement:
    """How coordinates of a file follow from the scene's.

    Args:
        axes: ``input``, or where the scene's up direction points in the file.
        scale: length of the scene's unit in the file.
        rotation: float64 [3,3], from the scene's axes to the file's; a proper rotation.
    """

    axes: str
    scale: float
    rotation: np.ndarray

    def matrix(self) -> np.ndarray:
        """float64 [4,4] from the scene's coordinates to the file's."""
        made = np.eye(4)
        made[:3, :3] = self.scale * self.rotation
        return made

    def mesh(self, mesh: Mesh) -> Mesh:
        """A mesh in the file's coordinates."""
        if self.axes == "input" and self.scale == 1:
            return mesh
        normals = None if mesh.vertex_normals is None else self.directions(mesh.vertex_normals)
        return replace(mesh, vertices=self.points(mesh.vertices), vertex_normals=normals)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Positions [P,3] in the file's coordinates."""
        return self.scale * points @ self.rotation.T.astype(points.dtype)

    def directions(self, directions: np.ndarray) -> np.ndarray:
        """Unit directions [P,3] in the file's axes."""
        return directions @ self.rotation.T.astype(directions.dtype)

    def record(self) -> dict[str, Any]:
        """What files say of it: axes, scale and ``to_file``, the 16 numbers of :meth:`matrix` row by row."""
        return {"axes": self.axes, "scale": self.scale, "to_file": self.matrix().ravel().tolist()}

    def comment(self) -> str:
        """The same as one line of text for formats that have comments."""
        return "fieldlab " + json.dumps(self.record())


AS_IT_IS = Placement("input", 1.0, np.eye(3))


def placement(axes: str, scale: float, up: Tensor | None = None) -> Placement:
    """The placement of an export.

    Args:
        axes: ``input``: as the scene has them; ``y-up`` (glTF, Unity, most viewers), ``z-up`` (Blender, CAD) and
            ``opencv`` (y down, z forward) turn the scene until its up direction is there.
        up: the scene's up direction [3]; close to one of its axes it is that axis, so that nothing is tilted by noise.

    Raises:
        ConfigError: unknown axes, or an impossible scale.
    """
    if axes not in AXES:
        raise ConfigError("there are no such axes", field="--axes", found=axes, expected=" | ".join(AXES))
    if not 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE:
        raise ConfigError("the scale is impossible", field="--scale", found=scale, expected="1e-9 to 1e9")
    if axes == "input":
        return Placement(axes, scale, np.eye(3))
    source = _snapped((torch.tensor([0.0, 0.0, 1.0]) if up is None else up).double().cpu().numpy())
    return Placement(axes, scale, _turning(source, np.array(UP[axes])))


def _snapped(up: np.ndarray) -> np.ndarray:
    up = up / np.linalg.norm(up)
    axis = np.abs(up).argmax()
    return np.eye(3)[axis] * np.sign(up[axis]) if abs(up[axis]) > SNAP else up


def _turning(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest rotation [3,3] that takes one unit vector to another (Rodrigues)."""
    cosine = float(source @ target)
    if cosine < -1 + 1e-12:  # half a turn, around any axis across
        across = np.cross(source, np.eye(3)[np.abs(source).argmin()])
        across /= np.linalg.norm(across)
        return 2 * np.outer(across, across) - np.eye(3)
    x, y, z = np.cross(source, target)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
