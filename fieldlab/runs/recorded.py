"""Keeping a run folder up to date while something trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from fieldlab.errors import DivergedError
from fieldlab.runs.folder import Run

METRICS_SECONDS = 1.0

E = TypeVar("E")


def recorded(
    events: Iterator[E],
    run: Run,
    checkpoint_seconds: float,
    *,
    step: Callable[[], int],
    note: Callable[[E], object],
    save: Callable[[], object],
) -> Iterator[E]:
    """Pass events of training on, noting them and saving from time to time; a checkpoint is written in any case, also
    after an error in the consumer of the events, unless training itself went wrong.

    Args:
        checkpoint_seconds: wall time between two checkpoints.
        step: the number of steps done.
        note: appends an event to the metrics.
        save: writes a checkpoint.
    """
    saved = noted = time.monotonic()
    at = step()
    event: E | None = None
    diverged = False
    try:
        for event in events:
            if time.monotonic() - noted >= METRICS_SECONDS:
                note(event)
                noted = time.monotonic()
            if time.monotonic() - saved >= checkpoint_seconds:
                save()
                at = step()
                saved = time.monotonic()
            yield event
    except DivergedError:
        diverged = True
        raise
    finally:
        if not diverged and (step() != at or not run.checkpoints()):
            if event is not None:
                note(event)
            save()
