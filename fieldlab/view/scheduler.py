"""When pictures are drawn: first at once and small enough to be fluid, then larger until nothing is left to gain.

One thread draws for all clients in turns, since one picture keeps all processors busy. A client whose camera moved goes
before those whose pictures are only refined, and whoever waited longest goes first. A picture being refined is given up
as soon as anybody moves, unless somebody else's moving kept its client from a turn for long.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from fieldlab.view.pace import Pace

log = logging.getLogger(__name__)

FLUID = 0.048  # seconds that a picture may take while a camera moves
STEP = 0.35  # seconds that a refined picture may take before the next larger one
LARGER = 2.0  # least growth of rays from one refined picture to the next
PATIENCE = 1.0  # seconds after which a picture is refined although others move
LAST = 0.7  # share of all rays from which a step takes all of them at once


class Request(Protocol):
    """What a client wants to be drawn now; made anew for every picture."""

    @property
    def way(self) -> Hashable:
        """How it is drawn, for what that costs per ray."""

    @property
    def most(self) -> float:
        """Rays of the full picture."""


S = TypeVar("S", bound=Request)


@dataclass
class _Client(Generic[S]):
    wants: Callable[[], S]
    version: int = 0
    drawn: int = -1  # version of the last picture
    rays: float = 0.0  # of the last picture
    full: bool = True
    served: float = 0.0  # when it last had a turn

    @property
    def moving(self) -> bool:
        """Whether it waits for the first picture after a change."""
        return self.drawn != self.version


@dataclass(frozen=True)
class Drawn:
    """What became of a job: rays of the picture that was delivered, how many of them were traced for it (none where an
    earlier picture was only colored anew), and whether there is no larger one."""

    rays: float
    traced: float
    full: bool


@dataclass(frozen=True)
class Job(Generic[S]):
    """One picture to draw.

    Args:
        client: whose.
        request: what.
        rays: how many, about.
        moving: whether it is the first one after a change.
        given_up: true as soon as nobody waits for it.
    """

    client: Hashable
    request: S
    rays: float
    moving: bool
    given_up: Callable[[], bool]


class Scheduler(Generic[S]):
    """Draws for clients.

    Args:
        draw: draws and delivers the picture of a job; None where it was given up. What it raises is logged, and the
            client waits for its next change.
    """

    def __init__(self, draw: Callable[[Job[S]], Drawn | None], pace: Pace | None = None) -> None:
        self.draw, self.pace = draw, pace or Pace()
        self._clients: dict[Hashable, _Client[S]] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._patient = False  # whether the last turn was taken from those who move
        self._thread = threading.Thread(target=self._run, name="drawing", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._thread.start()

    def stop(self) -> None:
        """End after the band that is being drawn."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def add(self, client: Hashable, wants: Callable[[], S]) -> None:
        """A new client; ``wants`` says what it wants whenever it is its turn."""
        with self._changed:
            self._clients[client] = _Client(wants)
            self._changed.notify_all()

    def drop(self, client: Hashable) -> None:
        """A client is gone."""
        with self._changed:
            self._clients.pop(client, None)
            self._changed.notify_all()

    def change(self, client: Hashable) -> None:
        """A client wants something else than before."""
        with self._changed:
            if client in self._clients:
                self._clients[client].version += 1
                self._changed.notify_all()

    def change_all(self) -> None:
        """What all clients see has changed."""
        with self._changed:
            for found in self._clients.values():
                found.version += 1
            self._changed.notify_all()

    def busy(self) -> bool:
        """Whether anybody waits for a picture."""
        with self._changed:
            return self._next() is not None

    def _next(self) -> Hashable | None:
        """Whose turn it is; with the lock held."""
        moving = [(c.served, key) for key, c in self._clients.items() if c.moving]
        resting = [(c.served, key) for key, c in self._clients.items() if not c.moving and not c.full]
        if moving:
            since = perf_counter() - PATIENCE
            resting = [pair for pair in resting if pair[0] < since and not self._patient]
        return min(resting or moving, key=lambda pair: pair[0], default=(0.0, None))[1]

    def _anybody_moves(self) -> bool:
        return any(c.moving for c in list(self._clients.values()))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and self._next() is None:
                    self._changed.wait()
                if self._stopped:
                    return
                key = self._next()
                client = self._clients[key]
                client.served = perf_counter()
                version, moving = client.version, client.moving
                patient = self._patient = not moving and self._anybody_moves()
            try:
                self._serve(key, client, version, moving, patient)
            except Exception:
                log.exception("a picture could not be drawn")
                with self._changed:
                    client.drawn, client.full = version, True

    def _serve(self, key: Hashable, client: _Client[S], version: int, moving: bool, patient: bool) -> None:
        request = client.wants()
        rays = self._rays(client, request, moving)

        def given_up() -> bool:
            if self._stopped or key not in self._clients:
                return True
            return not moving and (client.moving if patient else self._anybody_moves())

        start = perf_counter()
        done = self.draw(Job(key, request, rays, moving, given_up))
        if done is None:
            return
        if done.traced:
            self.pace.note(request.way, int(done.traced), perf_counter() - start)
        with self._changed:
            client.drawn, client.rays, client.full = version, done.rays, done.full

    def _rays(self, client: _Client[S], request: S, moving: bool) -> float:
        """How large the next picture of a client is."""
        if moving:
            return self.pace.rays(request.way, FLUID, request.most)
        rays = self.pace.rays(request.way, STEP, request.most)
        rays = max(rays, client.rays * LARGER)
        return request.most if rays >= LAST * request.most else rays
