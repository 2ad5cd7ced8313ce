"""Turns at the processor: somebody draws, somebody trains, and neither waits for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, sleep


class Turns:
    """A lock with two sides. The one that works without pause (training, a long export) calls :meth:`pause` between its
    steps; the one that people wait for takes :meth:`urgent` turns, which begin at the next pause.

    ``share`` is the part of the time that the urgent side may take while the other one works.
    """

    def __init__(self, share: float = 0.5) -> None:
        self.share = share
        self._lock = threading.Lock()
        self._waiting = 0
        self._count = threading.Lock()
        self._owed = 0.0  # seconds of work that urgent turns have to leave to the steady side
        self._steady = False

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Work that goes on for long; call :meth:`pause` in it as often as possible."""
        self._lock.acquire()
        self._steady = True
        try:
            yield
        finally:
            self._steady = False
            self._owed = 0.0
            self._lock.release()

    def pause(self, worked: float) -> None:
        """Let urgent turns in, after ``worked`` seconds of steady work."""
        self._owed = max(self._owed - worked, 0.0)
        if self._waiting and self._owed <= 0.0:
            self._lock.release()
            while self._waiting and self._owed <= 0.0:  # a lock is not fair: wait until somebody had a turn
                sleep(0.0002)
            self._lock.acquire()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """One short piece of work that somebody waits for."""
        with self._count:
            self._waiting += 1
        try:
            self._lock.acquire()
        finally:
            with self._count:
                self._waiting -= 1
        start = perf_counter()
        try:
            yield
        finally:
            if self._steady:
                share = min(max(self.share, 0.01), 0.99)
                self._owed += (perf_counter() - start) * (1 - share) / share
            self._lock.release()
