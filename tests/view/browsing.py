"""What tests of the page share: a headless browser, a visitor in it, and ways to wait, drag and see."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fieldlab.bench.browser import browser_path
from fieldlab.view.page import Page
from fieldlab.view.server import Viewer
from tests.view.waiting import PATIENCE, wait

WINDOW = {"width": 720, "height": 480}
POLL = 30  # milliseconds between two questions whether something has happened

in_a_browser = [pytest.mark.slow, pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")]


class Controls:
    """Makes the controls of every visitor's page and keeps them, to ask whether they have heard of something."""

    def __init__(self) -> None:
        self.of: dict[int, Page] = {}

    def __call__(self, viewer: Viewer, visitor: Any) -> None:
        self.of[visitor.handle.client_id] = Page(viewer, visitor)


@contextmanager
def opened(browser, viewer, sharpness: float = 1.0) -> Iterator[Any]:
    """A page whose visitor has a full picture of a share of its pixels, with its ``visitor`` and ``controls`` on the
    server."""
    before = set(viewer.visitors)
    page = browser.new_page(viewport=WINDOW)
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(viewer.address)
    (number,) = until(page, lambda: set(viewer.visitors) - before)
    page.visitor, page.controls = viewer.visitors[number], viewer.panels[0].of[number]
    page.visitor.sharpness = sharpness
    at_rest(viewer, page)
    try:
        yield page
    finally:
        page.close()
    wait(lambda: number not in viewer.visitors)


def until(page, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait while the browser gets on."""
    return wait(condition, seconds, doing=lambda: page.wait_for_timeout(POLL))


def at_rest(viewer, page) -> None:
    """Until the picture is as good as it gets."""
    until(page, lambda: page.visitor.shown is not None and not viewer.scheduler.busy())


def redrawn(viewer, page, action: Callable[[], object]) -> np.ndarray:
    """The picture uint8 [H,W,3] after an action that makes a new one necessary."""
    before = page.visitor.shown
    action()
    until(page, lambda: page.visitor.shown is not before)
    at_rest(viewer, page)
    return page.visitor.shown


def screenshot(page) -> np.ndarray:
    """float32 [H,W,3] of what is left of the controls."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), np.float32) / 255


def canvas(page) -> dict[str, float]:
    """Where the picture is in the page."""
    return page.locator("canvas").first.bounding_box()


def free_place(page) -> tuple[float, float] | None:
    """Where on the page the picture is not covered by controls or by what was just told."""
    box = canvas(page)
    places = [(box["x"] + x, box["y"] + y) for y in (200, 120, 320) for x in (200, 120, 320)]
    on_picture = "([x, y]) => document.elementFromPoint(x, y)?.tagName === 'CANVAS'"
    return next((place for place in places if page.evaluate(on_picture, list(place))), None)


def drag(viewer, page, right: float, down: float) -> None:
    """Turn the camera by dragging over the picture, and wait for the picture from there."""
    before = page.visitor.eye()
    x, y = until(page, lambda: free_place(page))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=5)
    page.mouse.up()
    until(page, lambda: page.visitor.eye() != before)
    at_rest(viewer, page)
