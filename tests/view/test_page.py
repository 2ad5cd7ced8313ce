"""The page in a real browser: it shows the field, controls do what they say, clicks find parts, films are made."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from fieldlab.view.channels import paint
from fieldlab.view.display import DisplaySettings
from fieldlab.view.gbuffer import render_gbuffer
from fieldlab.view.server import Viewer
from tests.scenes import RADIUS
from tests.view.ball import ball_run
from tests.view.browsing import (
    PATIENCE,
    Controls,
    at_rest,
    canvas,
    drag,
    in_a_browser,
    opened,
    redrawn,
    screenshot,
    until,
)

pytestmark = in_a_browser
SHARPNESS = 0.5  # of full pictures where their details do not matter


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    run = ball_run(folder=tmp_path_factory.mktemp("run"))
    made = Viewer([run], port=18300 + os.getpid() % 1000, panels=[Controls()])
    yield made
    made.stop()


@pytest.fixture
def page(browser, viewer):
    with opened(browser, viewer, SHARPNESS) as made:
        yield made


def test_the_picture_is_the_field(browser, viewer):
    with opened(browser, viewer) as page:
        check_picture(viewer, page)


def check_picture(viewer, page):
    visitor, box = page.visitor, canvas(page)
    width, height = int(box["width"]), int(box["height"])
    seen = render_gbuffer(viewer.runs[0].model, visitor.eye().cameras(width, height))
    wanted = paint(seen, viewer.runs[0], DisplaySettings()).numpy()
    x, y = int(box["x"]), int(box["y"])
    free = slice(None), slice(0, int(width * 0.9))
    ball = np.abs(wanted - 1).max(2)[free] > 0.02
    assert ball.mean() > 0.03

    def wrong() -> float:
        shown = screenshot(page)[y : y + height, x : x + width]
        return float(np.median(np.abs(shown[: wanted.shape[0], : wanted.shape[1]] - wanted)[free][ball]))

    until(page, lambda: wrong() < 0.03)  # JPEG, and a window that is not a whole number of pixels


def test_the_level_recolors_and_a_click_chooses_the_part_under_it(viewer, page):
    visitor, tree = page.visitor, viewer.runs[0].hierarchy
    viewer.show(visitor, channel="segments", tint=1.0)
    page.get_by_role("tab", name="Segments").click()
    slider = page.locator("[role=slider]:visible").first
    slider.focus()
    fine = redrawn(viewer, page, lambda: page.keyboard.press("Home"))
    assert visitor.display.threshold < 0.4
    coarse = redrawn(viewer, page, lambda: page.keyboard.press("End"))
    assert visitor.display.threshold > 0.8
    assert np.abs(fine.astype(int) - coarse).max() > 60
    page.keyboard.press("Home")
    until(page, lambda: visitor.display.threshold < 0.4)
    point = torch.nn.functional.normalize(visitor.eye().camera_to_world[:, 3], dim=0) * RADIUS
    point = torch.nn.functional.normalize(point + torch.tensor([0.0, 0.0, 0.25]), dim=0) * RADIUS
    box = canvas(page)
    pixels, _, valid = visitor.eye().cameras(int(box["width"]), int(box["height"])).project(0, point[None])
    assert bool(valid)
    page.mouse.click(box["x"] + float(pixels[0, 0]), box["y"] + float(pixels[0, 1]))
    until(page, lambda: visitor.display.chosen)
    wanted = 2 if point[2] < 0 else 3 if point[0] > 0 else 4
    assert visitor.display.chosen == {wanted}
    page.get_by_text(tree.names[wanted], exact=False).first.wait_for()
    page.get_by_role("button", name="isolate").click()
    until(page, lambda: visitor.display.only == {wanted})


def test_a_path_becomes_a_film_in_the_run_folder(viewer, page):
    visitor, folder = page.visitor, viewer.runs[0].folder
    page.get_by_role("tab", name="Path").click()
    page.get_by_role("button", name="Add keyframe").click()
    page.get_by_text("1 keyframes").wait_for()
    drag(viewer, page, 120, 40)
    page.get_by_role("button", name="Add keyframe").click()
    page.get_by_text("2 keyframes").wait_for()
    size = page.get_by_label("Frames per second")
    size.fill("2")
    size.press("Enter")
    page.get_by_text("5 frames").wait_for()
    with page.expect_download(timeout=1000 * PATIENCE):
        page.get_by_role("button", name="Save path").click()
    page.get_by_role("button", name="Render mp4").click()
    film = folder / "renders" / "path.mp4"
    until(page, film.exists, 3 * PATIENCE)
    frames = iio.imread(film)
    assert len(frames) == 5
    assert frames.std() > 5
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.5
    assert (folder / "paths" / "path.json").exists()
    assert visitor.handle.client_id in viewer.visitors


def test_two_visitors_have_their_own_cameras_and_wishes(browser, viewer, page):
    with opened(browser, viewer) as other:
        second, first = other.visitor, page.visitor
        viewer.show(second, channel="depth")
        drag(viewer, other, 100, 20)
        at_rest(viewer, page)
        assert first.display.channel == "color"
        assert first.eye() != second.eye()
        assert first.shown.shape[0] > 100
        assert np.abs(first.shown.astype(float).mean() - second.shown.astype(float).mean()) > 1


def test_a_new_name_is_seen_by_everybody_and_kept(browser, viewer, page):
    with opened(browser, viewer) as other:
        for each in (page, other):
            each.get_by_role("tab", name="Segments").click()
        viewer.show(page.visitor, chosen=frozenset())
        page.get_by_role("button", name="south").first.click()
        until(page, lambda: page.visitor.display.chosen == {2})
        fields = page.locator("input:visible, textarea:visible")
        name = until(page, lambda: next((one for one in fields.all() if one.input_value() == "south"), None))
        name.fill("the far south")
        name.press("Enter")
        until(page, lambda: page.controls.segments.name.value == "the far south")
        page.get_by_role("button", name="Rename").click()
        other.get_by_role("button", name="the far south").first.wait_for()
    assert "the far south" in (viewer.runs[0].folder / "hierarchy.json").read_text()


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
    assert Path(viewer.runs[0].folder).is_dir()
