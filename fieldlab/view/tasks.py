"""Long work that a visitor asked for, one task after another beside the drawing: with progress, until cancelled."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from fieldlab.errors import FieldlabError

log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Somebody does not want it any more."""


@dataclass
class Task:
    """One piece of work.

    Args:
        name: what people call it.
        work: does it; calls :meth:`tell` often, which raises :class:`Cancelled`. What it returns is handed on.
        watch: told of everything that happens: the task itself.
    """

    name: str
    work: Callable[[Task], object]
    watch: Callable[[Task], object] = lambda _: None
    share: float = 0.0
    stage: str = "waiting"
    result: object = None
    error: str | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _done: threading.Event = field(default_factory=threading.Event)

    @property
    def finished(self) -> bool:
        """Whether it is over, in whatever way."""
        return self._done.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is over; whether it is."""
        return self._done.wait(timeout)

    def cancel(self) -> None:
        """Give it up at its next word."""
        self._cancelled.set()

    def tell(self, stage: str, share: float) -> None:
        """So much of a stage is done.

        Raises:
            Cancelled: nobody wants it any more.
        """
        if self._cancelled.is_set():
            raise Cancelled
        self.stage, self.share = stage, share
        self.watch(self)

    def run(self) -> None:
        """Do it, whatever happens."""
        try:
            self.tell("beginning", 0.0)
            self.result = self.work(self)
            self.stage, self.share = "done", 1.0
        except Cancelled:
            self.stage, self.error = "cancelled", "cancelled"
        except FieldlabError as error:
            self.stage, self.error = "failed", str(error)
        except Exception as error:
            log.exception("%s failed", self.name)
            self.stage, self.error = "failed", f"{type(error).__name__}: {error}"
        finally:
            self._done.set()
            self.watch(self)


class Tasks:
    """Does tasks one after another on a thread of its own."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Task | None] = queue.Queue()
        self._now: Task | None = None
        self._thread = threading.Thread(target=self._run, name="tasks", daemon=True)
        self._thread.start()

    def add(self, task: Task) -> Task:
        """Put one at the end of the queue."""
        self._queue.put(task)
        return task

    def stop(self) -> None:
        """Cancel what is being done, and do nothing more."""
        self._queue.put(None)
        if self._now is not None:
            self._now.cancel()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            self._now = task
            try:
                task.run()
            except Exception:  # of who watches; others' tasks go on
                log.exception("%s could not be told about", task.name)
            self._now = None
