"""Waiting for what another thread does, as long as a busy machine may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 120.0  # seconds; tests that pass never come near


def wait(
    condition: Callable[[], Any], seconds: float = PATIENCE, doing: Callable[[], object] = lambda: time.sleep(0.01)
) -> Any:
    """What the condition says as soon as that is something; fails if it is nothing for so long."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        doing()
    return found
