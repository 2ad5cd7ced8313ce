"""What loops that train have in common: a step at a time until the end, or until somebody asks them to stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

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
        while not self.stop_requested and not self.finished:
            yield self.step()

    def stop(self) -> None:
        """Let :meth:`events` end after the current step. Safe to call from a signal handler."""
        self.stop_requested = True
