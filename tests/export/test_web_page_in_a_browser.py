"""The page works in a browser that reaches nothing else."""

from __future__ import annotations

import io
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from fieldlab.bench.browser import FLAGS, browser_path
from fieldlab.export.web.page import write_page
from tests.export.two_balls import APART_X, BLUE, DISTANCE, FRONT, HOSTILE, RADIUS, RED, halves, textured, two_balls

WINDOW = {"width": 900, "height": 600}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")]


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    program = pytest.importorskip("playwright.sync_api")
    with program.sync_playwright() as running:
        made = running.chromium.launch(executable_path=browser_path(), args=FLAGS)
        yield made
        made.close()


@contextmanager
def shown(browser, path, before: str = "", **options):
    """A page in the browser once it is ready, which asked for nothing else and complained about nothing."""
    page = browser.new_page(**{"viewport": WINDOW, "reduced_motion": "reduce", **options})
    page.set_default_timeout(60_000)
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.add_init_script(before)
    page.goto(path.as_uri())
    page.evaluate("fieldlab.ready.then(() => true, () => false)")
    try:
        yield page
    finally:
        page.close()
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    assert before or not wrong


@pytest.fixture
def balls(browser, tmp_path):
    """The page of the two balls and their parts, seen from the front."""
    mesh = two_balls()
    leaf, tree = halves(mesh)
    write_page(tmp_path / "page.html", mesh, title="Two balls", leaf=leaf, tree=tree, view=FRONT)
    with shown(browser, tmp_path / "page.html") as page:
        yield page


def settled(page):
    """The page, once it has drawn what changed."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page


def until(page, condition) -> None:
    """Wait for what the browser does a little later than it is told."""
    for _ in range(600):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not happen in time")


def at(page, x: float, z: float) -> tuple[float, float]:
    """Where a world point above the front of the balls' middles is in the window."""
    box = page.locator("canvas").bounding_box()
    slope = np.tan(0.35) * max(1, box["height"] / box["width"])
    unit = box["height"] / (2 * slope * DISTANCE)
    return box["x"] + box["width"] / 2 + x * unit, box["y"] + box["height"] / 2 - z * unit


def click(page, x: float, z: float, *keys: str) -> list[int]:
    """What is selected after a click on a world point."""
    page.wait_for_timeout(400)  # two clicks in a row are a double click
    for key in keys:
        page.keyboard.down(key)
    page.mouse.click(*at(page, x, z))
    for key in keys:
        page.keyboard.up(key)
    return sorted(settled(page).evaluate("fieldlab.selected()"))


def color(page, x: float, z: float) -> np.ndarray:
    """int [3] of the pixel that shows a world point, with the pointer out of the way."""
    page.mouse.move(5, 595)
    picture = np.asarray(Image.open(io.BytesIO(settled(page).screenshot())).convert("RGB"), int)
    column, row = at(page, x, z)
    return picture[round(row), round(column)]


def like(found: np.ndarray, wanted, most: int = 45) -> bool:
    return bool(np.abs(found - np.asarray(wanted)).max() <= most)


def set_level(page, level: int) -> None:
    page.get_by_label("Level of detail").first.fill(str(level))
    settled(page)


def test_both_balls_are_shown(balls):
    assert balls.title() == "Two balls"
    assert balls.get_by_text("2,560 triangles · 5 segments").is_visible()
    assert like(color(balls, -APART_X, 0.1), RED)
    assert like(color(balls, APART_X, 0.1), BLUE)
    empty = color(balls, 0, 1.5)
    assert empty.min() > 200
    assert not balls.locator("#message").is_visible()


def test_a_click_selects_the_part_at_the_level_and_then_finer_ones(balls):
    assert click(balls, -1, 0.3) == [7]
    assert click(balls, 1, 0.3) == [2]
    set_level(balls, 1)
    assert click(balls, -1, 0.3) == [1]
    assert click(balls, -1, 0.3) == [7]
    assert click(balls, -1, 0.3) == [1]  # there is nothing finer
    assert click(balls, 1, 0, "Shift") == [1, 2]
    assert click(balls, 1, 0, "Shift") == [1]
    assert click(balls, 0, 1.5) == []
    set_level(balls, 0)
    assert click(balls, 1, 0) == [0]
    balls.keyboard.press("Escape")
    assert balls.evaluate("fieldlab.selected()") == []


