"""A procedural scene as a folder in Blender's (NeRF-Synthetic) format, with labels, depth and masks beside it."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from fieldlab.data.cameras import Cameras
from fieldlab.data.views import Views
from fieldlab.files import write_json, write_with
from fieldlab.synthetic.load import Truth, default_options, ground_truths, load_procedural, part_names
from fieldlab.synthetic.model import LEVELS
from fieldlab.synthetic.scene_file import ProceduralOptions
from fieldlab.synthetic.segmenter import simulate_masks


def write_dataset(
    name: str, folder: str | Path, options: ProceduralOptions | None = None, *, truth: bool = True
) -> None:
    """Write the scene ``name`` into ``folder``.

    ``transforms_{train,test}.json`` and ``{train,test}/r_N.png`` are what readers of NeRF-Synthetic expect. With
    ``truth``: ``labels/{train,test}/r_N.npz`` (ids int16 [3,H,W], depth float32 [H,W], normal float32 [H,W,3]),
    ``parts.json`` (paths of all parts) and ``masks/train/r_N.json`` (the simulated segmenter).

    Raises:
        ConfigError: there is no such scene, or the options are impossible.
        RunFolderError: the folder cannot be written.
    """
    folder = Path(folder)
    options = options or default_options(name)
    scene = load_procedural(name, options)
    for split, views in scene.splits.items():
        for i, view in enumerate(views.names):
            image = views.image(i).numpy()
            write_with(folder / split / f"{view}.png", partial(iio.imwrite, image=image))
        if truth:
            for i, exact in enumerate(ground_truths(name, views.cameras)):
                _write_truth(folder, split, views.names[i], i, exact, options.seed)
        write_json(folder / f"transforms_{split}.json", _transforms(split, views))
    if truth:
        names = part_names(name).names
        write_json(folder / "parts.json", {"levels": list(LEVELS), "parts": list(names[2].values())})


def _write_truth(folder: Path, split: str, view: str, i: int, exact: Truth, seed: int) -> None:
    ids, depth, normal = exact.ids.numpy(), exact.depth.numpy(), exact.normal.numpy()
    write_with(
        folder / "labels" / split / f"{view}.npz",
        partial(np.savez_compressed, ids=ids, depth=depth, normal=normal),
    )
    if split == "train":
        masks = simulate_masks(ids, seed=1000 * seed + i)
        write_json(folder / "masks" / split / f"{view}.json", masks)


def _transforms(split: str, views: Views) -> dict[str, Any]:
    cameras = views.cameras
    frames = [
        {"file_path": f"./{split}/{view}", "transform_matrix": _blender_pose(cameras, i)}
        for i, view in enumerate(views.names)
    ]
    if not frames:
        return {"camera_angle_x": 0.8, "frames": []}
    width, focal = int(cameras.size[0, 0]), float(cameras.intrinsics[0, 0])
    return {"camera_angle_x": 2 * math.atan(0.5 * width / focal), "frames": frames}


def _blender_pose(cameras: Cameras, i: int) -> list[list[float]]:
    """Camera-to-world 4x4 in Blender's camera axes (x right, y up, z backward)."""
    pose = np.eye(4)
    pose[:3] = cameras.camera_to_world[i].double().numpy()
    pose[:3, 1:3] *= -1
    return pose.tolist()
