"""What long commands do when they are interrupted or fail."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fieldlab.errors import FieldlabError, RunFolderError
from fieldlab.runs.folder import Run


@contextmanager
def stopping(stop: Callable[[], object]) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM call ``stop``, which ends training after the current step; a second one ends the program
    at once. Yields the list of signals caught."""
    caught: list[int] = []

    def handle(number: int, _: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def discarded_on_error(folder: Run) -> Iterator[None]:
    """Leave no half-made run behind when training fails before its first checkpoint."""
    try:
        yield
    except (FieldlabError, OSError) as error:
        if not (isinstance(error, RunFolderError) and "in use" in error.what):
            folder.discard_if_untrained()
        raise
