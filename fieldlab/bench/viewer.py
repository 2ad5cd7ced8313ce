"""How soon the viewer answers: websocket clients that say where they look and wait for pictures, as a browser does."""

from __future__ import annotations

import asyncio
import io
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
import viser
import websockets
import zstandard
from PIL import Image

from fieldlab.bench.browser import browser_path, pointer_to_pixels
from fieldlab.bench.measure import Row
from fieldlab.data.cameras import Cameras
from fieldlab.pictures.camera_path import View, orbit
from fieldlab.view.cameras import wxyz_of
from fieldlab.view.server import Viewer
from fieldlab.view.shown_run import ShownRun

WINDOW, QUICK_WINDOW = 512, 128
VISITORS = 4
MOVES, QUICK_MOVES = 60, 10
DRAGS, QUICK_DRAGS = 24, 3
RATE_SECONDS, QUICK_RATE_SECONDS = 3.0, 1.0
FULL_EVERY = 10  # moves
HERTZ = 60.0
# What is wanted on two processor cores.
ANSWER_MS, FULL_MS, FLUENT, FRAMES, RECOLOR_MS = 80.0, 400.0, 15.0, 4.0, 150.0
PATIENCE = 120.0


@dataclass
class Watcher:
    """A browser without a browser: sends cameras, notes when pictures come and how large they are."""

    address: str
    side: int  # of the window, in pixels
    pictures: list[tuple[float, int]] = field(default_factory=list)  # when, and pixels
    _loop: asyncio.AbstractEventLoop | None = None
    _socket: object = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _came: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True).start()
        if not self._ready.wait(PATIENCE):
            raise TimeoutError("the viewer does not answer")

    async def _live(self) -> None:
        protocol = websockets.Subprotocol(f"viser-v{viser.__version__}")
        address = self.address.replace("http", "ws")
        async with websockets.connect(address, subprotocols=[protocol], max_size=None) as socket:
            self._loop, self._socket = asyncio.get_running_loop(), socket
            self._ready.set()
            async for message in socket:
                now = time.perf_counter()
                if isinstance(message, bytes) and (pixels := pixels_in(message)):
                    with self._came:
                        self.pictures.append((now, pixels))
                        self._came.notify_all()

    def look_from(self, cameras: Cameras, i: int, fov: float) -> float:
        """Look from camera i; returns when that was said."""
        pose = cameras.camera_to_world[i].numpy()
        words = {
            "type": "ViewerCameraMessage", "wxyz": wxyz_of(pose[:, :3]), "position": pose[:, 3].tolist(), "fov": fov,
            "near": 0.01, "far": 1000.0, "image_height": self.side, "image_width": self.side,
            "look_at": [0.0, 0.0, 0.0], "up_direction": [0.0, 0.0, 1.0],
        }  # fmt: skip
        said = time.perf_counter()
        assert self._loop is not None
        send = self._socket.send(msgspec.msgpack.encode(words))  # type: ignore[attr-defined]
        asyncio.run_coroutine_threadsafe(send, self._loop).result(PATIENCE)
        return said

    def leave(self) -> None:
        """Close the connection."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._socket.close(), self._loop).result(PATIENCE)  # type: ignore[attr-defined]

    def wait(self, after: float, least: int = 0) -> float:
        """When the first picture of so many pixels came after a time.

        Raises:
            TimeoutError: none came.
        """

        def found() -> float | None:
            return next((when for when, pixels in self.pictures if when > after and pixels >= least), None)

        with self._came:
            if not self._came.wait_for(lambda: found() is not None, PATIENCE):
                raise TimeoutError("no picture came")
            when = found()
            assert when is not None
            return when


def pixels_in(message: bytes) -> int:
    """Pixels of the last picture that a message of viser's carries, 0 for none: sizes of its compressed and plain
    head, 8 bytes each, then the head (zstd, msgpack)."""
    size, packed = (int.from_bytes(message[at : at + 8], "little") for at in (0, 8))
    head = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(message[16 : 16 + packed], size))
    pixels = 0
    for entry in head["messages"]:
        if entry["type"] == "BackgroundImageMessage" and entry["rgb_data"]:
            width, height = Image.open(io.BytesIO(entry["rgb_data"])).size
            pixels = int(width * height)
    return pixels


def viewer_rows(run: ShownRun, quick: bool = False) -> Iterator[Row]:
    """Every figure of the viewer of a run, as soon as it is known; ``quick`` ones are of a few moves."""
    moves, seconds = (QUICK_MOVES, QUICK_RATE_SECONDS) if quick else (MOVES, RATE_SECONDS)
    side, drags = (QUICK_WINDOW, QUICK_DRAGS) if quick else (WINDOW, DRAGS)
    fov = math.radians(45)
    cameras = orbit(run.scene.cameras["train"], run.box, 2 * MOVES, View(side, side, fov))
    viewer = Viewer([run], port=18200)
    try:
        first = Watcher(viewer.address, side)
        first.wait(first.look_from(cameras, 0, fov), least=int(0.9 * side**2))
        answers, sizes, full = _alone(first, cameras, fov, moves)
        yield _row("camera message to image message, median", 1000 * statistics.median(answers), "ms", ANSWER_MS)
        yield _row("camera message to image message, 95th of 100", 1000 * float(np.quantile(answers, 0.95)), "ms")
        yield _row("side of the picture while moving", math.sqrt(statistics.median(sizes)), "pixels")
        yield _row(f"last move to full {side} x {side} picture", 1000 * statistics.median(full), "ms", FULL_MS)
        yield _row("pictures a second while moving", _rate([first], cameras, fov, seconds)[0], "1/s", FLUENT)
        others = [first, *(Watcher(viewer.address, side) for _ in range(VISITORS - 1))]
        yield _row(
            f"pictures a second, least of {VISITORS} clients", min(_rate(others, cameras, fov, seconds)), "1/s", FRAMES
        )
        if run.hierarchy is not None:
            yield _row("threshold change to recolored picture", 1000 * _recolored(viewer, first), "ms", RECOLOR_MS)
        if browser_path() is not None:
            for watcher in others:
                watcher.leave()
            waits = pointer_to_pixels(viewer.address, side, viewer.scheduler.busy, drags)
            yield _row("pointer to new pixels in a browser, median", statistics.median(waits), "ms")
    finally:
        viewer.stop()


def _row(name: str, value: float, unit: str, target: float | None = None) -> Row:
    return Row("viewer", name, value, unit, target, "target")


def _alone(one: Watcher, cameras: Cameras, fov: float, moves: int) -> tuple[list[float], list[int], list[float]]:
    """Seconds to the first picture after each of many moves, their pixels, and seconds to full ones after some."""
    answers, sizes, full = [], [], []
    for i in range(moves):
        said = one.look_from(cameras, i, fov)
        came = one.wait(said)
        answers.append(came - said)
        sizes.append(next(pixels for when, pixels in one.pictures if when == came))
        if i % FULL_EVERY == FULL_EVERY - 1:
            full.append(one.wait(said, least=int(0.95 * one.side**2)) - said)
    return answers, sizes, full


def _rate(watchers: list[Watcher], cameras: Cameras, fov: float, seconds: float) -> list[float]:
    """Pictures a second of each while all move without pause."""
    start = time.perf_counter()
    for watcher in watchers:
        watcher.pictures.clear()
    turn = 0
    while time.perf_counter() - start < seconds:
        for k, watcher in enumerate(watchers):
            watcher.look_from(cameras, (turn + 7 * k) % len(cameras), fov)
        turn += 1
        time.sleep(1 / HERTZ)
    passed = time.perf_counter() - start
    return [sum(when < start + passed for when, _ in list(watcher.pictures)) / passed for watcher in watchers]


def _recolored(viewer: Viewer, one: Watcher) -> float:
    """Seconds from a new threshold to the picture that shows it, at rest."""
    tree = viewer.runs[0].hierarchy
    assert tree is not None
    thresholds, visitor = tree.thresholds(12).tolist(), viewer.visitors[min(viewer.visitors)]
    viewer.show(visitor, channel="segments", threshold=thresholds[0])
    _until(lambda: not viewer.scheduler.busy())
    found = []
    for threshold in thresholds[1:]:
        start = time.perf_counter()
        viewer.show(visitor, threshold=threshold)
        found.append(one.wait(start) - start)
        _until(lambda: not viewer.scheduler.busy())
    return statistics.median(found)


def _until(condition: Callable[[], bool]) -> None:
    end = time.perf_counter() + PATIENCE
    while not condition() and time.perf_counter() < end:
        time.sleep(0.02)
