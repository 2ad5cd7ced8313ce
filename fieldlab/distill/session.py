"""A student being distilled: its folder, checkpoints in time, metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, replace

import torch

from fieldlab.data.cameras import Cameras
from fieldlab.distill.config import DistillConfig
from fieldlab.distill.distiller import Distiller, DistillEvent
from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldConfig
from fieldlab.render.build import build_model
from fieldlab.render.model import ModelConfig, RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.folder import Run
from fieldlab.runs.load import run_header
from fieldlab.runs.recorded import recorded
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.train.build import FieldChoice, cells_per_side, choose_field


class DistillSession:
    """Distills a teacher into a student and keeps its run folder up to date. Use inside ``run.locked()``.

    Args:
        run: the student's folder.
        config: its configuration.
        teacher: a trained model, on the device to work on.
        scene: what the teacher's run keeps of its scene; the student's run keeps the same.
        resume: checkpoint to go on from.
        checkpoint_seconds: wall time between two checkpoints.

    Raises:
        CheckpointError: the checkpoint does not fit the configuration.
    """

    def __init__(
        self,
        run: Run,
        config: DistillConfig,
        teacher: RadianceModel,
        scene: SceneRecord,
        *,
        resume: Checkpoint | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self.run, self.config, self.scene = run, config, scene
        self.checkpoint_seconds = checkpoint_seconds
        model = student_config(config.run.field, teacher)
        student = build_model(config.run.field, model, config.run.train.seed).to(teacher.device)
        self.distiller = Distiller(teacher, student, scene.cameras["train"], config)
        self.log: list[str] = []
        if resume is None:
            self.log = self.distiller.begin()
        else:
            self.distiller.load(resume)

    @property
    def student(self) -> RadianceModel:
        return self.distiller.student

    def events(self) -> Iterator[DistillEvent]:
        """Distill to the end or until ``distiller.stop()``; a checkpoint is written in any case."""
        yield from recorded(
            self.distiller.events(), self.run, self.checkpoint_seconds,
            step=lambda: self.distiller.progress.step, note=self._note, save=self.save,
        )  # fmt: skip
        if self.distiller.finished and not self.distiller.progress.settled:
            self.distiller.finish()
            self.save()

    def save(self) -> None:
        """Write a checkpoint now."""
        arrays, training = self.distiller.state()
        header = run_header(self.config, self.student, training, self.scene)
        self.run.save_checkpoint(self.distiller.progress.step, arrays | self.scene.arrays(), header)

    def _note(self, event: DistillEvent) -> None:
        row = {k: v for k, v in asdict(event).items() if k != "seconds_left"}
        self.run.append_metrics({k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})


def student_config(field: FieldConfig, teacher: RadianceModel) -> ModelConfig:
    """The teacher's box, contraction, steps, background and photographs' appearance, the latter for fields with any."""
    keeps = bool(getattr(field, "appearance", 0))
    return replace(teacher.config, n_images=teacher.config.n_images if keeps else 0)


def choose_student(choice: FieldChoice, teacher: RadianceModel, cameras: Cameras, device: torch.device) -> FieldConfig:
    """The student's configuration: detail as fine as the pixels of the training ``cameras``, size by budget or
    device, and without a coarse network, since the teacher knows where to look.

    Raises:
        ConfigError: no such field, or the budget is too small for it.
    """
    footprint = cells_per_side(cameras, teacher.config.box(), teacher.config.unbounded)
    appearance = 0 if teacher.appearance is None else teacher.appearance.shape[1]
    try:
        field = choose_field(choice, footprint, appearance, device)
    except ConfigError as error:
        if not appearance or "appearance" not in error.what:
            raise
        field = choose_field(choice, footprint, 0, device)  # it learns the mean appearance
    return field.as_part()
