"""Turns at the processor: pictures come between training steps, and training gets its share."""

from __future__ import annotations

import threading
import time

from fieldlab.view.turns import Turns


def steady(turns: Turns, stop: threading.Event, steps: list[float], seconds: float = 0.002) -> None:
    with turns.steady():
        while not stop.is_set():
            start = time.perf_counter()
            time.sleep(seconds)
            steps.append(time.perf_counter() - start)
            turns.pause(time.perf_counter() - start)


def run_both(share: float, seconds: float = 1.0) -> tuple[float, float]:
    """Seconds that each side had when both always want more."""
    turns, stop, steps = Turns(share), threading.Event(), []
    thread = threading.Thread(target=steady, args=(turns, stop, steps))
    thread.start()
    urgent, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        with turns.urgent():
            start = time.perf_counter()
            time.sleep(0.004)
            urgent += time.perf_counter() - start
    stop.set()
    thread.join()
    return sum(steps), urgent


def test_both_get_their_share():
    steps, urgent = run_both(0.5)
    assert 0.25 < urgent / (steps + urgent) < 0.75
    few = run_both(0.1)
    many = run_both(0.9)
    assert few[1] / sum(few) < 0.3 < 0.6 < many[1] / sum(many)


def test_alone_each_gets_everything():
    turns, steps, stop = Turns(), [], threading.Event()
    thread = threading.Thread(target=steady, args=(turns, stop, steps))
    thread.start()
    time.sleep(0.3)
    stop.set()
    thread.join()
    assert sum(steps) > 0.2
    start = time.perf_counter()
    for _ in range(100):
        with turns.urgent():
            pass
    assert time.perf_counter() - start < 1


def test_they_never_overlap():
    turns, stop = Turns(), threading.Event()
    inside, wrong = [0], []

    def enter() -> None:
        inside[0] += 1
        if inside[0] != 1:
            wrong.append(inside[0])
        time.sleep(0.001)
        inside[0] -= 1

    def train() -> None:
        with turns.steady():
            while not stop.is_set():
                enter()
                turns.pause(0.001)

    def draw() -> None:
        while not stop.is_set():
            with turns.urgent():
                enter()

    threads = [threading.Thread(target=work) for work in (train, draw, draw)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(5)
    assert not wrong
