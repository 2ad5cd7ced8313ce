"""Where the photographs and sparse points of a run come from: files that it was trained from, or a scene in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fieldlab.data.scene import Scene
from fieldlab.data.views import Views
from fieldlab.runs.load import RunInfo
from fieldlab.runs.photographs import reload_scene, reload_views

Points = tuple[np.ndarray, np.ndarray]
"""Positions float32 [P,3] and colors uint8 [P,3]."""


class SceneSource(Protocol):
    """What a field was learnt from."""

    def views(self) -> Views:
        """The training views.

        Raises:
            DataError: they are gone.
        """

    def points(self) -> Points | None:
        """Sparse points, None where there were none.

        Raises:
            DataError: the scene is gone.
        """


@dataclass(frozen=True)
class StoredScene:
    """Of a finished run: its files are read again when something is asked for."""

    info: RunInfo

    def views(self) -> Views:
        return reload_views(self.info, "train")

    def points(self) -> Points | None:
        return points_of(reload_scene(self.info))


@dataclass(frozen=True)
class LoadedScene:
    """A scene that is being trained on."""

    scene: Scene

    def views(self) -> Views:
        return self.scene.splits["train"]

    def points(self) -> Points | None:
        return points_of(self.scene)


def points_of(scene: Scene) -> Points | None:
    """Sparse points of a scene, gray where they have no colors."""
    if scene.points is None:
        return None
    gray = np.full((len(scene.points), 3), 128, np.uint8)
    return scene.points.numpy(), gray if scene.point_colors is None else scene.point_colors.numpy()
