"""The session that distills a teacher's field into a student's run."""

from __future__ import annotations

from dataclasses import replace

import torch

from fieldlab.data.cameras import Cameras
from fieldlab.distill.config import DISTILLED, DistillSettings
from fieldlab.distill.distiller import Distiller, DistillEvent
from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldConfig
from fieldlab.render.build import build_model
from fieldlab.render.model import ModelConfig, RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import RunInfo, fingerprint
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.runs.session import Session
from fieldlab.training.build import FieldChoice, cells_per_side, choose_field
from fieldlab.training.config import TrainConfig

DEFAULT_SECONDS = 60.0


def distill_session(
    run: RunFolder,
    config: RunConfig,
    teacher: RadianceModel,
    scene: SceneRecord,
    *,
    resume: Checkpoint | None = None,
    checkpoint_seconds: float = 60.0,
) -> Session[DistillEvent]:
    """Distill a teacher into a student and keep its run folder up to date. Use inside ``run.locked()``.

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
    train = config.get(TrainConfig)
    student = build_model(config.field, student_config(config.field, teacher), train.seed).to(teacher.device)
    distiller = Distiller(teacher, student, scene.cameras["train"], config.get(DistillSettings), train)
    return Session(run, config, distiller, scene=scene, resume=resume, checkpoint_seconds=checkpoint_seconds)


def new_distill_config(
    teacher: RadianceModel,
    info: RunInfo,
    choice: FieldChoice,
    settings: DistillSettings,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> RunConfig:
    """What a new student of a run is made from; ``DEFAULT_SECONDS`` of distillation without limits.

    Raises:
        ConfigError: no such field, or the budget is too small for it.
    """
    field = choose_student(choice, teacher, info.scene.cameras["train"], teacher.device)
    if steps is None and seconds is None:
        seconds = DEFAULT_SECONDS
    train = TrainConfig(
        steps=steps, seconds=seconds, seed=seed, appearance=getattr(field, "appearance", 0),
        **{**field.recipe, **field.distill_recipe},
    )  # fmt: skip
    return RunConfig(
        DISTILLED.name, info.config.source, field, (train, settings, info.config.scene),
        str(info.run.path.resolve()), fingerprint(teacher, info.scene),
    )  # fmt: skip


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
