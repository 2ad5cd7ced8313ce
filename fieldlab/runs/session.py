"""A run while something learns: its folder is kept up to date, with checkpoints in time and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from fieldlab.errors import DivergedError
from fieldlab.fields.head import HeadConfig
from fieldlab.render.model import RadianceModel, config_dict
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig, write_config
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.limits import Limits
from fieldlab.runs.loop import Event, Loop
from fieldlab.runs.scene_record import SceneRecord

METRICS_SECONDS = 1.0

E = TypeVar("E", bound=Event)


class Session(Generic[E]):
    """Lets a loop learn, and records, checkpoints and resumes it. Use inside ``run.locked()``.

    Args:
        run: the folder.
        config: the run's configuration.
        loop: what learns; it is started here.
        scene: what the run keeps of its scene, None where there is none.
        resume: checkpoint to go on from.
        checkpoint_seconds: wall time between two checkpoints.
        writes: whether this process is the one that writes, of several that train together.

    Raises:
        CheckpointError: the checkpoint does not fit the configuration.
    """

    def __init__(
        self,
        run: RunFolder,
        config: RunConfig,
        loop: Loop[E],
        *,
        scene: SceneRecord | None = None,
        resume: Checkpoint | None = None,
        checkpoint_seconds: float = 60.0,
        writes: bool = True,
    ) -> None:
        self.run, self.config, self.loop, self.scene = run, config, loop, scene
        self.checkpoint_seconds, self.writes = checkpoint_seconds, writes
        if resume is not None and writes:
            run.trim_metrics(resume.step)
        self.log = loop.start(resume)
        """What starting did, in words for people."""

    @property
    def model(self) -> RadianceModel:
        """The model that learns."""
        assert self.loop.model is not None, "this session is of no radiance field"
        return self.loop.model

    def events(self) -> Iterator[E]:
        """Learn to the end or until ``loop.stop()``. A checkpoint is written in any case, also after an error in the
        consumer of the events, unless learning itself went wrong."""
        saved = noted = time.monotonic()
        written = self._at() if self.run.checkpoints() else None
        event: E | None = None
        diverged = False
        try:
            for event in self.loop.events():
                if time.monotonic() - noted >= METRICS_SECONDS:
                    self._note(event)
                    noted = time.monotonic()
                if time.monotonic() - saved >= self.checkpoint_seconds:
                    self.save()
                    written, saved = self._at(), time.monotonic()
                yield event
        except DivergedError:
            diverged = True
            raise
        finally:
            if not diverged and self._at() != written:
                if event is not None:
                    self._note(event)
                self.save()

    def _at(self) -> dict[str, Any]:
        """Where learning is; it changes with every step, and when the loop finishes."""
        return asdict(self.loop.progress)

    def save(self) -> int:
        """Write a checkpoint now; returns its step."""
        step = self.loop.progress.step
        if self.writes:
            arrays, training = self.loop.state()
            if self.loop.model is not None:
                header = run_header(self.loop.model, training, self.scene)
            else:
                header = {"training": training}
            kept = {} if self.scene is None else self.scene.arrays()
            self.run.save_checkpoint(step, arrays | kept, header, self.loop.best_step)
        return step

    def _note(self, event: E) -> None:
        if self.writes:
            self.run.append_metrics(event.row())


def reopen(
    path: str | Path,
    kind: str,
    limits: type,
    *,
    steps: int | None,
    seconds: float | None,
    check: Callable[[RunConfig], object] = lambda config: None,
    writes: bool = True,
) -> tuple[RunFolder, RunConfig, Checkpoint | None]:
    """A run to go on with.

    Args:
        path: its folder.
        kind: what it has to be.
        limits: which settings hold its steps and seconds.
        steps, seconds: new limits; those it has stay where both are None.
        check: may refuse, before anything is written.
        writes: whether this process is the one that writes, of several that train together.

    Returns:
        The folder, the configuration, and the checkpoint; None if it was interrupted before the first one and so
        begins anew, with its own settings.

    Raises:
        FieldlabError: there is no such run, or it is damaged, or ``check`` refuses.
    """
    run = RunFolder.open(path)
    config = run.config(kind)
    check(config)
    checkpoint = run.latest_checkpoint() if run.checkpoints() else None
    if steps is not None or seconds is not None:
        longer: Any = replace(config.get(limits), steps=steps, seconds=seconds)
        config = config.with_settings(longer)
        if writes and not _reached(Limits(steps, seconds), checkpoint):
            write_config(run.config_file, config)  # what it was extended to outlives an interruption
    return run, config, checkpoint


def _reached(limits: Limits, checkpoint: Checkpoint | None) -> bool:
    """Whether a run has learnt as much already, so that its limits stay those by which it did."""
    try:
        progress = {} if checkpoint is None else checkpoint.header["training"]["progress"]
        return limits.finished(int(progress.get("step", 0)), float(progress.get("seconds", 0.0)))
    except (KeyError, TypeError, ValueError, AttributeError):  # starting says what is wrong with it
        return False


def run_header(model: RadianceModel, training: dict[str, Any], scene: SceneRecord | None) -> dict[str, Any]:
    """Everything of a radiance field's checkpoint that is no array."""
    heads: list[HeadConfig] = [model.head(name).config for name in model.heads]
    return {
        "model": config_dict(replace(model.config, step_scale=model.step_scale)),
        "heads": [head.to_dict() for head in heads],
        "training": training,
        **({} if scene is None else {"scene": scene.header()}),
    }
