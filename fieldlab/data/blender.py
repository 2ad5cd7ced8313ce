"""NeRF-Synthetic scenes: ``transforms_train.json``, ``transforms_val.json`` and ``transforms_test.json``."""

from __future__ import annotations

from pathlib import Path

from fieldlab.data.frames import Frame, Reading, Skips
from fieldlab.data.options import SceneOptions
from fieldlab.data.transforms import load_json, parse_frames
from fieldlab.errors import DataError

SPLITS = ("train", "val", "test")


def read_blender(path: Path, options: SceneOptions, skips: Skips) -> Reading:
    """Read a folder with one transforms file for each split (Mildenhall et al. 2020).

    Raises:
        DataError: there is no transforms_train.json, or something in a file is missing or wrong.
    """
    folder = path if path.is_dir() else path.parent
    notes: list[str] = []
    frames: list[Frame] = []
    for split in SPLITS:
        file = folder / f"transforms_{split}.json"
        if split == "train" or file.is_file():
            found = parse_frames(file, load_json(file), skips, notes, split)
            if not found and split == "train":
                raise DataError(
                    "there are no training views", file=file, field="frames", found=0, expected="at least 1"
                )
            frames += found
    return Reading("blender", folder, frames, notes=notes)
