"""The page in a real browser: it shows the field, controls do what they say, clicks find parts, films are made."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import threading
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from conftest import ball_subject
from PIL import Image

from fieldlab.view.channels import paint
from fieldlab.view.look import Look
from fieldlab.view.page import Page
from fieldlab.view.seen import see
from fieldlab.view.server import Viewer
from tests.scenes import RADIUS

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
WINDOW = {"width": 900, "height": 600}
PATIENCE = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="no Chromium is installed"),
]
playwright = pytest.importorskip("playwright.sync_api")


def wait(condition, seconds: float = PATIENCE, doing=lambda: time.sleep(0.05)):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        doing()
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    subject = ball_subject(folder=tmp_path_factory.mktemp("run"))
    made = Viewer([subject], port=18300 + os.getpid() % 1000, panels=[Page])
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as program:
        made = program.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def page(browser, viewer):
    """A page whose visitor has a full picture."""
    before = set(viewer.visitors)
    made = browser.new_page(viewport=WINDOW)
    made.goto(viewer.address)
    (number,) = wait(lambda: set(viewer.visitors) - before, doing=lambda: made.wait_for_timeout(50))
    made.visitor = viewer.visitors[number]
    at_rest(viewer, made)
    yield made
    made.close()
    wait(lambda: number not in viewer.visitors)


def at_rest(viewer, page) -> None:
    """Until the picture is as good as it gets."""
    visitor, pause = page.visitor, lambda: page.wait_for_timeout(50)
    wait(lambda: visitor.shown is not None and not viewer.scheduler.busy(), doing=pause)
    page.wait_for_timeout(400)


def screenshot(page) -> np.ndarray:
    """float32 [H,W,3] of what is left of the controls."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), np.float32) / 255


def canvas(page) -> dict[str, float]:
    """Where the picture is in the page."""
    return page.locator("canvas").first.bounding_box()


def test_the_picture_is_the_field(viewer, page):
    visitor, box = page.visitor, canvas(page)
    width, height = int(box["width"]), int(box["height"])
    seen = see(viewer.subjects[0].model, visitor.eye().cameras(width, height))
    wanted = paint(seen, viewer.subjects[0], Look()).numpy()
    x, y = int(box["x"]), int(box["y"])
    shown = screenshot(page)[y : y + height, x : x + width]
    free = slice(None), slice(0, int(width * 0.9))
    part = np.abs(shown[: wanted.shape[0], : wanted.shape[1]] - wanted)[free]
    ball = np.abs(wanted - 1).max(2)[free] > 0.02
    assert ball.mean() > 0.03
    assert np.median(part[ball]) < 0.03  # JPEG, and a window that is not a whole number of pixels


def test_the_level_recolors_and_a_click_chooses_the_part_under_it(viewer, page):
    visitor, tree = page.visitor, viewer.subjects[0].hierarchy
    viewer.show(visitor, channel="parts", tint=1.0)
    page.get_by_role("tab", name="Parts").click()
    slider = page.locator("[role=slider]:visible").first
    slider.focus()
    page.keyboard.press("Home")
    wait(lambda: visitor.look.level < 0.4, doing=lambda: page.wait_for_timeout(50))
    at_rest(viewer, page)
    fine = visitor.shown.copy()
    page.keyboard.press("End")
    wait(lambda: visitor.look.level > 0.8, doing=lambda: page.wait_for_timeout(50))
    at_rest(viewer, page)
    assert np.abs(fine.astype(int) - visitor.shown).max() > 60
    page.keyboard.press("Home")
    wait(lambda: visitor.look.level < 0.4, doing=lambda: page.wait_for_timeout(50))
    point = torch.nn.functional.normalize(visitor.eye().camera_to_world[:, 3], dim=0) * RADIUS
    point = torch.nn.functional.normalize(point + torch.tensor([0.0, 0.0, 0.25]), dim=0) * RADIUS
    box = canvas(page)
    pixels, _, valid = visitor.eye().cameras(int(box["width"]), int(box["height"])).project(0, point[None])
    assert bool(valid)
    page.mouse.click(box["x"] + float(pixels[0, 0]), box["y"] + float(pixels[0, 1]))
    wait(lambda: visitor.look.chosen, doing=lambda: page.wait_for_timeout(50))
    wanted = 2 if point[2] < 0 else 3 if point[0] > 0 else 4
    assert visitor.look.chosen == {wanted}
    page.get_by_text(tree.names[wanted], exact=False).first.wait_for()
    page.get_by_role("button", name="isolate").click()
    wait(lambda: visitor.look.only == {wanted}, doing=lambda: page.wait_for_timeout(50))
    at_rest(viewer, page)


