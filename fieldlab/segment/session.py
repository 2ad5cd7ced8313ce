"""The session that segments a run, and the tree at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from fieldlab.errors import require
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import RunInfo, fingerprint
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.runs.session import Session
from fieldlab.segment.config import SEGMENTED, SegmentSettings
from fieldlab.segment.files import back_up_edits, write_hierarchy
from fieldlab.segment.graph import largest_piece, neighbor_edges
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.masks import ImageMasks
from fieldlab.segment.segmenter import Segmenter, SegmentEvent
from fieldlab.segment.tree import NEIGHBORS, build_hierarchy, surface
from fieldlab.training.config import TrainConfig

DEFAULT_SECONDS = 390.0


def segment_session(
    run: RunFolder,
    config: RunConfig,
    model: RadianceModel,
    scene: SceneRecord,
    masks: Mapping[int, ImageMasks],
    *,
    resume: Checkpoint | None = None,
    checkpoint_seconds: float = 60.0,
    least: int | None = None,
) -> Session[SegmentEvent]:
    """Learn features from masks and keep the run folder up to date. Use inside ``run.locked()``.

    Args:
        run: the folder.
        config: its configuration.
        model: the trained model, on the device to work on.
        scene: what its run keeps of the scene.
        masks: by number of the training photograph.
        resume: checkpoint to go on from.
        checkpoint_seconds: wall time between two checkpoints.
        least: points of the smallest segment that :func:`write_tree` shall make.

    Raises:
        ConfigError: no photograph with masks sees anything, or no piece of it has ``least`` points.
        CheckpointError: the checkpoint does not fit the configuration.
    """
    segmenter = Segmenter(model, scene.cameras["train"], masks, config.get(SegmentSettings))
    session = Session(run, config, segmenter, scene=scene, resume=resume, checkpoint_seconds=checkpoint_seconds)
    if least is not None:
        _check_least(segmenter, least)
    return session


def new_segment_config(model: RadianceModel, info: RunInfo, settings: SegmentSettings) -> RunConfig:
    """What a new segmentation of a run is made from; ``DEFAULT_SECONDS`` of learning without limits."""
    if settings.steps is None and settings.seconds is None:
        settings = replace(settings, seconds=DEFAULT_SECONDS)
    base = info.config
    return RunConfig(
        SEGMENTED.name, base.source, base.field, (base.get(TrainConfig), settings, base.scene),
        str(info.run.path.resolve()), fingerprint(model, info.scene),
    )  # fmt: skip


def _check_least(segmenter: Segmenter, least: int) -> None:
    """Whether there can be a tree does not depend on what is learnt: it is known before."""
    points, _ = surface(segmenter)
    most = largest_piece(len(points), *neighbor_edges(points, NEIGHBORS))
    require(1 <= least <= most, "--least", least, f"1 to {most} points, of {len(points)} on the surface")


def write_tree(session: Session[SegmentEvent], least: int | None = None) -> tuple[Hierarchy, Path | None]:
    """Make the tree of what was learnt and write it into the run.

    Args:
        least: points of the smallest segment; a share of all without it.

    Returns:
        The tree, and where one that people had edited is kept since this one was written.
    """
    made = build_hierarchy(*surface(cast(Segmenter, session.loop)), least)
    edited = back_up_edits(session.run.path)
    write_hierarchy(session.run.path, made)
    return made, edited
