"""A run being segmented: its folder, checkpoints in time, metrics, and the hierarchy at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldlab.errors import ConfigError, require
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig, from_dict, read_toml, to_dict
from fieldlab.runs.folder import Run
from fieldlab.runs.load import run_header
from fieldlab.runs.recorded import recorded
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.segment.config import SegmentSettings
from fieldlab.segment.files import keep_edits, write_hierarchy
from fieldlab.segment.graph import largest_piece, neighbor_edges
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.masks import ImageMasks
from fieldlab.segment.segmenter import Segmenter, SegmentEvent
from fieldlab.segment.tree import NEIGHBORS, build_hierarchy, surface


@dataclass(frozen=True)
class SegmentConfig:
    """Everything a segmented run is made from."""

    run: RunConfig
    """The radiance field's, whose teacher is the run that was segmented."""
    segment: SegmentSettings
    masks: str
    """Where the masks were, or ``auto``."""
    run_print: str = ""
    """What the run that was segmented is known by, wherever it is now."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values: those of the run, and sections of their own."""
        about = {"masks": self.masks, "run_print": self.run_print}
        return {**self.run.to_dict(), "segment": {**to_dict(self.segment), **about}}

    @staticmethod
    def from_dict(values: dict[str, Any], file: Path | None = None) -> SegmentConfig:
        """The inverse of ``to_dict``.

        Raises:
            ConfigError: this run was not segmented, or a value is impossible.
        """
        section = values.get("segment")
        if not isinstance(section, dict):
            raise ConfigError("this run was not segmented", file=file, field="segment", found="missing")
        section = dict(section)
        masks, run_print = str(section.pop("masks", "auto")), str(section.pop("run_print", ""))
        settings = from_dict(SegmentSettings, section, "segment", file)
        return SegmentConfig(RunConfig.from_dict(values, file), settings, masks, run_print)


def read_segment_config(path: Path) -> SegmentConfig:
    """Read what a segmented run folder's ``config.toml`` says.

    Raises:
        ConfigError: the file is missing, not TOML, or not of a segmented run.
    """
    return SegmentConfig.from_dict(read_toml(path), path)


class SegmentSession:
    """Learns features from masks and keeps the run folder up to date. Use inside ``run.locked()``.

    Args:
        run: the folder.
        config: its configuration.
        model: the trained model, on the device to work on.
        scene: what its run keeps of the scene.
        masks: by number of the training photograph.
        resume: checkpoint to go on from.
        checkpoint_seconds: wall time between two checkpoints.
        least: points of the smallest part; a share of all without it.

    Raises:
        ConfigError: no photograph with masks sees anything, or no piece of it is as large as the smallest part.
        CheckpointError: the checkpoint does not fit the configuration.
    """

    def __init__(
        self,
        run: Run,
        config: SegmentConfig,
        model: RadianceModel,
        scene: SceneRecord,
        masks: Mapping[int, ImageMasks],
        *,
        resume: Checkpoint | None = None,
        checkpoint_seconds: float = 60.0,
        least: int | None = None,
    ) -> None:
        self.run, self.config, self.scene = run, config, scene
        self.checkpoint_seconds, self.least = checkpoint_seconds, least
        self.edits: Path | None = None
        """Where a tree that people had edited is kept since another was written."""
        self.segmenter = Segmenter(model, scene.cameras["train"], masks, config.segment)
        if resume is not None:
            self.segmenter.load(resume)
        self.segmenter.prepare()
        if least is not None:
            self._check_least(least)

    def events(self) -> Iterator[SegmentEvent]:
        """Learn to the end or until ``segmenter.stop()``; a checkpoint is written in any case."""
        return recorded(
            self.segmenter.events(), self.run, self.checkpoint_seconds,
            step=lambda: self.segmenter.progress.step, note=self._note, save=self.save,
        )  # fmt: skip

    def save(self) -> None:
        """Write a checkpoint now."""
        arrays, training = self.segmenter.state()
        header = run_header(self.config, self.segmenter.model, training, self.scene)
        self.run.save_checkpoint(self.segmenter.progress.step, arrays | self.scene.arrays(), header)

    def hierarchy(self) -> Hierarchy:
        """Make the tree of what was learnt and write it."""
        made = build_hierarchy(*surface(self.segmenter), self.least)
        self.edits = keep_edits(self.run.path)
        write_hierarchy(self.run.path, made)
        return made

    def _check_least(self, least: int) -> None:
        """Whether there can be a tree does not depend on what is learnt: it is known before."""
        points, _ = surface(self.segmenter)
        most = largest_piece(len(points), *neighbor_edges(points, NEIGHBORS))
        require(1 <= least <= most, "--least", least, f"1 to {most} points, of {len(points)} on the surface")

    def _note(self, event: SegmentEvent) -> None:
        self.run.append_metrics({k: v for k, v in asdict(event).items() if k != "seconds_left"})