def test_a_path_becomes_a_film_in_the_run_folder(viewer, page):
    visitor, folder = page.visitor, viewer.subjects[0].folder
    page.get_by_role("tab", name="Path").click()
    page.get_by_role("button", name="Add this view").click()
    page.wait_for_timeout(300)
    box = canvas(page)
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 320, box["y"] + 240, steps=5)
    page.mouse.up()
    at_rest(viewer, page)
    page.get_by_role("button", name="Add this view").click()
    page.get_by_text("2 views").wait_for()
    size = page.get_by_label("Pictures a second")
    size.fill("4")
    size.press("Enter")
    page.get_by_text("9 pictures").wait_for()
    with page.expect_download(timeout=1000 * PATIENCE):
        page.get_by_role("button", name="Save path").click()
    page.get_by_role("button", name="Render mp4").click()
    film = folder / "renders" / "path.mp4"
    wait(film.exists, 3 * PATIENCE, lambda: page.wait_for_timeout(200))
    frames = iio.imread(film)
    assert len(frames) == 9
    assert frames.std() > 5
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.5
    assert (folder / "paths" / "path.json").exists()
    assert visitor.handle.client_id in viewer.visitors


def test_two_visitors_have_their_own_cameras_and_wishes(browser, viewer, page):
    before = set(viewer.visitors)
    other = browser.new_page(viewport=WINDOW)
    try:
        other.goto(viewer.address)
        (number,) = wait(lambda: set(viewer.visitors) - before, doing=lambda: other.wait_for_timeout(50))
        second, first = viewer.visitors[number], page.visitor
        other.visitor = second
        viewer.show(second, channel="depth")
        box = canvas(other)
        other.mouse.move(box["x"] + 200, box["y"] + 200)
        other.mouse.down()
        other.mouse.move(box["x"] + 300, box["y"] + 220, steps=4)
        other.mouse.up()
        at_rest(viewer, other)
        at_rest(viewer, page)
        assert first.look.channel == "color"
        assert first.eye() != second.eye()
        assert first.shown.shape[0] > 100
        assert np.abs(first.shown.astype(float).mean() - second.shown.astype(float).mean()) > 1
    finally:
        other.close()


def test_hostile_and_broken_visitors_stop_nobody(viewer, page):
    """Fifty connections that say nothing, nonsense, or too much, and go in the middle of everything."""
    import viser
    import websockets

    address, protocol = viewer.address.replace("http", "ws"), websockets.Subprotocol(f"viser-v{viser.__version__}")

    async def visit(i: int) -> None:
        try:
            async with websockets.connect(address, subprotocols=[protocol], open_timeout=20) as socket:
                if i % 3 == 0:
                    await socket.send(os.urandom(1 << 12))
                elif i % 3 == 1:
                    await socket.send(b"\x00" * (8 << 20))
                await asyncio.sleep(0.05)
        except (OSError, websockets.WebSocketException):
            pass  # to be thrown out is fine

    async def all_of_them() -> None:
        await asyncio.gather(*(visit(i) for i in range(50)))

    thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    thread.start()
    while thread.is_alive():
        page.wait_for_timeout(100)
    page.visitor.shown = None
    viewer.redraw(page.visitor)
    viewer.show(page.visitor, background=(0.0, 0.0, 0.0))
    at_rest(viewer, page)
    assert page.visitor.shown is not None
    assert page.visitor.shown[:5, :5].mean() < 30
    assert Path(viewer.subjects[0].folder).is_dir()
