"""fieldlab export: maps of views and cameras, for other programs and for training again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.apps.progress import Bar
    from fieldlab.data.cameras import Cameras
    from fieldlab.export.points import PointCloud
    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.load import RunInfo
    from fieldlab.segment.segmentation import Segmentation

POINTS = 50_000  # that go along with cameras


@dataclass(frozen=True)
class Chosen:
    """Cameras to export, the name of each and, where they are a run's own, the split of each."""

    cameras: Cameras
    names: list[str]
    splits: list[str] | None = None


def check_maps_options(
    folder: Path, kinds: Sequence[str], format: str, views: str, threshold: float | None, segmented: bool
) -> None:
    """Whether maps can be made like this, before anything is computed.

    Args:
        segmented: whether the run has parts.

    Raises:
        ConfigError: the folder is a file, or a kind, the format, the views or the threshold is impossible.
    """
    from fieldlab.errors import require
    from fieldlab.export.maps import check_maps

    check_cameras_folder(folder)
    check_views(views)
    require(threshold is None or threshold >= 0, "--threshold", threshold, "a number from 0 up")
    check_maps(kinds, format, 0 if segmented else None)


def check_cameras_folder(folder: Path) -> None:
    """Whether a folder can be made here.

    Raises:
        ConfigError: a file is in its place.
    """
    from fieldlab.errors import ConfigError

    if folder.is_file():
        raise ConfigError("there is a file in the place of the folder", file=folder)


def check_views(views: str) -> None:
    """Whether this may name views.

    Raises:
        ConfigError: it is neither a word nor the name of a JSON file that is there.
    """
    from fieldlab.errors import ConfigError

    path = views.lower().endswith(".json")
    if (path and not Path(views).is_file()) or not (path or views.isalpha()):
        raise ConfigError("there are no such views", field="--views", found=views,
                          expected="train, test, val, all, or a camera path (.json)")  # fmt: skip


def choose_views(views: str, info: RunInfo) -> Chosen:
    """The views of a run's split, of all its splits, or of a camera path file.

    Raises:
        DataError: the run has no such split, or the file is damaged.
    """
    from fieldlab.data.cameras import Cameras
    from fieldlab.errors import DataError
    from fieldlab.pictures.nerfstudio_path import read_camera_path

    if views.lower().endswith(".json"):
        cameras = read_camera_path(views).cameras
        return Chosen(cameras, [f"frame_{i:05d}" for i in range(len(cameras))])
    scene = info.scene
    splits = list(scene.cameras) if views == "all" else [views]
    if not set(splits) <= set(scene.cameras):
        raise DataError("the run has no such split of views", file=info.run.path, field="--views", found=views,
                        expected=", ".join([*scene.cameras, "all"]))  # fmt: skip
    names = [name for split in splits for name in scene.names[split]]
    if len(set(names)) < len(names):  # each split counts from 0
        names = [f"{split}/{name}" for split in splits for name in scene.names[split]]
    members = [split for split in splits for _ in scene.names[split]]
    return Chosen(Cameras.concatenate([scene.cameras[split].to("cpu") for split in splits]), names, members)


def export_maps(
    folder: Path, kinds: Sequence[str], format: str, views: str, model: RadianceModel, info: RunInfo,
    segmentation: Segmentation | None, threshold: float | None, bar: Bar, console: Console,
) -> None:  # fmt: skip
    """Write pictures, maps and cameras of views, and say what was made.

    Args:
        views: train, test, val, all, or a camera path file.
        threshold: of labels; the middle one of all different cuts by default.

    Raises:
        ConfigError, DataError: see :func:`choose_views` and :func:`fieldlab.export.maps.write_maps`.
        RunFolderError: the folder cannot be written.
    """
    from fieldlab.export.maps import write_maps

    _keep_photographs(folder, info)
    chosen = choose_views(views, info)
    notes = write_maps(
        folder, model, chosen.cameras, chosen.names, kinds, format=format, segmentation=segmentation,
        threshold=threshold, splits=chosen.splits, points=_points(model, info, bar),
        tick=lambda done, total: bar.show("maps", done, total),
    )  # fmt: skip
    text = f"{folder}: pictures of {len(chosen.names)} views with {', '.join(kinds) or 'no maps'} and cameras"
    console.print("; ".join([text, *notes]), highlight=False, soft_wrap=True)


def export_cameras(folder: Path, views: str, model: RadianceModel, info: RunInfo, bar: Bar, console: Console) -> None:
    """Write the cameras of views as transforms.json and COLMAP's model, with points, and say what was made.

    Pictures are not written: the frames name those of the run's photographs, to be put into the folder beside.

    Raises:
        ConfigError, DataError: see :func:`choose_views`; or no format holds these cameras.
        RunFolderError: the folder cannot be written.
    """
    from fieldlab.export.cameras_files import write_cameras

    _keep_photographs(folder, info)
    chosen = choose_views(views, info)
    names = picture_names(chosen)
    notes = write_cameras(folder, chosen.cameras, names, splits=chosen.splits, points=_points(model, info, bar))
    text = f"{folder}: {len(names)} cameras for nerfstudio and COLMAP; their pictures belong in {folder / 'images'}"
    console.print("; ".join([text, *notes]), highlight=False, soft_wrap=True)


def picture_names(chosen: Chosen) -> list[str]:
    """The pictures of views, as paths within a folder ``images``.

    Some data sets' names begin with that folder, and some have no suffix.
    """
    from fieldlab.data.images import IMAGE_SUFFIXES

    names = [name.replace("\\", "/").removeprefix("./") for name in chosen.names]
    names = [name if Path(name).suffix.lower() in IMAGE_SUFFIXES else f"{name}.png" for name in names]
    below = all(name.startswith("images/") for name in names)
    return [name.removeprefix("images/") for name in names] if below else names


def _keep_photographs(folder: Path, info: RunInfo) -> None:
    """Refuse the folder of the capture itself, whose pictures and poses would be lost."""
    from fieldlab.errors import ConfigError

    source = Path(info.scene.source)
    home = source if source.is_dir() else source.parent
    if source.exists() and folder.resolve() == home.resolve():
        raise ConfigError("this folder holds the photographs of the run", file=folder, hint="choose another one")


def _points(model: RadianceModel, info: RunInfo, bar: Bar) -> PointCloud | None:
    """Points for programs that start from some, None where no training camera sees a surface."""
    from fieldlab.errors import ConfigError
    from fieldlab.export.points import surface_points

    try:
        return surface_points(model, info.scene.cameras["train"], POINTS, lambda share: bar.share("points", share))
    except ConfigError:
        return None
