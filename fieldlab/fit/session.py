"""The session that fits a signal."""

from __future__ import annotations

from typing import Any

import torch

from fieldlab.fields.base import FieldConfig
from fieldlab.fit.config import FitSettings
from fieldlab.fit.fitting import FitEvent, Fitting, Task
from fieldlab.fit.signal import Signal
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.session import Session


def fit_session(
    run: RunFolder,
    config: RunConfig,
    task: Task,
    device: torch.device,
    *,
    resume: Checkpoint | None = None,
    checkpoint_seconds: float = 60.0,
) -> tuple[Session[FitEvent], Signal]:
    """Fit a signal and keep its run folder up to date. Use inside ``run.locked()``.

    Args:
        run: the folder.
        config: its configuration.
        task: what is fitted.
        device: where.
        resume: checkpoint to go on from.
        checkpoint_seconds: wall time between two checkpoints.

    Returns:
        The session, and the signal that it fits.

    Raises:
        ConfigError: the representation cannot hold such a signal.
        CheckpointError: the checkpoint does not fit the configuration.
    """
    settings = config.get(FitSettings)
    generator = torch.Generator().manual_seed(settings.seed)
    signal = Signal(config.field, task.dims, task.n_out, generator).to(device)
    fitting = Fitting(signal, task, settings)
    return Session(run, config, fitting, resume=resume, checkpoint_seconds=checkpoint_seconds), signal


def sizes(session: Session[FitEvent], signal: Signal) -> dict[str, Any]:
    """What is reported of every fitted signal: time, steps, values trained and fixed, bytes."""
    now = session.loop.progress
    return {
        "seconds": now.seconds, "steps": now.step, "trainable": signal.n_parameters, "fixed": signal.n_fixed,
        "bytes": signal.n_bytes,
    }  # fmt: skip


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
