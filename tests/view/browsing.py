"""What tests of the page share: a headless browser, a visitor in it, and ways to wait, drag and look."""

from __future__ import annotations

import io
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from fieldlab.bench.browser import browser_path

WINDOW = {"width": 900, "height": 600}
PATIENCE = 120.0

in_a_browser = [pytest.mark.slow, pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")]


def wait(condition, seconds: float = PATIENCE, doing=lambda: time.sleep(0.05)):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        doing()
    raise AssertionError("it did not happen in time")


@contextmanager
def opened(browser, viewer):
    """A page whose visitor has a full picture."""
    before = set(viewer.visitors)
    page = browser.new_page(viewport=WINDOW)
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(viewer.address)
    (number,) = wait(lambda: set(viewer.visitors) - before, doing=lambda: page.wait_for_timeout(50))
    page.visitor = viewer.visitors[number]
    at_rest(viewer, page)
    try:
        yield page
    finally:
        page.close()
    wait(lambda: number not in viewer.visitors)


def until(page, condition, seconds: float = PATIENCE):
    """Wait while the browser gets on."""
    return wait(condition, seconds, doing=lambda: page.wait_for_timeout(50))


def at_rest(viewer, page) -> None:
    """Until the picture is as good as it gets."""
    visitor = page.visitor
    until(page, lambda: visitor.shown is not None and not viewer.scheduler.busy())
    page.wait_for_timeout(400)


def screenshot(page) -> np.ndarray:
    """float32 [H,W,3] of what is left of the controls."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), np.float32) / 255


def canvas(page) -> dict[str, float]:
    """Where the picture is in the page."""
    return page.locator("canvas").first.bounding_box()


def drag(page, right: float, down: float) -> None:
    """Turn the camera by dragging over the picture."""
    box = canvas(page)
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 200 + right, box["y"] + 200 + down, steps=5)
    page.mouse.up()
