"""When pictures are drawn: at once and small, then larger; in turns; and given up when somebody moves."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from fieldlab.view.scheduler import Drawn, Scheduler


@dataclass(frozen=True)
class Sketch:
    most: float = 1e6
    way: str = "color"


class Studio:
    """Draws by sleeping, in bands, and remembers what it drew."""

    def __init__(self, speed: float = 2e6, bands: int = 10) -> None:
        self.speed, self.bands = speed, bands
        self.done: list[tuple[str, float, bool]] = []
        self.dropped: list[str] = []
        self.scheduler: Scheduler[Sketch] = Scheduler(self.draw)

    def draw(self, job):
        for _ in range(self.bands):
            if job.given_up():
                self.dropped.append(job.client)
                return None
            time.sleep(job.rays / self.speed / self.bands)
        self.done.append((job.client, job.rays, job.moving))
        return Drawn(job.rays, job.rays, job.rays >= job.sketch.most)


def wait(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


@pytest.fixture
def studio():
    made = Studio()
    made.scheduler.start()
    yield made
    made.scheduler.stop()


def test_first_small_then_full(studio):
    studio.scheduler.add("a", Sketch)
    assert wait(lambda: not studio.scheduler.busy() and studio.done)
    first, last = studio.done[0], studio.done[-1]
    assert first[2]
    assert first[1] < 0.2 * last[1]
    assert last[1] == 1e6
    sizes = [rays for _, rays, _ in studio.done]
    assert sizes == sorted(sizes)
    count = len(studio.done)
    time.sleep(0.1)
    assert len(studio.done) == count  # nothing is drawn that nobody asked for


def test_a_change_gives_up_what_is_refined(studio):
    studio.speed = 4e5
    studio.scheduler.add("a", Sketch)
    assert wait(lambda: len(studio.done) == 1)
    time.sleep(0.05)
    studio.scheduler.change("a")
    assert wait(lambda: "a" in studio.dropped)
    assert wait(lambda: [moving for _, _, moving in studio.done].count(True) == 2)
    assert wait(lambda: not studio.scheduler.busy(), 20)
    assert studio.done[-1][1] == 1e6


def test_clients_have_fair_turns(studio):
    stop = threading.Event()
    names = ["a", "b", "c", "d"]
    for name in names:
        studio.scheduler.add(name, Sketch)

    def shake() -> None:
        while not stop.is_set():
            for name in names:
                studio.scheduler.change(name)
            time.sleep(0.002)

    thread = threading.Thread(target=shake)
    thread.start()
    time.sleep(1.5)
    stop.set()
    thread.join()
    counts = [sum(client == name and moving for client, _, moving in studio.done) for name in names]
    assert min(counts) >= 3
    assert max(counts) - min(counts) <= 2


def test_one_that_fails_does_not_stop_the_others(studio):
    def broken() -> Sketch:
        raise ValueError("a camera is not finite")

    studio.scheduler.add("bad", broken)
    studio.scheduler.add("good", Sketch)
    assert wait(lambda: any(client == "good" and rays == 1e6 for client, rays, _ in studio.done))
    assert wait(lambda: not studio.scheduler.busy())
    studio.scheduler.drop("good")
    studio.scheduler.change("good")
    assert not studio.scheduler.busy()


def test_one_that_never_rests_does_not_keep_others_from_good_pictures(studio):
    stop = threading.Event()
    studio.scheduler.add("restless", Sketch)
    studio.scheduler.add("resting", Sketch)

    def shake() -> None:
        while not stop.is_set():
            studio.scheduler.change("restless")
            time.sleep(0.002)

    thread = threading.Thread(target=shake)
    thread.start()
    try:
        assert wait(lambda: any(client == "resting" and rays == 1e6 for client, rays, _ in studio.done), 20)
    finally:
        stop.set()
        thread.join()
    turns = [client for client, _, _ in studio.done]
    refined = [i for i, (client, _, moving) in enumerate(studio.done) if client == "resting" and not moving]
    assert all(turns[i + 1] == "restless" for i in refined[:-1])