def test_the_slider_goes_from_coarse_to_fine(balls):
    text = balls.locator("#level-text")
    assert text.inner_text() == "3 segments"
    set_level(balls, 0)
    assert text.inner_text() == "1 segment"
    balls.locator("#colors").get_by_label("Segments").check()
    toy = color(balls, -1, 0.3), color(balls, 1, 0.3)
    assert like(toy[0], toy[1], 8)
    assert toy[0][2] < 30  # yellow has no blue
    set_level(balls, 2)
    top, bottom = color(balls, -1, 0.3), color(balls, -1, -0.3)
    assert top[0] < 30 < top[2]
    assert bottom[2] < 30 < bottom[0]
    balls.locator("#colors").get_by_label("Photo").check()
    assert like(color(balls, -1, 0.3), RED)


def test_parts_hide_and_are_alone(balls):
    balls.get_by_role("button", name="Hide top").dispatch_event("click")
    assert settled(balls).evaluate("fieldlab.hidden()") == [7]
    assert balls.evaluate("([x, y]) => fieldlab.partAt(x, y)", at(balls, -1, 0.5)) in (None, 9)  # its inside
    balls.get_by_role("button", name="Show top").dispatch_event("click")
    assert balls.evaluate("([x, y]) => fieldlab.partAt(x, y)", at(balls, -1, 0.5)) == 7
    assert click(balls, -1, 0.3) == [7]
    balls.get_by_role("button", name="Isolate").click()
    assert like(color(balls, -1, 0.3), RED)
    assert color(balls, 1, 0.1).min() > 200
    assert balls.evaluate("([x, y]) => fieldlab.partAt(x, y)", at(balls, 1, 0)) is None
    balls.get_by_role("button", name="Show all").click()
    assert settled(balls).evaluate("([x, y]) => fieldlab.partAt(x, y)", at(balls, 1, 0)) == 2


def test_what_is_not_selected_is_dim(balls):
    assert click(balls, 1, 0.1) == [2]
    assert like(color(balls, 1, 0.1), BLUE)
    assert np.ptp(color(balls, -1, 0.1)) < 25


def test_the_card_says_how_large_a_part_is(balls):
    click(balls, 1, 0)
    card = balls.locator("#card")
    assert card.get_by_text(HOSTILE, exact=True).is_visible()
    assert "4.5 square units" in card.inner_text() or "4.48 square units" in card.inner_text()
    assert "1.2 × 1.2 × 1.2 units" in card.inner_text()
    card.get_by_role("button", name="Parent").click()
    assert settled(balls).evaluate("fieldlab.selected()") == [0]
    assert "3.2 × 1.2 × 1.2 units" in card.inner_text()
    card.get_by_role("button", name="Children").click()
    assert sorted(balls.evaluate("fieldlab.selected()")) == [1, 2]


def test_names_are_text(balls):
    assert balls.locator("#tree").get_by_text(HOSTILE, exact=True).is_visible()
    assert balls.locator("b").count() == 0


def test_the_list_follows_the_keyboard(balls):
    balls.get_by_label("Whole tree").check()
    rows = balls.get_by_role("treeitem")
    assert sorted(rows.locator(".name").all_inner_texts()) == [HOSTILE, "left", "toy"]
    balls.get_by_role("treeitem", name="left").focus()
    balls.keyboard.press("ArrowRight")
    assert balls.get_by_role("treeitem", name="left").get_attribute("aria-expanded") == "true"
    balls.get_by_role("treeitem", name="top").focus()
    balls.keyboard.press("Enter")
    assert balls.evaluate("fieldlab.selected()") == [7]
    balls.keyboard.press("ArrowLeft")
    balls.keyboard.press("ArrowLeft")
    assert balls.get_by_role("treeitem", name="top").count() == 0
    balls.keyboard.press("h")
    assert balls.evaluate("fieldlab.hidden()") == [1]


