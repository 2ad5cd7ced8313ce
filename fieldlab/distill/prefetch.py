"""The teacher one batch ahead: on CUDA it answers for the next step while this one's derivatives are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Calls of ``make`` whose results are taken in turn.

    On CUDA :meth:`prepare` makes the next one on a stream of its own. A CPU's cores are all busy with the step itself,
    so there everything is made when it is taken.

    Args:
        make: makes one; a dataclass of tensors or of such dataclasses.
        device: where it is made.
    """

    def __init__(self, make: Callable[[], T], device: torch.device) -> None:
        self.make, self.device = make, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._ready: torch.cuda.Event | None = None
        self._next: T | None = None

    def mark(self) -> None:
        """What the next one depends on is written by the operations so far; it need not wait for later ones."""
        if self._stream is not None:
            self._ready = torch.cuda.current_stream(self.device).record_event()

    def settle(self) -> None:
        """Let operations from here on wait until the next one no longer reads anything."""
        if self._stream is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._stream)

    def prepare(self) -> None:
        """Begin to make the next one."""
        if self._stream is None or self._next is not None:
            return
        if self._ready is not None:
            self._stream.wait_event(self._ready)
        with torch.cuda.stream(self._stream):
            self._next = self.make()

    def take(self) -> T:
        """The next one."""
        if self._next is None or self._stream is None:
            return self.make()
        made, self._next = self._next, None
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._stream)
        for tensor in tensors_of(made):
            tensor.record_stream(current)  # so that its memory is not given to others too early
        return made


def tensors_of(value: Any) -> list[torch.Tensor]:
    """All CUDA tensors in nested dataclasses, dicts and lists."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_cuda else []
    if is_dataclass(value):
        return [t for f in fields(value) for t in tensors_of(getattr(value, f.name))]
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors_of(v)]
    return [t for v in value for t in tensors_of(v)] if isinstance(value, list | tuple) else []
