"""Scenes: from a folder, a file or a name to cameras, pixels and bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldlab.data.blender import read_blender
from fieldlab.data.bounds import find_bounds
from fieldlab.data.cameras import Cameras
from fieldlab.data.colmap import find_model, read_colmap
from fieldlab.data.depth_maps import sensor_points
from fieldlab.data.frames import Frame, Reading, Skips, check_unique
from fieldlab.data.llff import read_llff
from fieldlab.data.options import SceneOptions
from fieldlab.data.polycam import find_polycam, read_polycam
from fieldlab.data.record3d import FILES as RECORD3D_FILES
from fieldlab.data.record3d import find_record3d, read_record3d
from fieldlab.data.splits import HOLDOUTS, split_frames
from fieldlab.data.transforms import read_transforms
from fieldlab.data.views import Views, load_views
from fieldlab.errors import ConfigError, DataError

__all__ = ["FORMATS", "Format", "Scene", "SceneOptions", "Views", "detect_format", "register_format"]


@dataclass(repr=False)
class Scene:
    """Everything training needs to know of a capture.

    Args:
        source: the folder, file or name it came from.
        splits: 'train' always, 'test' when views are held out, perhaps 'val'.
        aabb: float32 [2,3], the box of main interest in world units.
        unbounded: content outside the box too; fields then see contracted coordinates.
        background: 'white', 'black' or '#rrggbb', what evaluation composites on.
        plain: opaque photographs show this background behind an object; it is nothing that has to be learnt.
        points, point_colors: sparse points float32 [P,3] and uint8 [P,3], or None.
        near: nearest distance worth marching, world units.
        content: distance from the cameras at which content begins, world units; 0 where nobody knows.
        notes: what a person should know: frames skipped, boxes guessed.
        recommended: settings for training that the scene file names, plain values.
        description: a sentence about the scene, when the scene file has one.
        options: how it was read, so that it can be read again.
    """

    name: str
    source: str
    format: str
    splits: dict[str, Views]
    aabb: Tensor
    unbounded: bool
    background: str
    points: Tensor | None
    near: float
    notes: list[str] = field(default_factory=list)
    point_colors: Tensor | None = None
    recommended: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    options: SceneOptions = field(default_factory=SceneOptions)
    content: float = 0.0
    plain: bool = False

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(views)} {split}" for split, views in self.splits.items())
        return f"<scene {self.name}: {counts} views, from {self.source}>"

    def describe(self) -> list[tuple[str, str]]:
        """Label and value of everything worth knowing at a glance."""
        low, high = self.aabb.tolist()
        rows = [("name", self.name), ("source", self.source), ("format", self.format)]
        if self.description:
            rows.append(("description", self.description))
        for split, views in self.splits.items():
            rows.append((f"{split} views", f"{len(views)}, {_sizes(views.cameras)}, {_channels(views)}"))
        memory = sum(views.n_bytes() for views in self.splits.values())
        rows.append(("memory of pixels", f"{memory / 2**20:.1f} MiB"))
        rows.append(
            ("box", " to ".join("(" + ", ".join(f"{value:.4g}" for value in corner) + ")" for corner in (low, high)))
        )
        rows.append(("outside the box", "contracted" if self.unbounded else "nothing"))
        rows.append(("near", f"{self.near:.4g}"))
        rows.append(("background", self.background))
        rows.append(("sparse points", "none" if self.points is None else str(self.points.shape[0])))
        rows += [("recommended", f"{key} = {value}") for key, value in self.recommended.items()]
        return rows + [("note", note) for note in self.notes]


@dataclass(frozen=True)
class Format:
    """One on-disk format: whether a path looks like it, and how to read it."""

    detect: Callable[[Path], bool]
    read: Callable[[Path, SceneOptions, Skips], Reading]


def _is_blender(path: Path) -> bool:
    return (path / "transforms_train.json").is_file() or path.name == "transforms_train.json"


def _is_transforms(path: Path) -> bool:
    any_name = path.is_file() and path.suffix == ".json" and path.name not in RECORD3D_FILES
    return (path / "transforms.json").is_file() or any_name


def _is_llff(path: Path) -> bool:
    return (path / "poses_bounds.npy").is_file() or path.name == "poses_bounds.npy"


def _is_colmap(path: Path) -> bool:
    return find_model(path if path.is_dir() else path.parent) is not None


FORMATS: dict[str, Format] = {
    "blender": Format(_is_blender, read_blender),
    "transforms": Format(_is_transforms, read_transforms),
    "llff": Format(_is_llff, read_llff),
    "colmap": Format(_is_colmap, read_colmap),
    "record3d": Format(lambda path: find_record3d(path) is not None, read_record3d),
    "polycam": Format(lambda path: find_polycam(path) is not None, read_polycam),
}


def register_format(
    name: str, detect: Callable[[Path], bool], read: Callable[[Path, SceneOptions, Skips], Reading]
) -> None:
    """Add a format; formats are asked in the order of registration and the first that recognizes a path reads it."""
    FORMATS[name] = Format(detect, read)


def detect_format(path: Path) -> str:
    """The name of the format of a folder or file.

    Raises:
        DataError: no format recognizes it.
    """
    for name, candidate in FORMATS.items():
        if candidate.detect(path):
            return name
    entries = sorted(entry.name for entry in path.iterdir())[:8] if path.is_dir() else [path.name]
    raise DataError(
        "the format of a scene is not recognized",
        file=path,
        found=", ".join(entries) or "an empty folder",
        expected="transforms_train.json (blender), transforms.json, poses_bounds.npy (llff), sparse/0 (colmap), "
        "metadata.json beside rgb (record3d) or keyframes (polycam)",
        hint="for a folder of photographs without poses run fieldlab capture first",
    )


def load_capture(path: Path, options: SceneOptions) -> Scene:
    """Load a folder or file of photographs with poses."""
    name = options.format or detect_format(path)
    skips = Skips(options.skip_bad_frames)
    reading = FORMATS[name].read(path, options, skips)
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    return assemble(folder.name, str(path.resolve()), reading, options, skips)


def assemble(name: str, source: str, reading: Reading, options: SceneOptions, skips: Skips) -> Scene:
    """Read the pictures of a reading, split them and find the bounds.

    Raises:
        DataError: no training view is left, or a picture cannot be read.
    """
    frames = check_unique(reading.frames, skips)
    notes = list(reading.notes)
    frames_by_split = split_frames(frames, options, notes)
    splits = load_views(frames_by_split, options, skips, notes)
    if "train" not in splits:
        raise DataError(
            "there are no training views",
            file=reading.source,
            found=f"{len(reading.frames)} frames" + (f", {len(skips.errors)} skipped" if skips.errors else ""),
            expected="at least one frame to train on",
            hint=skips.errors[0].what if skips.errors else None,
        )
    _add_sensor_points(reading, frames_by_split["train"], notes)
    bounds = find_bounds(splits["train"], reading, options)
    background = options.background or bounds.background or ("white" if splits["train"].channels == 4 else "black")
    return Scene(
        name=name,
        source=source,
        format=reading.format,
        splits=splits,
        aabb=torch.from_numpy(bounds.aabb).float(),
        unbounded=bounds.unbounded,
        background=background,
        plain=background == bounds.background,
        points=None if reading.points is None else torch.from_numpy(reading.points).float(),
        point_colors=None if reading.point_colors is None else torch.from_numpy(reading.point_colors),
        near=float(bounds.near),
        content=float(bounds.content),
        notes=notes + skips.notes() + bounds.notes,
    )


def _add_sensor_points(reading: Reading, frames: list[Frame], notes: list[str]) -> None:
    """What the depth sensor saw from the training views, where nothing else says where content is."""
    if reading.points is not None or reading.depth_of is None:
        return
    points, colors, told = sensor_points(frames, reading.depth_of)
    notes += told
    if len(points):
        reading.points, reading.point_colors = points, colors


def check_options(options: SceneOptions) -> None:
    if options.format is not None and options.format not in FORMATS:
        raise ConfigError("a format is not known", field="format", found=options.format, expected=", ".join(FORMATS))
    for name, value, least in (
        ("downscale", options.downscale, 1),
        ("max_side", options.max_side, 1),
        ("test_every", options.test_every, 0),
        ("max_memory_gb", options.max_memory_gb, 0),
    ):
        if value is not None and not value >= least:
            raise ConfigError("an option is out of range", field=name, found=value, expected=f"at least {least}")
    if options.background not in (None, "white", "black"):
        raise ConfigError(
            "a background is not known", field="background", found=options.background, expected="white, black"
        )
    if options.holdout not in HOLDOUTS:
        raise ConfigError("a way to hold out views is not known", field="holdout", found=options.holdout,
                          expected=", ".join(HOLDOUTS))  # fmt: skip
    if not 0 <= options.validation <= 0.5:
        raise ConfigError(
            "an option is out of range", field="validation", found=options.validation, expected="0 to 0.5"
        )


def _sizes(cameras: Cameras) -> str:
    sizes = [f"{width}x{height}" for width, height in sorted({(w, h) for w, h in cameras.size.tolist()})]
    return sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes ({sizes[0]} to {sizes[-1]})"


def _channels(views: Views) -> str:
    text = "RGBA" if views.channels == 4 else "RGB"
    return text if views.masks is None else f"{text} with masks ({float(views.masks.float().mean()):.1%} used)"
