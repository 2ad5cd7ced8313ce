"""What all that learns has in common: it starts, goes step by step until its limits or until somebody asks it to stop,
and finishes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor

from fieldlab.errors import DivergedError
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.limits import Limits

EMA_DECAY = 0.95  # of running averages, per step


@dataclass(frozen=True)
class Event:
    """How learning stands after a step.

    Args:
        step: steps done.
        seconds, seconds_left: time learnt, and an estimate of what remains, None before anything is known.
        news: what a person should know that was decided in this step; mostly empty.
    """

    step: int
    loss: float
    seconds: float
    seconds_left: float | None
    learning_rate: float
    news: str = field(default="", kw_only=True)

    def row(self) -> dict[str, Any]:
        """What the run's metrics keep of it."""
        return {name: value for name, value in asdict(self).items() if name not in ("seconds_left", "news")}

    def describe(self) -> str:
        """What a person wants to know besides the time left."""
        return f"loss {self.loss:.4g}"


@dataclass
class Progress:
    """Counters that a checkpoint keeps, so that learning goes on exactly where it was.

    ``average`` over ``weight`` is an exponential moving average without the bias of its beginning (Kingma & Ba 2015,
    section 3).
    """

    step: int = 0
    seconds: float = 0.0
    average: float = 0.0
    weight: float = 0.0

    def note(self, value: float) -> None:
        """Take a value into the running average."""
        self.average = EMA_DECAY * self.average + (1 - EMA_DECAY) * value
        self.weight = EMA_DECAY * self.weight + (1 - EMA_DECAY)

    @property
    def mean(self) -> float:
        """The running average; not a number before the first value."""
        return self.average / self.weight if self.weight else math.nan


E = TypeVar("E", bound=Event, covariant=True)


class Loop(ABC, Generic[E]):
    """Something that learns.

    The life of one is :meth:`start`, from nothing or from a checkpoint, then :meth:`step` until :attr:`finished`, then
    :meth:`finish`. :meth:`events` does all of it.
    """

    limits: Limits
    progress: Progress
    stop_requested = False
    started = False

    def start(self, resume: Checkpoint | None = None) -> list[str]:
        """Get ready for the first step, or for the next one after a checkpoint of the same configuration.

        Returns:
            What was done, in words for people.

        Raises:
            CheckpointError: it does not fit.
        """
        self.started = True
        return self._start(resume)

    @abstractmethod
    def _start(self, resume: Checkpoint | None) -> list[str]: ...

    @abstractmethod
    def step(self) -> E:
        """Do one step."""

    def finish(self) -> bool:
        """What is done once when the limits are reached; returns whether there was anything to do."""
        return False

    @abstractmethod
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Arrays and plain values from which :meth:`start` goes on."""

    @property
    def model(self) -> RadianceModel | None:
        """The model that learns; None where it is no radiance field."""
        return None

    @property
    def best_step(self) -> int | None:
        """The step whose state is to be kept besides the newest; None where the newest is always the best."""
        return None

    @property
    def finished(self) -> bool:
        """Whether the steps or seconds are used up."""
        return self.limits.finished(self.progress.step, self.progress.seconds)

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1."""
        return self.limits.fraction(self.progress.step, self.progress.seconds)

    def events(self) -> Iterator[E]:
        """Learn until the limits are reached or :meth:`stop` was called; one event per step."""
        if not self.started:
            self.start()
        while not self.stop_requested and not self.finished:
            yield self.step()
        if self.finished:
            self.finish()

    def stop(self) -> None:
        """Let :meth:`events` end after the current step. Safe to call from a signal handler."""
        self.stop_requested = True

    def check_finite(self, loss: float) -> None:
        """Stop before values that are no numbers spread into everything that is saved.

        Raises:
            DivergedError: the loss is one.
        """
        if not math.isfinite(loss):
            raise DivergedError(
                "training went wrong: the loss is not a finite number", field="step", found=self.progress.step,
                hint="go on from the checkpoint before with --resume; if it happens again, try another --seed",
            )  # fmt: skip
