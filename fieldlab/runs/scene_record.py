"""What a run keeps of its scene, so that it can be rendered and distilled without the photographs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.data.scene import Scene
from fieldlab.errors import CheckpointError
from fieldlab.runs.checkpoint import Checkpoint

_CAMERA_ARRAYS = ("camera_to_world", "intrinsics", "size", "model", "distortion")


@dataclass
class SceneRecord:
    """Where a scene came from, and the cameras and names of every split of its views."""

    name: str
    source: str
    format: str
    cameras: dict[str, Cameras]
    names: dict[str, list[str]]

    @staticmethod
    def of(scene: Scene) -> SceneRecord:
        """What is kept of a scene."""
        cameras = {split: views.cameras for split, views in scene.splits.items()}
        names = {split: list(views.names) for split, views in scene.splits.items()}
        return SceneRecord(scene.name, scene.source, scene.format, cameras, names)

    def arrays(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {
            f"cameras.{split}.{name}": getattr(cameras, name)
            for split, cameras in self.cameras.items()
            for name in _CAMERA_ARRAYS
        }

    def header(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"name": self.name, "source": self.source, "format": self.format, "views": self.names}

    @staticmethod
    def read(checkpoint: Checkpoint) -> SceneRecord:
        """What a checkpoint keeps.

        Raises:
            KeyError: something is missing.
            CheckpointError: cameras do not fit together.
        """
        scene = checkpoint.header["scene"]
        cameras = {split: _cameras(checkpoint, split) for split in scene["views"]}
        return SceneRecord(scene["name"], scene["source"], scene["format"], cameras, scene["views"])


def _cameras(checkpoint: Checkpoint, split: str) -> Cameras:
    arrays = checkpoint.part(f"cameras.{split}")
    cameras = Cameras(*(arrays[name] for name in _CAMERA_ARRAYS))
    count = len(cameras)
    for f in fields(cameras):
        if f.name in _CAMERA_ARRAYS and len(arrays[f.name]) != count:
            raise CheckpointError("cameras in a checkpoint have differing numbers", file=checkpoint.path, field=f.name)
    return cameras
