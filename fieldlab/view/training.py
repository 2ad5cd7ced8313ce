"""A training loop that somebody watches: it makes way for pictures, can wait, and tells how it gets on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from fieldlab.runs.session import Session
from fieldlab.training.trainer import Trainer, TrainEvent
from fieldlab.view.turns import Turns

REFRESH = 2.0  # seconds between two times that everybody's picture is drawn again
TELL = 1.0  # seconds between two words
MOST = 400  # points of a curve


class Training:
    """Runs a session's training.

    Args:
        session: of the run.
        turns: shared with whoever draws.
    """

    def __init__(self, session: Session[TrainEvent], turns: Turns) -> None:
        self.session, self.turns = session, turns
        self.paused = threading.Event()
        self.refreshed: Callable[[], object] = lambda: None
        self.watchers: list[Callable[[], object]] = []
        self.last: TrainEvent | None = None
        self.finished = False
        self._save = threading.Event()
        self._curve: list[tuple[int, float, float, float | None]] = []
        self._every = 1
        self._steps, self._since = 0, time.perf_counter()
        self.steps_per_second = 0.0

    def events(self) -> Iterator[TrainEvent]:
        """The session's events, as somebody who watches lets them come."""
        with self.turns.steady():
            begun = told = refreshed = time.perf_counter()
            for event in self.session.events():
                self._note(event)
                yield event
                self.turns.pause(time.perf_counter() - begun)
                self._wait()
                if self._save.is_set():
                    self._save.clear()
                    self.session.save()
                begun = time.perf_counter()
                if begun - refreshed > REFRESH:
                    refreshed = begun
                    self.refreshed()
                if begun - told > TELL:
                    self._count(begun - told)
                    told = begun
        self.finished = True
        self._tell()

    @property
    def holds_out(self) -> bool:
        """Whether photographs are held out that tell how good training is."""
        loop = self.session.loop
        return isinstance(loop, Trainer) and loop.validation is not None

    def save(self) -> None:
        """Write a checkpoint after this step."""
        self._save.set()

    def curve(self) -> tuple[list[int], list[float], list[float]]:
        """Steps, losses, and PSNR in dB, thinned."""
        steps, losses, psnrs, _ = zip(*self._curve, strict=True) if self._curve else ((), (), (), ())
        return list(steps), list(losses), list(psnrs)

    def held_out_curve(self) -> tuple[list[int], list[float]]:
        """Steps, and PSNR in dB on held-out photographs, from where it is known."""
        known = [(step, held_out) for step, _, _, held_out in self._curve if held_out is not None]
        return [step for step, _ in known], [held_out for _, held_out in known]

    def _note(self, event: TrainEvent) -> None:
        self.last = event
        self._steps += 1
        if event.step % self._every == 0:
            self._curve.append((event.step, event.loss, event.psnr, event.validation))
            if len(self._curve) > MOST:
                self._curve, self._every = self._curve[::2], 2 * self._every

    def _wait(self) -> None:
        while self.paused.is_set() and not self.session.loop.stop_requested:
            self.turns.pause(1.0)
            time.sleep(0.01)
            if self._save.is_set():
                self._save.clear()
                self.session.save()

    def _count(self, seconds: float) -> None:
        self.steps_per_second, self._steps = self._steps / seconds, 0
        self._tell()

    def _tell(self) -> None:
        for watcher in list(self.watchers):
            watcher()
