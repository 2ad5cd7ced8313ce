"""Small captures written to disk, to be read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fieldlab.data.hull import hull_cells, silhouettes
from fieldlab.data.views import Views

OPENGL = np.array([1.0, -1.0, -1.0])


def look_at(origin: np.ndarray, target: np.ndarray = np.zeros(3)) -> np.ndarray:
    """OpenCV camera-to-world [3,4] of a camera at ``origin`` that looks at ``target`` with z up."""
    forward = (target - origin) / np.linalg.norm(target - origin)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(forward, right), forward, origin), axis=1)


def ring(count: int, radius: float = 4.0, height: float = 1.5) -> list[np.ndarray]:
    """Poses on a circle that look at the origin."""
    angles = 2 * np.pi * np.arange(count) / count
    return [look_at(np.array([radius * np.cos(a), radius * np.sin(a), height])) for a in angles]


def write_image(path: Path, width: int = 12, height: int = 8, alpha: bool = False, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4 if alpha else 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return values


def opengl(pose: np.ndarray) -> list[list[float]]:
    matrix = np.eye(4)
    matrix[:3] = pose
    matrix[:3, :3] *= OPENGL
    return matrix.tolist()


def visual_hull(views: Views, aabb: torch.Tensor, resolution: int) -> torch.Tensor:
    """bool [R,R,R] (x, y, z): cells of the box that the silhouettes do not rule out."""
    centers, _ = hull_cells(list(silhouettes(views, max_side=256)), aabb, resolution)
    cells = ((centers - aabb[0]) / (aabb[1] - aabb[0]) * resolution).long().clamp(0, resolution - 1)
    hull = torch.zeros(resolution, resolution, resolution, dtype=torch.bool)
    hull[cells[:, 0], cells[:, 1], cells[:, 2]] = True
    return hull


class Capture:
    """A ``transforms.json`` scene under construction: change ``data`` and call ``save``."""

    def __init__(self, folder: Path, count: int, alpha: bool = False) -> None:
        self.folder = folder
        self.poses = ring(count)
        self.images = [write_image(folder / f"images/{i:03d}.png", alpha=alpha, seed=i) for i in range(count)]
        self.data: dict = {"fl_x": 10.0, "w": 12, "h": 8}
        self.data["frames"] = [
            {"file_path": f"images/{i:03d}.png", "transform_matrix": opengl(pose)} for i, pose in enumerate(self.poses)
        ]

    @property
    def frames(self) -> list[dict]:
        return self.data["frames"]

    def save(self, name: str = "transforms.json") -> Path:
        # json writes NaN and Infinity as words that Python reads back, which is what damaged exports hold
        (self.folder / name).write_text(json.dumps(self.data))
        return self.folder
