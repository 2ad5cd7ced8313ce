"""The server without a browser: where it listens, whom it refuses, and visitors that are gone before they are there."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import pytest
import viser
import websockets

from fieldlab.errors import BackendError
from fieldlab.view.ports import LOCAL, free_port
from fieldlab.view.scheduler import Job
from fieldlab.view.server import Viewer
from tests.view.ball import ball_run
from tests.view.clients import Client
from tests.view.waiting import PATIENCE

T = TypeVar("T")


def in_a_thread(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, in a thread of its own: a browser that other tests keep open has its loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def viewer():
    made = Viewer([ball_run(parts=False)], port=17000 + os.getpid() % 1000)
    yield made
    made.stop()


def test_the_first_port_that_is_free():
    with socket.create_server((LOCAL, 0)) as taken:
        port = taken.getsockname()[1]
        assert port < free_port(LOCAL, port) <= 65535
    assert free_port(LOCAL, 0) > 0
    assert free_port("localhost", 0) > 0


NOWHERE = [(LOCAL, 70000), (LOCAL, -1), ("192.0.2.1", 8080), ("no.such.host.invalid", 8080)]


@pytest.mark.parametrize(("host", "port"), NOWHERE)
def test_where_nothing_can_listen(host, port):
    with pytest.raises(BackendError, match="listen"):
        Viewer([], host=host, port=port)


def test_no_visitor_opens_a_tunnel(viewer, monkeypatch):
    monkeypatch.setattr("viser._viser.ViserTunnel", lambda *_: pytest.fail("a tunnel"))
    assert viewer.server.request_share_url() is None


CAMERA = msgspec.msgpack.encode({
    "type": "ViewerCameraMessage", "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (0.0, 0.0, -3.0), "fov": 0.8, "near": 0.01,
    "far": 1000.0, "image_height": 48, "image_width": 60, "look_at": [0.0, 0.0, 0.0], "up_direction": [0.0, 0.0, 1.0],
})  # fmt: skip


async def visit(viewer: Viewer, origin: str | None = None, condition=lambda: True) -> bool:
    """Say where one looks from, and leave when something is the case; whether it was, in time."""
    address, protocol = viewer.address.replace("http", "ws"), websockets.Subprotocol(f"viser-v{viser.__version__}")
    async with websockets.connect(address, subprotocols=[protocol], origin=origin) as socket:
        await socket.send(CAMERA)
        return await until(condition)


async def until(condition, seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return bool(condition())


@pytest.mark.parametrize("origin", [None, "own"])
def test_pages_of_this_site_are_visitors(viewer, origin):
    own = viewer.address if origin == "own" else None
    assert in_a_thread(visit(viewer, own, lambda: viewer.visitors))
    assert in_a_thread(until(lambda: not viewer.visitors))


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_pages_of_other_sites_are_strangers(viewer, origin, caplog):
    def refused() -> bool:
        assert not viewer.visitors
        return "a page of another site was refused" in caplog.text

    assert in_a_thread(visit(viewer, origin, refused))
    assert not viewer.visitors


@pytest.mark.slow
def test_who_comes_and_goes_at_once_leaves_nothing(viewer):
    viewer.panels, count = [lambda *_: time.sleep(0.05)], len(viewer._left)

    async def all_of_them() -> bool:
        await asyncio.gather(*(visit(viewer) for _ in range(30)))
        assert await until(lambda: len(viewer._left) > count)
        await asyncio.sleep(0.5)
        return await until(lambda: not viewer.visitors and not viewer.scheduler._clients)

    assert in_a_thread(all_of_them())


def test_who_has_gone_does_not_come(viewer):
    left: list[int] = []
    viewer.panels = [lambda _, visitor: visitor.leaving.append(lambda: left.append(1))]
    for number, goes_first in ((1001, False), (1002, True)):
        client = Client(number)
        for word in (viewer._leave, viewer._enter) if goes_first else (viewer._enter, viewer._leave):
            word(client)
        assert number not in viewer.visitors
        assert number not in viewer.scheduler._clients
    assert len(left) == 2
    viewer.scheduler.add(1003, lambda: None)
    assert viewer._draw(Job(1003, None, 1.0, False, lambda: False)) is None
    assert 1003 not in viewer.scheduler._clients


def test_large_files_are_refused_before_they_come():
    from viser._gui_api import GuiApi

    from fieldlab.view.uploads import AT_ONCE, LARGEST_UPLOAD, MOST_PARTS, Uploads

    source = inspect.getsource(GuiApi)
    assert "self._current_file_upload_states[message.transfer_uuid] = {" in source  # what this takes the place of
    told: list[str] = []
    made = Uploads(told.append)
    made["large"] = {"total_bytes": LARGEST_UPLOAD + 1, "part_count": 1}
    made["many"] = {"total_bytes": 1, "part_count": MOST_PARTS + 1}
    assert not made
    assert len(told) == 2
    for i in range(AT_ONCE + 2):
        made[str(i)] = {"total_bytes": 1000, "part_count": 1}
    assert len(made) == AT_ONCE
    assert "MB" in told[0]