def test_the_camera_turns_zooms_and_comes_home(balls):
    home = np.array(balls.evaluate("fieldlab.eye"))
    assert np.allclose(home, FRONT[0], atol=1e-6)
    balls.mouse.move(200, 500)
    balls.mouse.down()
    balls.mouse.move(260, 520, steps=4)
    balls.mouse.up()
    turned = np.array(balls.evaluate("fieldlab.eye"))
    assert np.linalg.norm(turned) == pytest.approx(DISTANCE)
    assert np.linalg.norm(turned - home) > 0.5
    assert balls.evaluate("fieldlab.selected()") == []
    balls.mouse.wheel(0, -300)
    until(balls, lambda: np.linalg.norm(balls.evaluate("fieldlab.eye")) < 0.9 * DISTANCE)
    balls.get_by_role("button", name="Reset the view").click()
    assert np.allclose(balls.evaluate("fieldlab.eye"), home, atol=1e-6)

    def nearer() -> bool:  # two clicks that a busy machine parts are no double click: try again
        balls.mouse.dblclick(*at(balls, 1, 0.1))
        distance = np.linalg.norm(np.array(balls.evaluate("fieldlab.eye")) - (1, -RADIUS, 0.1))
        return distance == pytest.approx(0.6 * np.hypot(4.4, 1), rel=0.1)

    until(balls, nearer)


def test_points_are_in_world_units(balls):
    found = balls.evaluate("([x, y]) => fieldlab.pointAt(x, y)", at(balls, 1, 0.1))
    assert np.linalg.norm(np.array(found) - (APART_X, 0, 0)) == pytest.approx(RADIUS, abs=0.01)
    assert balls.evaluate("fieldlab.pointAt(5, 5)") is None


def test_two_fingers_come_closer(balls):
    touch = balls.context.new_cdp_session(balls)
    for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", None)):
        points = [] if apart is None else [{"x": 288 + s * apart, "y": 300, "id": s} for s in (0, 1)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    until(balls, lambda: np.linalg.norm(balls.evaluate("fieldlab.eye")) == pytest.approx(DISTANCE / 2, rel=0.1))


def test_nothing_is_drawn_while_nothing_changes(balls):
    before = settled(balls).evaluate("fieldlab.frames")
    balls.wait_for_timeout(500)
    assert balls.evaluate("fieldlab.frames") == before


def test_the_picture_comes_back_when_the_graphics_card_lost_it(balls):
    balls.evaluate("""async () => {
        const canvas = document.getElementById('canvas');
        const lose = canvas.getContext('webgl2').getExtension('WEBGL_lose_context');
        lose.loseContext();
        await new Promise(done => setTimeout(done, 100));
        const back = new Promise(done => canvas.addEventListener('webglcontextrestored', done));
        lose.restoreContext();
        await back;
    }""")
    assert like(color(balls, -1, 0.1), RED)
    assert click(balls, 1, 0.1) == [2]


def test_a_textured_mesh_without_parts_is_just_shown(browser, tmp_path):
    write_page(tmp_path / "page.html", textured(two_balls()), title="Texture", view=FRONT)
    with shown(browser, tmp_path / "page.html") as page:
        assert not page.locator("#panel").is_visible()
        assert like(color(page, -1, 0.3), (20, 180, 60))
        assert like(color(page, 1, -0.3), (250, 140, 10))


def test_a_browser_without_webgl_shows_the_poster(browser, tmp_path):
    poster = np.full((40, 60, 3), (10, 150, 90), np.uint8)
    write_page(tmp_path / "page.html", two_balls(), title="Balls", poster=poster)
    with shown(browser, tmp_path / "page.html", "HTMLCanvasElement.prototype.getContext = () => null") as page:
        assert page.get_by_text("WebGL 2 is missing").is_visible()
        picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), int)
        assert like(picture[300, 450], poster[0, 0], 6)
    with shown(browser, tmp_path / "page.html") as page:
        assert not settled(page).locator("#poster").is_visible()
