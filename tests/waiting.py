"""Waiting for programs that tests start."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from tests.view.waiting import wait

PATIENCE = 600.0  # seconds; only a program that hangs needs them, a busy machine takes a minute to import PyTorch


def wait_until(ready: Callable[[], object], child: subprocess.Popen[str]) -> None:
    """Come back when a running program has got so far; fails if it has ended before."""

    def so_far() -> object:
        assert child.poll() is None, "it ended by itself"
        return ready()

    wait(so_far, PATIENCE, lambda: time.sleep(0.05))
