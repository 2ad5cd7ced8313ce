"""A scene of a colored ball on disk and a run trained on it for a moment."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldlab.apps.main import main

SIZE = 36


def ball_pictures(angle: float, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """RGBA uint8 [36,36,4] of a unit ball at the origin from distance 3, and its OpenGL camera-to-world matrix."""
    back = np.array([math.cos(angle) * math.cos(lift), math.sin(angle) * math.cos(lift), math.sin(lift)])
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack((right, np.cross(back, right), back), axis=1)
    pose[:3, 3] = 3 * back
    at = (np.arange(SIZE) + 0.5 - SIZE / 2) / (1.1 * SIZE)
    x, y = np.meshgrid(at, -at)
    rays = np.stack((x, y, -np.ones_like(x)), axis=-1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    b = rays @ pose[:3, 3]
    root = b * b - 8
    hit = root > 0
    points = pose[:3, 3] + (-b - np.sqrt(np.maximum(root, 0)))[..., None] * rays
    color = np.where(hit[..., None], points * 0.4 + 0.5, 0)
    rgba = np.concatenate((color, hit[..., None]), axis=-1)
    return (rgba.clip(0, 1) * 255 + 0.5).astype(np.uint8), pose


def write_scene(folder: Path) -> Path:
    """A NeRF-Synthetic folder with 14 training and 3 test views."""
    angle_x = 2 * math.atan(0.5 / 1.1)
    for split, count in (("train", 14), ("test", 3)):
        (folder / split).mkdir(parents=True)
        frames = []
        for i in range(count):
            picture, pose = ball_pictures(i * 2.4 + (split == "test"), -0.5 + 1.4 * i / count)
            Image.fromarray(picture).save(folder / split / f"r_{i}.png")
            frames.append({"file_path": f"./{split}/r_{i}", "transform_matrix": pose.tolist()})
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": angle_x, "frames": frames}))
    return folder


@pytest.fixture(scope="session")
def scene(shared) -> Path:
    return shared("ball-scene", write_scene)


@pytest.fixture(scope="session")
def trained(scene, shared, tmp_path_factory) -> Path:
    """A run that shows the ball: trained once, a copy for each process, since commands write into it."""

    def train(out: Path) -> None:
        arguments = ["train", str(scene), "--out", str(out), "--steps", "160", "--field", "hashgrid", "--params", "60k"]
        assert main([*arguments, "--samples-per-step", "8192", "--device", "cpu"]) == 0

    return Path(shutil.copytree(shared("ball-run", train), tmp_path_factory.mktemp("runs") / "ball"))


@pytest.fixture(scope="session")
def small_scene(scene, tmp_path_factory) -> Path:
    """The ball in pictures of 16 x 16 pixels with two test views, for what renders many views of fields that have
    hardly been trained, which is slow."""
    folder = tmp_path_factory.mktemp("scene") / "small"
    shutil.copytree(scene, folder)
    for file in folder.glob("*/*.png"):
        Image.open(file).resize((16, 16), Image.Resampling.BOX).save(file)
    listed = folder / "transforms_test.json"
    values = json.loads(listed.read_text())
    listed.write_text(json.dumps({**values, "frames": values["frames"][:2]}))
    return folder
