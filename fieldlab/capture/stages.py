"""The stages of a capture: each is remembered in the working folder, told about while it works, and can be stopped."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fieldlab.errors import DataError
from fieldlab.files import write_json

POLL_SECONDS = 0.3

Progress = Callable[[str, int, int], None]
"""Called with the stage ('frames', 'photographs', 'features', 'matching', 'mapping', 'undistortion' and smaller ones),
how much is done, and of how much. Further attempts go through stages again."""


class Stage:
    """One stage at work.

    Args:
        name: what is told.
        total: how much there is to do.
        done: it was finished before; then nothing is to be done.
    """

    def __init__(self, name: str, total: int, done: bool, progress: Progress) -> None:
        self.name, self.total, self.done, self._progress = name, total, done, progress

    def tick(self, amount: int) -> None:
        """Tell how much is done."""
        self._progress(self.name, min(amount, self.total), self.total)

    def run(self, work: Callable[[Any], Any], amount: Callable[[], int]) -> None:
        """Run ``work(token)`` in a thread, telling ``amount()`` meanwhile; an exception here (Ctrl-C) cancels it first.

        Raises:
            DataError: pycolmap failed.
        """
        import pycolmap

        token = pycolmap.CancellationToken()
        failure: list[BaseException] = []

        def target() -> None:
            try:
                work(token)
            except BaseException as error:  # noqa: BLE001 (raised again below)
                failure.append(error)

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(POLL_SECONDS)
                self.tick(amount())
        except BaseException:
            token.cancel()
            thread.join()
            raise
        if failure and isinstance(failure[0], DataError):
            raise failure[0]
        if failure:
            raise DataError(
                "structure from motion failed",
                found=" ".join(str(failure[0]).split())[:300] or type(failure[0]).__name__,
                hint="check that every photograph opens, then run the command again",
            ) from failure[0]


class Stages:
    """What was done of a capture and with which settings, in ``state.json`` of its working folder."""

    def __init__(self, folder: Path, settings: dict[str, Any], progress: Progress) -> None:
        self.folder, self.settings, self._progress = folder, settings, progress
        self._file = folder / "state.json"
        self._done: dict[str, Any] = {}

    def resume(self) -> None:
        """Take up an unfinished capture with the same settings, else begin anew."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(self._file.read_text(encoding="utf-8"))
            if state["settings"] == self.settings:
                self._done = dict(state["done"])
                return
        shutil.rmtree(self.folder, ignore_errors=True)
        self._remember()

    @contextlib.contextmanager
    def stage(self, name: str, total: int, attempt: str = "") -> Iterator[Stage]:
        """A stage, which is remembered as done when the body ends; ``attempt`` tells those of several apart."""
        key = f"{name} {attempt}".strip()
        self._progress(name, 0, total)
        yield Stage(name, total, key in self._done, self._progress)
        if key not in self._done:
            self.keep(key, True)
        self._progress(name, total, total)

    def kept(self, key: str) -> Any:
        """What was kept under a name, or None."""
        return self._done.get(key)

    def keep(self, key: str, value: Any) -> None:
        """Remember a plain value under a name."""
        self._done[key] = value
        self._remember()

    def _remember(self) -> None:
        write_json(self._file, {"settings": self.settings, "done": self._done})


@contextlib.contextmanager
def quiet_pycolmap() -> Iterator[None]:
    """Only errors of pycolmap's own log, since progress is told to the caller."""
    import pycolmap

    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL.value)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before
