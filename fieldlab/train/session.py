"""A run being trained: the trainer, its folder, checkpoints in time, metrics, and finding all of it again later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.data.scene import Scene
from fieldlab.errors import CheckpointError, ConfigError
from fieldlab.render.model import ModelConfig, RadianceModel, config_dict
from fieldlab.train.build import build_model, choose_model, training_views
from fieldlab.train.checkpoint import Checkpoint, load_arrays, load_model
from fieldlab.train.config import RunConfig, from_dict
from fieldlab.train.distributed import World
from fieldlab.train.pose import PoseCorrections
from fieldlab.train.recorded import recorded
from fieldlab.train.run import Run
from fieldlab.train.trainer import Trainer, TrainEvent

_CAMERA_ARRAYS = ("camera_to_world", "intrinsics", "size", "model", "distortion")


class Session:
    """Trains a run and keeps its folder up to date. Use inside ``run.locked()``.

    Args:
        run: the folder.
        scene: what is trained on.
        config: the run's configuration.
        device: where.
        world: processes that train together; only the first one writes.
        resume: checkpoint to go on from.
        checkpoint_seconds: wall time between two checkpoints.

    Raises:
        DataError: the scene cannot be trained on.
        CheckpointError: the checkpoint does not fit the configuration.
    """

    def __init__(
        self,
        run: Run,
        scene: Scene,
        config: RunConfig,
        device: torch.device,
        *,
        world: World | None = None,
        resume: Checkpoint | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        training_views(scene)
        self.run, self.scene, self.config = run, scene, config
        self.world = world or World()
        self.checkpoint_seconds = checkpoint_seconds
        model = build_model(config.field, choose_model(scene, config.train), config.train.seed).to(device)
        self.trainer = Trainer(model, scene.splits["train"], config.train, self.world)
        if resume is not None:
            self.trainer.load(resume)

    @property
    def model(self) -> RadianceModel:
        return self.trainer.model

    def events(self) -> Iterator[TrainEvent]:
        """Train to the end or until ``trainer.stop()``; a checkpoint is written in any case, also after an error in
        the consumer of the events."""
        return recorded(
            self.trainer.events(), self.run, self.checkpoint_seconds,
            step=lambda: self.trainer.progress.step, note=self._note, save=self.save,
        )  # fmt: skip

    def save(self) -> int:
        """Write a checkpoint now; returns its step."""
        if self.world.rank == 0:
            arrays, training = self.trainer.state()
            for split, views in self.scene.splits.items():
                for name in _CAMERA_ARRAYS:
                    arrays[f"cameras.{split}.{name}"] = getattr(views.cameras, name)
            self.run.save_checkpoint(self.trainer.progress.step, arrays, self._header(training))
        return self.trainer.progress.step

    def _header(self, training: dict[str, Any]) -> dict[str, Any]:
        return {
            "run": self.config.to_dict(),
            "model": config_dict(self.model.config),
            "training": training,
            "scene": {
                "name": self.scene.name,
                "source": self.scene.source,
                "format": self.scene.format,
                "views": {split: views.names for split, views in self.scene.splits.items()},
            },
        }

    def _note(self, event: TrainEvent) -> None:
        if self.world.rank == 0:
            self.run.append_metrics({k: v for k, v in asdict(event).items() if k != "seconds_left"})


@dataclass
class RunInfo:
    """What a run knows besides its model.

    Args:
        run: its folder.
        config: what it was made from.
        scene_name, source, format: the scene.
        cameras: of every split, with the corrections of pose refinement.
        names: of every view of every split.
        step, seconds: how long it was trained.
        psnr: over the last training rays in dB, None before the first step.
        checkpoint: the file that was read.
    """

    run: Run
    config: RunConfig
    scene_name: str
    source: str
    format: str
    cameras: dict[str, Cameras]
    names: dict[str, list[str]]
    step: int
    seconds: float
    psnr: float | None
    checkpoint: Path | None


def load_run(path: str | Path, device: torch.device | str = "cpu") -> tuple[RadianceModel, RunInfo]:
    """The newest state of a run, ready to render; the photographs are not needed.

    Raises:
        RunFolderError: the folder is missing or is no run.
        CheckpointError: there is no checkpoint, or it cannot be read.
    """
    run = Run.open(path)
    checkpoint = run.latest_checkpoint()
    header = checkpoint.header
    try:
        config = RunConfig.from_dict(header["run"], checkpoint.path)
        model_config = from_dict(ModelConfig, header["model"], "model", checkpoint.path)
        scene, progress = header["scene"], header["training"]["progress"]
        cameras = {split: _cameras(checkpoint, split) for split in scene["views"]}
        step, seconds = int(progress["step"]), float(progress["seconds"])
        name, source, kind, names = scene["name"], scene["source"], scene["format"], scene["views"]
    except ConfigError as error:
        if error.field == "kind":  # not of a scene at all
            raise
        raise CheckpointError("a checkpoint holds an impossible configuration", file=checkpoint.path, found=error.what,
                              field=error.field) from error  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError("a checkpoint's header is incomplete", file=checkpoint.path, field=str(error)) from error
    model = build_model(config.field, model_config, seed=0)
    load_model(model, checkpoint)
    if "train" in cameras and (corrections := checkpoint.part("poses")):
        cameras["train"] = _corrected(cameras["train"], corrections, model, checkpoint.path)
    rows = [row for row in run.metrics() if row.get("psnr") is not None and row.get("step", 0) <= step]
    psnr = float(rows[-1]["psnr"]) if rows else None
    info = RunInfo(run, config, name, source, kind, cameras, names, step, seconds, psnr, checkpoint.path)
    return model.to(device).eval().requires_grad_(False), info


def _cameras(checkpoint: Checkpoint, split: str) -> Cameras:
    arrays = checkpoint.part(f"cameras.{split}")
    cameras = Cameras(*(arrays[name] for name in _CAMERA_ARRAYS))
    count = len(cameras)
    for f in fields(cameras):
        if f.name in _CAMERA_ARRAYS and len(arrays[f.name]) != count:
            raise CheckpointError("cameras in a checkpoint have differing numbers", file=checkpoint.path, field=f.name)
    return cameras


def _corrected(cameras: Cameras, arrays: dict[str, Tensor], model: RadianceModel, path: Path | None) -> Cameras:
    corrections = PoseCorrections(len(cameras), model.field.unit_length)
    load_arrays(corrections, arrays, path)
    with torch.no_grad():
        poses = corrections(cameras.camera_to_world)
    return Cameras(poses, cameras.intrinsics, cameras.size, cameras.model, cameras.distortion)
