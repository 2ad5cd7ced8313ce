"""A run's views as a capture for other programs: rendered pictures with maps and cameras, or the cameras alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fieldlab.errors import ConfigError, require
from fieldlab.export.cameras_files import write_cameras
from fieldlab.export.maps import check_maps, write_maps
from fieldlab.export.points import PointCloud, surface_points
from fieldlab.export.views import check_views, choose_views, picture_names
from fieldlab.render.model import RadianceModel
from fieldlab.runs.load import RunInfo
from fieldlab.segment.segmentation import Segmentation

POINTS = 50_000  # that go along with cameras

Progress = Callable[[str, int, int], object]
"""Told of a stage, how much of it is done, and how much there is to do."""


def check_folder(folder: Path) -> None:
    """Whether a folder can be made here.

    Raises:
        ConfigError: a file is in its place.
    """
    if folder.is_file():
        raise ConfigError("there is a file in the place of the folder", file=folder)


def check_maps_options(
    folder: Path, kinds: Sequence[str], format: str, views: str, threshold: float | None, segmented: bool
) -> None:
    """Whether maps can be made like this, before anything is computed.

    Args:
        segmented: whether the run has segments.

    Raises:
        ConfigError: the folder is a file, or a kind, the format, the views or the threshold is impossible.
    """
    check_folder(folder)
    check_views(views)
    require(threshold is None or threshold >= 0, "--threshold", threshold, "a number from 0 up")
    check_maps(kinds, format, 0 if segmented else None)


def export_maps(
    folder: Path, model: RadianceModel, info: RunInfo, views: str, kinds: Sequence[str], format: str,
    segmentation: Segmentation | None, threshold: float | None, on_progress: Progress = lambda *_: None,
) -> tuple[int, list[str]]:  # fmt: skip
    """Write pictures, maps and cameras of views.

    Args:
        views: train, test, val, all, or a camera path file.
        threshold: of labels; the middle one of all different cuts by default.

    Returns:
        How many views there are, and sentences on what could not be written.

    Raises:
        ConfigError, DataError: see :func:`choose_views` and :func:`fieldlab.export.maps.write_maps`.
        RunFolderError: the folder cannot be written.
    """
    _keep_photographs(folder, info)
    chosen = choose_views(views, info)
    notes = write_maps(
        folder, model, chosen.cameras, chosen.names, kinds, format=format, segmentation=segmentation,
        threshold=threshold, splits=chosen.splits, points=_points(model, info, on_progress),
        tick=lambda done, total: on_progress("maps", done, total),
    )  # fmt: skip
    return len(chosen.names), notes


def export_cameras(
    folder: Path, model: RadianceModel, info: RunInfo, views: str, on_progress: Progress = lambda *_: None
) -> tuple[int, list[str]]:
    """Write the cameras of views as transforms.json and COLMAP's model, with points.

    Pictures are not written: the frames name those of the run's photographs, to be put into the folder beside.

    Returns:
        How many cameras there are, and sentences on what could not be written.

    Raises:
        ConfigError, DataError: see :func:`choose_views`; or no format holds these cameras.
        RunFolderError: the folder cannot be written.
    """
    _keep_photographs(folder, info)
    chosen = choose_views(views, info)
    points = _points(model, info, on_progress)
    notes = write_cameras(folder, chosen.cameras, picture_names(chosen), splits=chosen.splits, points=points)
    return len(chosen.names), notes


def _keep_photographs(folder: Path, info: RunInfo) -> None:
    """Refuse the folder of the capture itself, whose pictures and poses would be lost."""
    source = Path(info.scene.source)
    home = source if source.is_dir() else source.parent
    if source.exists() and folder.resolve() == home.resolve():
        raise ConfigError("this folder holds the photographs of the run", file=folder, hint="choose another one")


def _points(model: RadianceModel, info: RunInfo, on_progress: Progress) -> PointCloud | None:
    """Points for programs that start from some, None where no training camera sees a surface."""
    try:
        return surface_points(model, info.scene.cameras["train"], POINTS,
                              lambda share: on_progress("points", round(100 * share), 100))  # fmt: skip
    except ConfigError:
        return None
