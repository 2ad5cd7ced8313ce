"""The photographs of a run again, which the run itself does not keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fieldlab.data.scene import Scene
from fieldlab.data.views import Views
from fieldlab.errors import DataError
from fieldlab.runs.load import RunInfo
from fieldlab.sources.load import load_scene
from fieldlab.sources.scene_files import load_named


def reload_views(info: RunInfo, split: str, data: Path | None = None) -> Views:
    """The photographs of one split of a run, read again from where they were or from ``data``.

    Training views get the camera corrections that were learnt with the field.

    Raises:
        DataError: the photographs are gone, or there is no such split.
    """
    if split not in info.scene.cameras:
        raise DataError(
            "the run has no such split of views",
            file=info.run.path,
            field="--split",
            found=split,
            expected=", ".join(info.scene.cameras),
            hint="train with --test-every 8 to hold out views" if split == "test" else None,
        )
    scene = reload_scene(info, data)
    views = scene.splits.get(split)
    expected = info.scene.names[split]
    if views is None or views.names != expected:
        raise DataError(
            "the scene has changed since the run was trained", file=scene.source, field=split,
            found="no views" if views is None else f"{len(views)} views", expected=f"{len(expected)} views",
            hint="give the scene as it was with --data, or train again",
        )  # fmt: skip
    same_size = bool((views.cameras.size == info.scene.cameras[split].size).all())
    return replace(views, cameras=info.scene.cameras[split]) if split == "train" and same_size else views


def reload_scene(info: RunInfo, data: Path | None = None) -> Scene:
    """The scene of a run, read again from where it was or from ``data``.

    Raises:
        DataError: it is gone, or cannot be read.
    """
    if data is None and Path(info.config.source).is_absolute() and not Path(info.config.source).exists():
        raise DataError(
            "the photographs are no longer where they were when the run was trained", file=info.config.source,
            hint="say where they are now with --data",
        )  # fmt: skip
    if data is None and not Path(info.config.source).is_absolute():
        # A scene that comes with fieldlab; a folder of that name here, such as the run itself, is not meant.
        return load_named(info.config.source, info.config.scene)
    return load_scene(info.config.source if data is None else str(data), info.config.scene)
