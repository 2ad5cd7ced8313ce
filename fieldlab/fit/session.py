"""A signal being fitted: its folder, checkpoints in time, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from fieldlab.fields.base import FieldConfig
from fieldlab.fit.config import FitConfig
from fieldlab.fit.fitting import FitEvent, Fitting, Task
from fieldlab.fit.signal import Signal
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.folder import Run
from fieldlab.runs.recorded import recorded


class FitSession:
    """Fits a signal and keeps its run folder up to date. Use inside ``run.locked()``.

    Args:
        run: the folder.
        config: its configuration.
        task: what is fitted.
        device: where.
        resume: checkpoint to go on from.
        checkpoint_seconds: wall time between two checkpoints.

    Raises:
        ConfigError: the representation cannot hold such a signal.
        CheckpointError: the checkpoint does not fit the configuration.
    """

    def __init__(
        self,
        run: Run,
        config: FitConfig,
        task: Task,
        device: torch.device,
        *,
        resume: Checkpoint | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self.run, self.config = run, config
        self.checkpoint_seconds = checkpoint_seconds
        generator = torch.Generator().manual_seed(config.fit.seed)
        signal = Signal(config.field, task.dims, task.n_out, generator).to(device)
        self.fitting = Fitting(signal, task, config.fit)
        if resume is None:
            self.fitting.begin()
        else:
            self.fitting.load(resume)

    @property
    def signal(self) -> Signal:
        return self.fitting.signal

    def events(self) -> Iterator[FitEvent]:
        """Fit to the end or until ``fitting.stop()``; a checkpoint is written in any case."""
        return recorded(
            self.fitting.events(), self.run, self.checkpoint_seconds,
            step=lambda: self.fitting.progress.step, note=self._note, save=self.save,
        )  # fmt: skip

    def save(self) -> None:
        """Write a checkpoint now."""
        arrays, training = self.fitting.state()
        self.run.save_checkpoint(
            self.fitting.progress.step, arrays, {"run": self.config.to_dict(), "training": training}
        )

    def sizes(self) -> dict[str, Any]:
        """What is reported of every fitted signal: time, steps, values trained and fixed, bytes."""
        now, signal = self.fitting.progress, self.signal
        return {
            "seconds": now.seconds, "steps": now.step, "trainable": signal.n_parameters, "fixed": signal.n_fixed,
            "bytes": signal.n_bytes,
        }  # fmt: skip

    def _note(self, event: FitEvent) -> None:
        self.run.append_metrics({k: v for k, v in asdict(event).items() if k != "seconds_left"})


def choose_field(config: FieldConfig, n_parameters: int | None, dims: int, n_out: int, device: str) -> FieldConfig:
    """A representation sized for a signal.

    Args:
        config: what suits the signal.
        n_parameters: most trainable values, or None for what suits the device.

    Raises:
        ConfigError: it cannot hold such a signal, or not in so few values.
    """
    if n_parameters is not None:
        return config.signal_fitted_to(n_parameters, dims, n_out)
    config = config.fitted_to_device(device)
    config.build_encoding(dims)  # says it where there is no such encoding
    return config
