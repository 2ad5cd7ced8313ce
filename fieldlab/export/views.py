"""Which views of a run are exported, and what their pictures are called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fieldlab.data.cameras import Cameras
from fieldlab.data.images import IMAGE_SUFFIXES
from fieldlab.errors import ConfigError, DataError
from fieldlab.pictures.nerfstudio_path import read_camera_path
from fieldlab.runs.load import RunInfo


@dataclass(frozen=True)
class ChosenViews:
    """Cameras to export, the name of each and, where they are a run's own, the split of each."""

    cameras: Cameras
    names: list[str]
    splits: list[str] | None = None


def check_views(views: str) -> None:
    """Whether this may name views.

    Raises:
        ConfigError: it is neither a word nor the name of a JSON file that is there.
    """
    path = views.lower().endswith(".json")
    if (path and not Path(views).is_file()) or not (path or views.isalpha()):
        raise ConfigError("there are no such views", field="--views", found=views,
                          expected="train, test, val, all, or a camera path (.json)")  # fmt: skip


def choose_views(views: str, info: RunInfo) -> ChosenViews:
    """The views of a run's split, of all its splits, or of a camera path file.

    Raises:
        DataError: the run has no such split, or the file is damaged.
    """
    if views.lower().endswith(".json"):
        cameras = read_camera_path(views).cameras
        return ChosenViews(cameras, [f"frame_{i:05d}" for i in range(len(cameras))])
    scene = info.scene
    splits = list(scene.cameras) if views == "all" else [views]
    if not set(splits) <= set(scene.cameras):
        raise DataError("the run has no such split of views", file=info.run.path, field="--views", found=views,
                        expected=", ".join([*scene.cameras, "all"]))  # fmt: skip
    names = [name for split in splits for name in scene.names[split]]
    if len(set(names)) < len(names):  # each split counts from 0
        names = [f"{split}/{name}" for split in splits for name in scene.names[split]]
    members = [split for split in splits for _ in scene.names[split]]
    return ChosenViews(Cameras.concatenate([scene.cameras[split].to("cpu") for split in splits]), names, members)


def picture_names(chosen: ChosenViews) -> list[str]:
    """The pictures of views, as paths within a folder ``images``.

    Some data sets' names begin with that folder, and some have no suffix.
    """
    names = [name.replace("\\", "/").removeprefix("./") for name in chosen.names]
    names = [name if Path(name).suffix.lower() in IMAGE_SUFFIXES else f"{name}.png" for name in names]
    below = all(name.startswith("images/") for name in names)
    return [name.removeprefix("images/") for name in names] if below else names
