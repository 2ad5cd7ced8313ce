"""A run being trained: the trainer, its folder, checkpoints in time, metrics, and finding all of it again later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import torch

from fieldlab.data.scene import Scene
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import Run
from fieldlab.runs.load import run_header
from fieldlab.runs.recorded import recorded
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.train.build import choose_model, training_views
from fieldlab.train.distributed import World
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
