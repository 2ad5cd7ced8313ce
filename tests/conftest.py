"""Settings of all tests, their order, and what they share."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# Tests run side by side, a process a core, so each computes on one thread unless it asks for more; waiting threads
# sleep. It has to be said before PyTorch is imported, and for child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

# Examples are the same every time, so that a failure in one run is a failure in the next.
settings.register_profile("fieldlab", deadline=None, derandomize=True)
settings.load_profile("fieldlab")


COSTLY = {"trained", "emulation"}
"""Fixtures that train or run a compiler: whatever uses them is slow."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Random numbers without a generator of their own are the same whichever tests ran before, and for fixtures too."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: processes take whole files, and a long one at the end would keep one of them busy
    while the others wait."""
    for item in items:
        if not COSTLY.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.slow)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])  # stable: the order inside a file stays


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Callable[[Path], object]], Path]:
    """``shared(name, make)``: a folder that ``make(folder)`` has filled once for all processes.

    Nobody writes into it: what a test changes it copies first.
    """
    base = tmp_path_factory.getbasetemp()
    common = base if worker_id == "master" else base.parent  # without processes side by side there is nothing above

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        made = common / f"shared-{name}"
        with FileLock(made.with_suffix(".lock")):
            if not made.exists():
                unfinished = made.with_suffix(".unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)  # of a process that failed
                make(unfinished)
                unfinished.rename(made)
        return made

    return folder
