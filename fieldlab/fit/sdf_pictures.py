"""A fitted surface beside the true one, and where they differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.picture import mesh_picture
from fieldlab.mesh.queries import nearest_on
from fieldlab.pictures.colormap import heat
from fieldlab.pictures.sheets import beside, error_legend, labeled, sheet, to_uint8

SIZE = 400
FOCAL = 1.9  # of the picture's side
DISTANCE = 4.2
VIEWS = ((0.6, 0.35), (0.6 + np.pi, 0.35))  # turn about y and lift, in radians
ERROR_TOP = 0.005


def comparison(made: Mesh, true: Mesh) -> np.ndarray:
    """A sheet uint8 [h,w,3]: fitted, true and distance from the true surface, from two sides; y is up."""
    cameras = _cameras()
    distance, _ = nearest_on(true, made.vertices)
    colors = to_uint8(heat(torch.from_numpy(distance / ERROR_TOP)))
    errors = replace(made, colors=colors)
    rows = []
    for i in range(len(cameras)):
        row = [
            labeled(mesh_picture(made, cameras, i, shaded=True), "fitted"),
            labeled(mesh_picture(true, cameras, i, shaded=True), "true"),
            labeled(mesh_picture(errors, cameras, i), f"distance to the true surface, 0 to {ERROR_TOP:g}"),
            error_legend(SIZE, ERROR_TOP),
        ]
        rows.append([beside(row)])
    return sheet(rows)


def _cameras() -> Cameras:
    poses = []
    for turn, lift in VIEWS:
        back = np.array([np.sin(turn) * np.cos(lift), np.sin(lift), np.cos(turn) * np.cos(lift)])
        right = np.cross((0.0, 1.0, 0.0), back)
        right /= np.linalg.norm(right)
        poses.append(np.column_stack((right, -np.cross(back, right), -back, DISTANCE * back)))
    n = len(poses)
    intrinsics = torch.tensor([FOCAL * SIZE, FOCAL * SIZE, SIZE / 2, SIZE / 2])
    return Cameras(
        torch.from_numpy(np.stack(poses)).float(), intrinsics.expand(n, 4), torch.full((n, 2), SIZE),
        torch.full((n,), int(CameraModel.PERSPECTIVE)), torch.zeros(n, 6),
    )  # fmt: skip
