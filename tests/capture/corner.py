"""Photographs of three textured walls that meet at the origin, from poses that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from fieldlab.data.cameras import Cameras
from tests.data.data_builders import look_at

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0


def textures(seed: int = 0) -> list[np.ndarray]:
    """A picture [512,512,3] for each of the three walls."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(3):
        layers = [ndimage.zoom(generator.random((2**k, 2**k, 3)), (512 / 2**k,) * 2 + (1,), order=1) for k in (4, 6, 8)]
        found.append(np.clip(sum(layers) / 3 * 1.6 - 0.3, 0, 1))
    return found


def poses_around(count: int) -> np.ndarray:
    """Poses [N,3,4] on an arc round the corner, z up."""
    poses = []
    for i in range(count):
        a = 0.35 + 0.13 * i
        origin = 3.2 * np.array([np.cos(a), np.sin(a), 0.55 + 0.08 * (i % 3)])
        poses.append(look_at(origin, np.array([0.5, 0.5, 0.5])))
    return np.stack(poses)


def poses_on_the_spot(count: int) -> np.ndarray:
    """Poses [N,3,4] from one place, turning."""
    origin = np.array([2.2, 2.2, 1.6])
    targets = [np.array([1.6 * np.cos(a), 1.6 * np.sin(a), 0.6]) for a in np.linspace(0.2, 1.4, count)]
    return np.stack([look_at(origin, target) for target in targets])


def pictures(poses: np.ndarray, walls: list[np.ndarray]) -> list[np.ndarray]:
    """What cameras at ``poses`` see, uint8 [H,W,3] each."""
    cameras = Cameras.pinhole(torch.from_numpy(poses).float(), FOCAL, WIDTH, HEIGHT)
    found = []
    for i in range(len(poses)):
        rays = cameras.image_rays(i)
        origins, directions = rays.origins.double().numpy(), rays.directions.double().numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(directions < 0, -origins / directions, np.inf)
        wall = distance.argmin(axis=1)
        points = origins + distance.min(axis=1)[:, None] * directions
        color = np.zeros((len(points), 3))
        for k in range(3):
            across = np.delete(points, k, axis=1)[wall == k]
            at = np.clip(across / 4 * 511, 0, 511).T
            channels = [ndimage.map_coordinates(walls[k][..., c], at, order=1) for c in range(3)]
            color[wall == k] = np.stack(channels, axis=1)
        found.append((255 * color).astype(np.uint8).reshape(HEIGHT, WIDTH, 3))
    return found


def write_pictures(folder: Path, shown: list[np.ndarray], name: str = "photo") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(shown):
        Image.fromarray(picture).save(folder / f"{name}_{i:02d}.png")
