"""When pictures are drawn: at once and small, then larger; in turns; and given up when somebody moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fieldlab.view import scheduler as module
from fieldlab.view.scheduler import PATIENCE, Drawn, Scheduler
from tests.view.waiting import wait


@dataclass(frozen=True)
class Request:
    most: float = 1e6
    way: str = "color"


class Studio:
    """Draws in bands by letting time pass on a clock of its own, and remembers what it drew.

    ``meanwhile`` is what happens during every band: it is told of the job.
    """

    def __init__(self, speed: float = 2e6, bands: int = 10) -> None:
        self.speed, self.bands, self.now = speed, bands, 100.0
        self.done: list[tuple[str, float, bool]] = []
        self.dropped: list[str] = []
        self.meanwhile: Callable[[object], object] = lambda _: None
        self.scheduler: Scheduler[Request] = Scheduler(self.draw)

    def draw(self, job):
        for _ in range(self.bands):
            if job.given_up():
                self.dropped.append(job.client)
                return None
            self.now += job.rays / self.speed / self.bands
            self.meanwhile(job)
        self.done.append((job.client, job.rays, job.moving))
        return Drawn(job.rays, job.rays, job.rays >= job.request.most)

    def rests(self) -> bool:
        return bool(self.done) and not self.scheduler.busy()


@pytest.fixture
def studio(monkeypatch):
    made = Studio()
    monkeypatch.setattr(module, "perf_counter", lambda: made.now)
    made.scheduler.start()
    yield made
    made.scheduler.stop()


def test_first_small_then_full(studio):
    studio.scheduler.add("a", Request)
    wait(studio.rests)
    first, last = studio.done[0], studio.done[-1]
    assert first[2]
    assert first[1] < 0.2 * last[1]
    assert last[1] == 1e6
    sizes = [rays for _, rays, _ in studio.done]
    assert sizes == sorted(sizes)
    assert not any(moving for _, _, moving in studio.done[1:])
    count = len(studio.done)
    studio.scheduler.change("nobody")  # wakes it: nothing is drawn that nobody asked for
    studio.scheduler.add("b", Request)
    wait(lambda: studio.rests() and len(studio.done) > count)
    assert {client for client, _, _ in studio.done[count:]} == {"b"}


def test_a_change_gives_up_what_is_refined(studio):
    studio.speed, changes = 4e5, []

    def change_once(job) -> None:
        if not job.moving and not changes:
            changes.append(studio.now)
            studio.scheduler.change("a")

    studio.meanwhile = change_once
    studio.scheduler.add("a", Request)
    wait(lambda: changes and studio.rests())
    assert studio.dropped == ["a"]
    assert [moving for _, _, moving in studio.done].count(True) == 2
    assert studio.done[-1][1] == 1e6


def test_clients_have_fair_turns(studio):
    names = ["a", "b", "c", "d"]

    def shake(_) -> None:
        if len(studio.done) < 40:
            for name in names:
                studio.scheduler.change(name)

    studio.meanwhile = shake
    for name in names:
        studio.scheduler.add(name, Request)
    wait(lambda: len(studio.done) >= 40)
    counts = [sum(client == name for client, _, _ in studio.done[:40]) for name in names]
    assert all(moving for _, _, moving in studio.done[:40])
    assert max(counts) - min(counts) <= 2


def test_one_that_fails_does_not_stop_the_others(studio):
    def broken() -> Request:
        raise ValueError("a camera is not finite")

    studio.scheduler.add("bad", broken)
    studio.scheduler.add("good", Request)
    wait(lambda: any(client == "good" and rays == 1e6 for client, rays, _ in studio.done))
    wait(lambda: not studio.scheduler.busy())
    studio.scheduler.drop("good")
    studio.scheduler.change("good")
    assert not studio.scheduler.busy()


def test_one_that_never_rests_does_not_keep_others_from_good_pictures(studio):
    rested: list[float] = []

    def shake(_) -> None:
        if not rested and any(client == "resting" and rays == 1e6 for client, rays, _ in studio.done):
            rested.append(studio.now)
        if not rested:
            studio.scheduler.change("restless")

    studio.meanwhile = shake
    begun = studio.now
    studio.scheduler.add("restless", Request)
    studio.scheduler.add("resting", Request)
    wait(lambda: rested)
    assert PATIENCE <= rested[0] - begun < 10 * PATIENCE
    turns = [client for client, _, _ in studio.done]
    refined = [i for i, (client, _, moving) in enumerate(studio.done) if client == "resting" and not moving]
    assert refined
    assert all(turns[i + 1] == "restless" for i in refined[:-1])
