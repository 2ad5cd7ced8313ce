"""A run being trained: the trainer, its folder, checkpoints in time, metrics, and finding all of it again later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.data.scene import Scene
from fieldlab.errors import CheckpointError, ConfigError
from fieldlab.fields.head import HeadConfig
from fieldlab.fields.registry import config_to_dict
from fieldlab.render.model import ModelConfig, RadianceModel, config_dict
from fieldlab.train.build import build_model, choose_model, training_views
from fieldlab.train.checkpoint import Checkpoint, load_arrays, load_model
from fieldlab.train.config import RunConfig, Stored, from_dict
from fieldlab.train.distributed import World
from fieldlab.train.pose import PoseCorrections
from fieldlab.train.record import SceneRecord
from fieldlab.train.recorded import recorded
from fieldlab.train.run import Run
from fieldlab.train.trainer import Trainer, TrainEvent


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
            record = SceneRecord.of(self.scene)
            header = run_header(self.config, self.model, training, record)
            self.run.save_checkpoint(self.trainer.progress.step, arrays | record.arrays(), header)
        return self.trainer.progress.step

    def _note(self, event: TrainEvent) -> None:
        if self.world.rank == 0:
            self.run.append_metrics({k: v for k, v in asdict(event).items() if k != "seconds_left"})


def run_header(config: Stored, model: RadianceModel, training: dict[str, Any], scene: SceneRecord) -> dict[str, Any]:
    """Everything of a checkpoint that is no array."""
    return {
        "run": config.to_dict(),
        "model": config_dict(model.config),
        "heads": [model.head(name).config.to_dict() for name in model.heads],
        "training": training,
        "scene": scene.header(),
    }


@dataclass
class RunInfo:
    """What a run knows besides its model.

    Args:
        run: its folder.
        config: what it was made from.
        scene: where it came from, cameras (with the corrections of pose refinement) and names of its views.
        step, seconds: how long it was trained.
        psnr: over the last training rays in dB, None before the first step.
        checkpoint: the file that was read.
        distilled: whether it learnt from another field instead of photographs, and ``psnr`` is against that field.
    """

    run: Run
    config: RunConfig
    scene: SceneRecord
    step: int
    seconds: float
    psnr: float | None
    checkpoint: Path | None
    distilled: bool = False


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
        heads = [HeadConfig.from_dict(values) for values in header.get("heads", [])]
        scene, progress = SceneRecord.read(checkpoint), header["training"]["progress"]
        step, seconds = int(progress["step"]), float(progress["seconds"])
    except ConfigError as error:
        if error.field == "kind":  # not of a scene at all
            raise
        raise CheckpointError("a checkpoint holds an impossible configuration", file=checkpoint.path, found=error.what,
                              field=error.field) from error  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError("a checkpoint's header is incomplete", file=checkpoint.path, field=str(error)) from error
    model = build_model(config.field, model_config, seed=0)
    for head in heads:
        model.add_head(head)
    load_model(model, checkpoint)
    if "train" in scene.cameras and (corrections := checkpoint.part("poses")):
        scene.cameras["train"] = _corrected(scene.cameras["train"], corrections, model, checkpoint.path)
    rows = [row for row in run.metrics() if row.get("psnr") is not None and row.get("step", 0) <= step]
    psnr = float(rows[-1]["psnr"]) if rows else None
    distilled = "stage" in header["training"]["progress"]  # which a training run's progress lacks
    info = RunInfo(run, config, scene, step, seconds, psnr, checkpoint.path, distilled)
    return model.to(device).eval().requires_grad_(False), info


def _corrected(cameras: Cameras, arrays: dict[str, Tensor], model: RadianceModel, path: Path | None) -> Cameras:
    corrections = PoseCorrections(len(cameras), model.field.unit_length)
    load_arrays(corrections, arrays, path)
    with torch.no_grad():
        poses = corrections(cameras.camera_to_world)
    return Cameras(poses, cameras.intrinsics, cameras.size, cameras.model, cameras.distortion)


def fingerprint(model: RadianceModel, scene: SceneRecord) -> str:
    """What a run is known by wherever it is: its field's and model's settings and its training cameras."""
    plain = json.dumps([config_to_dict(model.field.config), config_dict(model.config), scene.names], sort_keys=True)
    poses = scene.cameras["train"].camera_to_world.cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(plain.encode() + poses).hexdigest()[:16]
