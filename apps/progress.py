"""What several commands show while they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar whose stages come one after another."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage: str | None = None
        self._task: TaskID | None = None

    def show(self, stage: str, done: float, total: float) -> None:
        """``done`` of ``total`` in ``stage``; a new stage replaces the one before."""
        if stage != self._stage:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task, self._stage = self._progress.add_task(stage, total=total), stage
        assert self._task is not None  # made above for the first stage
        self._progress.update(self._task, completed=done, total=total)

    def tell(self, stage: str, share: float, text: str) -> None:
        """``share`` (0 to 1) of ``stage``, described by ``text``."""
        self.share(stage, share)
        assert self._task is not None
        self._progress.update(self._task, description=text)

    def share(self, stage: str, share: float) -> None:
        """``share`` (0 to 1) of ``stage``, shown in percent."""
        self.show(stage, round(100 * share), 100)


@contextmanager
def progress_bar(console: Console) -> Iterator[Bar]:
    """A bar on ``console`` that goes away when the work is done; nothing where the output is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress)
