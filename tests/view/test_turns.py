"""Turns at the processor: pictures come between training steps, and training gets its share."""

from __future__ import annotations

import threading

import pytest

from fieldlab.view import turns as module
from fieldlab.view.turns import Turns
from tests.view.waiting import wait


class Artist:
    """Draws on a thread of its own, once for every time it is asked to; the clock says how long that took."""

    def __init__(self, turns: Turns, clock: list[float], seconds: float) -> None:
        self.turns, self.clock, self.seconds = turns, clock, seconds
        self.asked = self.drawn = 0
        self._next = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Want a picture, unless one is wanted already; returns when it is waited for."""
        if self.drawn == self.asked:
            self.asked += 1
            self._next.release()
        wait(lambda: self.turns._waiting)

    def _draw(self) -> None:
        while True:
            self._next.acquire()
            with self.turns.urgent():
                self.clock[0] += self.seconds
                self.drawn += 1


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("drawing", [0.004, 0.1])
def test_both_get_their_share(clock, share, drawing):
    turns, step = Turns(share), 0.1 * drawing * (1 - share) / share
    artist = Artist(turns, clock, drawing)
    with turns.steady():
        for _ in range(120):  # steps of training, after each of which somebody wants a picture
            artist.ask()
            turns.pause(step)
    trained = 120 * step
    assert artist.drawn == pytest.approx(12, abs=1)
    assert clock[0] / (clock[0] + trained) == pytest.approx(share, abs=0.02)


def test_a_step_longer_than_what_is_owed_pays_for_one_picture_only(clock):
    turns = Turns(0.5)
    artist = Artist(turns, clock, 0.01)
    with turns.steady():
        for _ in range(5):
            artist.ask()
            turns.pause(1.0)
    assert artist.drawn == 5


def test_alone_each_gets_everything(clock):
    turns = Turns()
    with turns.steady():
        for _ in range(1000):
            turns.pause(0.01)  # returns at once, since nobody waits
    artist = Artist(turns, clock, 10.0)
    for count in range(1, 20):  # nobody works: one picture after another
        artist.asked += 1
        artist._next.release()
        wait(lambda count=count: artist.drawn == count)
    with turns.steady():  # and nothing is owed for them
        artist.ask()
        turns.pause(0.0)
    assert artist.drawn == 20


def test_they_never_overlap():
    turns, stop = Turns(), threading.Event()
    inside, wrong, trained, drawn = [0], [], [0], [0]

    def enter(count: list[int]) -> None:
        inside[0] += 1
        if inside[0] != 1:
            wrong.append(inside[0])
        stop.wait(0.001)
        inside[0] -= 1
        count[0] += 1

    def train() -> None:
        with turns.steady():
            while not stop.is_set():
                enter(trained)
                turns.pause(0.001)

    def draw() -> None:
        while not stop.is_set():
            with turns.urgent():
                enter(drawn)

    threads = [threading.Thread(target=work) for work in (train, draw, draw)]
    for thread in threads:
        thread.start()
    wait(lambda: min(trained[0], drawn[0]) >= 50)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
