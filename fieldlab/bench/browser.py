"""How soon pixels follow the pointer in a real browser, which draws on the same machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

STEP = 9  # pixels the pointer goes at a time
PATIENCE_MS = 30_000.0
LEAST_SIDE = 640  # pixels of the window: the panel covers smaller ones, and would get the drags
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
# Notes when the pointer moves, and the first frame after a picture went to the graphics library.
NOTES = """
window.moved = [], window.drawn = []
addEventListener('pointermove', () => moved.push(performance.now()), true)
for (const name of ['texImage2D', 'texSubImage2D']) {
  const upload = WebGL2RenderingContext.prototype[name]
  WebGL2RenderingContext.prototype[name] = function (...given) {
    const last = given[given.length - 1]
    if (last instanceof ImageBitmap || last instanceof HTMLImageElement)
      requestAnimationFrame(() => drawn.push(performance.now()))
    return upload.apply(this, given)
  }
}
"""


def browser_path() -> str | None:
    """Where Chromium is, None where it is not or nothing can drive it."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return None
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def pointer_to_pixels(address: str, side: int, busy: Callable[[], bool], moves: int) -> list[float]:
    """Milliseconds from each of several moves of a pointer that drags to the first new picture on the screen.

    Args:
        address: of the viewer's page.
        side: of the window, in pixels.
        busy: whether pictures are still being refined; each move waits for rest.
        moves: how many.
    """
    # On a thread of its own, because Playwright refuses where an event loop runs, as in a notebook.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_drag, address, side, busy, moves).result()


def _drag(address: str, side: int, busy: Callable[[], bool], moves: int) -> list[float]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as program:
        browser = program.chromium.launch(executable_path=browser_path(), args=FLAGS)
        try:
            side = max(side, LEAST_SIDE)
            page = browser.new_page(viewport={"width": side, "height": side})
            page.add_init_script(NOTES)
            page.goto(address)
            page.wait_for_function("drawn.length > 0", timeout=PATIENCE_MS)
            x, y, found = side * 0.3, side * 0.7, []
            page.mouse.move(x, y)
            page.mouse.down()
            for _ in range(moves):
                end = time.monotonic() + PATIENCE_MS / 1000
                page.wait_for_timeout(300)
                while busy() and time.monotonic() < end:
                    page.wait_for_timeout(50)
                x += STEP
                page.mouse.move(x, y)
                page.wait_for_function("drawn.some(at => at > moved[moved.length - 1])", timeout=PATIENCE_MS)
                found.append(page.evaluate("drawn.find(at => at > moved.at(-1)) - moved.at(-1)"))
            page.mouse.up()
            return found
        finally:
            browser.close()
