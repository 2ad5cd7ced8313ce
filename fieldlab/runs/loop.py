"""What loops that train have in common: a step at a time until the end, or until somebody asks them to stop."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from fieldlab.errors import DivergedError

E = TypeVar("E")


class Loop(ABC, Generic[E]):
    """Steps that each give an event."""

    stop_requested = False

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the steps or seconds are used up."""

    @abstractmethod
    def step(self) -> E:
        """Do one step."""

    def events(self) -> Iterator[E]:
        """Train until the steps or seconds are used up or :meth:`stop` was called; one event per step."""
        import torch._dynamo  # noqa: F401  (PyTorch would load it in the middle of the first step: seconds)

        while not self.stop_requested and not self.finished:
            yield self.step()

    def stop(self) -> None:
        """Let :meth:`events` end after the current step. Safe to call from a signal handler."""
        self.stop_requested = True


def check_finite(loss: float, step: int) -> None:
    """Stop before values that are no numbers spread into everything that is saved.

    Raises:
        DivergedError: the loss is one.
    """
    if not math.isfinite(loss):
        raise DivergedError(
            "training went wrong: the loss is not a finite number", field="step", found=step,
            hint="go on from the checkpoint before with --resume; if it happens again, try another --seed",
        )  # fmt: skip
