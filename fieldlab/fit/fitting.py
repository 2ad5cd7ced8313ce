"""The loop that fits a signal: batches, squared or relative error, Adam on half a cosine."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from fieldlab.fields.base import FieldProgress
from fieldlab.fit.config import FitSettings
from fieldlab.fit.signal import Signal
from fieldlab.runs.checkpoint import Checkpoint, load_arrays, take_shapes
from fieldlab.runs.limits import Limits
from fieldlab.runs.loop import Event, Loop, Progress
from fieldlab.training.optimizer import Adam, loop_state, restore_loop

MOST_NEIGHBORHOODS = 1 << 26


@runtime_checkable
class Placed(Protocol):
    """An encoding that lays itself out where detail is, once, and can say beforehand what points will see of it."""

    def place(self, points: Tensor, weights: Tensor, generator: torch.Generator) -> None:
        """Lay out for points [P,dims] with so much detail [P]."""

    def nearest(self, x: Tensor) -> Tensor:
        """What points [S,dims] see, int32 [S,K], as the second argument of ``forward``."""


class Task(ABC):
    """What a signal is fitted to: points with their values, all known beforehand.

    Args:
        x: float32 [P,dims] in [0,1].
        wanted: float32 [P,n_out].
    """

    dims: ClassVar[int]

    def __init__(self, x: Tensor, wanted: Tensor) -> None:
        self.x, self.wanted = x, wanted

    @property
    def n_out(self) -> int:
        """Values per position."""
        return self.wanted.shape[1]

    @abstractmethod
    def batch(self, step: int, size: int, generator: torch.Generator) -> Tensor | slice:
        """Which of the points a step looks at, about ``size``."""

    @abstractmethod
    def loss(self, made: Tensor, wanted: Tensor) -> Tensor:
        """The mean loss of values [S,n_out]."""

    @abstractmethod
    def importance(self) -> Tensor:
        """How much detail there is at each point [P], for encodings that adapt their layout."""

    @abstractmethod
    def describe(self, loss: float) -> str:
        """A loss as people read it."""


@dataclass(frozen=True)
class FitEvent(Event):
    """How fitting stands after a step; ``loss`` is a running average, which ``text`` says as people read it."""

    text: str

    def row(self) -> dict[str, Any]:
        row = super().row()
        del row["text"]  # says the loss again
        return row

    def describe(self) -> str:
        return self.text


def cosine(fraction: float, final: float) -> float:
    """The learning rate relative to the first after this fraction of training (Loshchilov & Hutter 2017, eq. 5)."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * fraction))


class Fitting(Loop[FitEvent]):
    """Fits a signal to a task.

    Args:
        signal: on the device it shall be fitted on.
        task: what it shall become.
        settings: how.
    """

    def __init__(self, signal: Signal, task: Task, settings: FitSettings) -> None:
        self.signal, self.task, self.settings = signal, task, settings
        self.device = signal.decoder_params.device
        self.limits = Limits(settings.steps, settings.seconds)
        self.progress = Progress()
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.optimizer = Adam(self._groups())
        self.x, self.wanted = task.x.to(self.device), task.wanted.to(self.device)
        self.neighbors: Tensor | None = None

    def _start(self, resume: Checkpoint | None) -> list[str]:
        """Let an encoding that adapts its layout to the signal do so."""
        if resume is not None:
            self._load(resume)
            return []
        if isinstance(self.signal.encoding, Placed):
            self.signal.encoding.place(self.x, self.task.importance().to(self.device), self.generator)
        self.neighbors = self._nearest()
        return []

    def step(self) -> FitEvent:
        """One step: a batch, its loss, derivatives, Adam."""
        now, start = self.progress, time.perf_counter()
        fraction = self.limits.fraction(now.step, now.seconds)
        if self.signal.encoding.advance(FieldProgress(now.step, fraction, _everywhere, self.generator)):
            self.optimizer.regroup(self._groups())
        chosen = self.task.batch(now.step, self.settings.batch, self.generator)
        chosen = chosen if isinstance(chosen, slice) else chosen.to(self.device)
        neighbors = None if self.neighbors is None else self.neighbors[chosen]
        loss = self.task.loss(self.signal(self.x[chosen], neighbors), self.wanted[chosen])
        loss.backward()
        self.signal.encoding.regularize(fraction)
        rate = self.settings.decoder_rate * cosine(fraction, self.settings.final_rate)
        self.optimizer.step(rate)
        value = float(loss.detach())
        self.check_finite(value)
        now.note(value)
        now.step += 1
        now.seconds += time.perf_counter() - start
        left = self.limits.seconds_left(now.step, now.seconds)
        return FitEvent(now.step, now.mean, now.seconds, left, rate, self.task.describe(now.mean))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Arrays and plain values from which :meth:`start` goes on exactly."""
        return loop_state("signal", self.signal, self.progress, self.optimizer, self.generator)

    def _load(self, checkpoint: Checkpoint) -> None:
        load_signal(self.signal, checkpoint)
        self.optimizer = Adam(self._groups())
        self.neighbors = self._nearest()
        self.progress = restore_loop(checkpoint, Progress, self.optimizer, self.generator)

    def _nearest(self) -> Tensor | None:
        """What every point sees of an encoding whose layout is fixed, where there is memory for it."""
        encoding = self.signal.encoding
        if not isinstance(encoding, Placed) or len(self.x) > MOST_NEIGHBORHOODS:
            return None
        return torch.cat([encoding.nearest(part) for part in self.x.split(1 << 20)])

    def _groups(self) -> list[Any]:
        return self.signal.param_groups(self.settings.encoding_rate / self.settings.decoder_rate)


def load_signal(signal: Signal, checkpoint: Checkpoint) -> None:
    """Give a signal the values of a checkpoint.

    Raises:
        CheckpointError: they do not fit.
    """
    arrays = checkpoint.part("signal")
    take_shapes(signal, arrays, checkpoint.path)
    load_arrays(signal, arrays, checkpoint.path)


def _everywhere(x: Tensor) -> Tensor:
    """bool [P]: a signal matters everywhere."""
    return torch.ones(len(x), dtype=torch.bool, device=x.device)
