"""The viewer: a page on this machine, whose visitors each have their own camera and wishes."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import viser

from fieldlab.view.ports import LOCAL, free_port
from fieldlab.view.scheduler import Drawn, Job, Scheduler
from fieldlab.view.shown_run import ShownRun
from fieldlab.view.tasks import Tasks
from fieldlab.view.turns import Turns
from fieldlab.view.uploads import Uploads
from fieldlab.view.visitor import PictureRequest, Visitor

log = logging.getLogger(__name__)


class _Server(viser.ViserServer):
    """viser's, which nobody can ask for a public address: any visitor could, whether there is a button or not."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """None."""
        log.warning("a visitor asked for a public address and was refused")
        return None


class Viewer:
    """Serves a page.

    Args:
        runs: one or two runs to show.
        host: address to listen at; only this machine can reach the default.
        port: number, or the first one above it that is free.
        turns: shared with a training loop, so that both get on.
        panels: make the controls of a visitor's page; called for each.

    Raises:
        BackendError: nothing can listen there.
    """

    def __init__(
        self, runs: Sequence[ShownRun], *, host: str = LOCAL, port: int = 8080, turns: Turns | None = None,
        panels: Sequence[Callable[[Viewer, Visitor], Any]] = (),
    ) -> None:  # fmt: skip
        self.runs, self.turns, self.panels = list(runs), turns or Turns(), list(panels)
        self.visitors: dict[int, Visitor] = {}
        self._left: set[int] = set()  # who has gone
        self._lock = threading.Lock()
        self.server = _Server(host=host, port=free_port(host, port), label="fieldlab", verbose=False)
        self.server.gui.configure_theme(control_layout="collapsible", control_width="large", show_logo=False,
                                        show_share_button=False)  # fmt: skip
        self._place_first_camera()
        self.tasks = Tasks()
        self.scheduler: Scheduler[PictureRequest] = Scheduler(self._draw)
        self.scheduler.start()
        self.server.on_client_connect(self._enter)
        self.server.on_client_disconnect(self._leave)

    @property
    def address(self) -> str:
        """What to type into a browser."""
        host = self.server.get_host()
        return f"http://{'localhost' if host in (LOCAL, '0.0.0.0') else host}:{self.server.get_port()}"

    def stop(self) -> None:
        """Close the page."""
        self.scheduler.stop()
        self.tasks.stop()
        with contextlib.suppress(RuntimeError):
            self.server.stop()

    def changed(self) -> None:
        """The fields have changed: they train."""
        for run in self.runs:
            run.changed()
        for visitor in self._everybody():
            visitor.invalidate()
        self.scheduler.change_all()

    def renamed(self) -> None:
        """Parts are called something else now, for everybody."""
        for visitor in self._everybody():
            for word in visitor.renamed:
                word()

    def show(self, visitor: Visitor, **changes: Any) -> None:
        """A visitor wants to see something else."""
        if visitor.set_display(**changes):
            self.redraw(visitor)

    def redraw(self, visitor: Visitor) -> None:
        """Draw a visitor's picture again."""
        self.scheduler.change(visitor.handle.client_id)

    def _everybody(self) -> list[Visitor]:
        with self._lock:
            return list(self.visitors.values())

    def _place_first_camera(self) -> None:
        run = self.runs[0]
        first = run.scene.cameras["train"][0]
        pose, size = first.camera_to_world[0].double().cpu(), first.size[0].tolist()
        camera = self.server.initial_camera
        camera.position = tuple(pose[:, 3].tolist())
        camera.look_at = tuple(run.middle.tolist())
        camera.up = tuple(run.up.tolist())
        camera.fov = 2 * math.atan(0.5 * size[1] / float(first.intrinsics[0, 1]))
        self.server.scene.set_up_direction(tuple(run.up.tolist()))

    def _enter(self, handle: viser.ClientHandle) -> None:
        if self._foreign(handle.client_id):
            log.warning("a page of another site was refused")
            return
        visitor = Visitor(handle, self.runs)
        handle.gui._current_file_upload_states = Uploads(lambda why: visitor.tell("The file is not taken", why))
        try:
            for panel in self.panels:
                panel(self, visitor)
        except Exception:
            visitor.leave()
            raise
        with self._lock:  # viser's threads may have told that a visitor leaves before they told that it comes
            left = handle.client_id in self._left
            if not left:
                self.visitors[handle.client_id] = visitor
                self.scheduler.add(handle.client_id, visitor.request)
        if left:
            visitor.leave()
            return

        @handle.camera.on_update
        def _(_: viser.CameraHandle) -> None:
            self.scheduler.change(handle.client_id)

    def _leave(self, handle: viser.ClientHandle) -> None:
        with self._lock:
            self._left.add(handle.client_id)
            visitor = self.visitors.pop(handle.client_id, None)
            self.scheduler.drop(handle.client_id)
        if visitor is not None:
            visitor.leave()

    def _foreign(self, client: int) -> bool:
        """Whether somebody else's page opened the connection: browsers let any page talk to this machine. viser has no
        word for it, so that its own table of connections is asked."""
        connection = self.server._websock_server._live_connections.get(client)
        headers = getattr(getattr(connection, "request", None), "headers", {})
        origin = headers.get("Origin")  # only browsers have one
        return origin is not None and urlsplit(origin).netloc != headers.get("Host")

    def _draw(self, job: Job[PictureRequest]) -> Drawn | None:
        with self._lock:
            visitor = self.visitors.get(int(str(job.client)))
        if visitor is None:
            self.scheduler.drop(job.client)
            return None
        with self.turns.urgent():
            return visitor.draw(job)
