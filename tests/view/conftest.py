"""What tests of the viewer share: a ball to see, and a browser."""

from __future__ import annotations

import pytest

from fieldlab.bench.browser import FLAGS, browser_path
from fieldlab.view.shown_run import ShownRun
from tests.view.ball import ball_run


@pytest.fixture
def ball() -> ShownRun:
    return ball_run()


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    program = pytest.importorskip("playwright.sync_api")
    with program.sync_playwright() as running:
        made = running.chromium.launch(executable_path=browser_path(), args=FLAGS)
        yield made
        made.close()
