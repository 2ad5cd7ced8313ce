"""The session that trains a run on the photographs of a scene."""

from __future__ import annotations

from dataclasses import replace

import torch

from fieldlab.data.scene import Scene
from fieldlab.errors import DataError
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import stored_model
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.runs.session import Session
from fieldlab.training.build import choose_model, training_views
from fieldlab.training.config import TrainConfig
from fieldlab.training.distributed import World
from fieldlab.training.trainer import Trainer, TrainEvent


def train_session(
    run: RunFolder,
    scene: Scene,
    config: RunConfig,
    device: torch.device,
    *,
    world: World | None = None,
    teacher: RadianceModel | None = None,
    marcher: str = "native",
    resume: Checkpoint | None = None,
    checkpoint_seconds: float = 60.0,
) -> Session[TrainEvent]:
    """Train a run and keep its folder up to date. Use inside ``run.locked()``.

    Args:
        run: the folder.
        scene: what is trained on.
        config: the run's configuration.
        device: where.
        world: processes that train together; only the first one writes.
        teacher: model of the same scene from which a new field is initialised.
        marcher: who finds samples along rays, see :meth:`RadianceModel.use_marcher`.
        resume: checkpoint to go on from.
        checkpoint_seconds: wall time between two checkpoints.

    Raises:
        DataError: the scene cannot be trained on.
        ConfigError: the teacher covers another box, or the field cannot use it.
        CheckpointError: the checkpoint does not fit the configuration.
    """
    training_views(scene)
    world, settings = world or World(), config.get(TrainConfig)
    by_view = settings.appearance or settings.pose_refinement or (resume is not None and resume.part("exposures"))
    if resume is not None and by_view:
        _check_same_views(scene, resume)
    # A run that goes on keeps its box and steps, whatever would be chosen today.
    chosen = choose_model(scene, settings) if resume is None else stored_model(resume)
    model = build_model(config.field, chosen, settings.seed).to(device)
    model.use_marcher(marcher)
    if scene.plain and settings.background == "random":
        # Before any other color the plain background would have to be learnt as a wall around the object.
        settings = replace(settings, background=scene.background)
    trainer = Trainer(model, scene.splits["train"], settings, world, teacher, scene.splits.get("val"))
    return Session(
        run, config, trainer, scene=SceneRecord.of(scene), resume=resume, checkpoint_seconds=checkpoint_seconds,
        writes=world.rank == 0,
    )  # fmt: skip


def _check_same_views(scene: Scene, resume: Checkpoint) -> None:
    """What was learnt of every view belongs to that view.

    Raises:
        DataError: there are other views now.
    """
    before, now = SceneRecord.read(resume).names.get("train", []), list(scene.splits["train"].names)
    if before != now:
        raise DataError(
            "the scene has changed since the run was trained", file=scene.source, field="train",
            found=f"{len(now)} views", expected=f"the {len(before)} views it had", hint="train again",
        )  # fmt: skip
