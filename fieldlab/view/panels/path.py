"""A camera path: its keyframes, the way through them, its preview, and the video."""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldlab.errors import FieldlabError
from fieldlab.pictures.sheets import to_uint8
from fieldlab.pictures.video import write_frames
from fieldlab.view.channels import paint
from fieldlab.view.gbuffer import render_gbuffer
from fieldlab.view.keyframes import Flight, Keyframe, moved, read_flight, replaced, write_flight
from fieldlab.view.panels.work import Work
from fieldlab.view.places import place
from fieldlab.view.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fieldlab.view.server import Viewer
    from fieldlab.view.visitor import Visitor

SIZES = {"960 x 540": (960, 540), "640 x 360": (640, 360), "1280 x 720": (1280, 720), "1920 x 1080": (1920, 1080),
         "512 x 512": (512, 512)}  # fmt: skip
PREVIEW = 20.0  # views a second
DRAWN = 200  # points of the line in the page


class PathPanel:
    """Controls of a camera path."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        self.flight = Flight()
        self._playing = threading.Event()
        self._line: list[Any] = []
        gui = visitor.handle.gui
        self.add = gui.add_button("Add keyframe", hint="At the end of the path")
        self.keys = gui.add_dropdown("Keyframe", ("none",))
        self.name = gui.add_text("Name", "")
        self.seconds = gui.add_number("Seconds to the next", 2.0, min=0.05, max=600.0, step=0.05)
        self.change = gui.add_button_group("Keyframe ", ("go", "replace", "earlier", "later", "remove"))
        self.loop = gui.add_checkbox("Loop", False)
        self.fps = gui.add_number("Frames per second", 30.0, min=1.0, max=240.0, step=1.0)
        self.size = gui.add_dropdown("Size", tuple(SIZES))
        self.play = gui.add_button("Play")
        self.said = gui.add_markdown("Add two keyframes or more.")
        self.file = gui.add_text("File", "path", hint="In the run's folder: paths/ and renders/")
        self.save = gui.add_button("Save path")
        self.load = gui.add_upload_button("Load path", mime_type="application/json")
        self.render = gui.add_button("Render mp4", color="green")
        self.work = Work(viewer, visitor)
        self.add.on_click(lambda _: self._add())
        self.keys.on_update(lambda _: self._show_key())
        self.name.on_update(lambda _: self._edit_key(name=str(self.name.value)[:100] or "keyframe"))
        self.seconds.on_update(lambda _: self._edit_key(seconds=float(self.seconds.value)))
        self.change.on_click(lambda event: self._change(str(event.target.value)))
        self.loop.on_update(lambda _: self._settings(loop=bool(self.loop.value)))
        self.fps.on_update(lambda _: self._settings(fps=float(self.fps.value)))
        self.size.on_update(lambda _: self._settings(size=SIZES[self.size.value]))
        self.play.on_click(lambda _: self._play())
        self.save.on_click(lambda _: self._guard(self._save))
        self.load.on_upload(lambda event: self._guard(lambda: self._load(event.target.value.content)))
        self.render.on_click(lambda _: self._guard(self._render))

    @property
    def _number(self) -> int | None:
        names = self._labels()
        return names.index(self.keys.value) if self.flight.keys and self.keys.value in names else None

    def _labels(self) -> list[str]:
        return [f"{i + 1}: {key.name}" for i, key in enumerate(self.flight.keys)] or ["none"]

    def _set(self, flight: Flight, at: int | None = None) -> None:
        self.flight = flight
        names = self._labels()
        self.keys.options = tuple(names)
        self.keys.value = names[min(max(at or 0, 0), len(names) - 1)]  # type: ignore[misc]
        self.said.content = f"{len(flight.keys)} keyframes, {flight.seconds:.1f} s, {flight.frames} frames"
        self._draw()

    def _add(self) -> None:
        keys = (*self.flight.keys, Keyframe(f"keyframe {len(self.flight.keys) + 1}", self.visitor.eye()))
        self._set(replace(self.flight, keys=keys), len(keys) - 1)

    def _show_key(self) -> None:
        if (i := self._number) is not None:
            self.name.value = self.flight.keys[i].name  # type: ignore[misc]
            self.seconds.value = self.flight.keys[i].seconds  # type: ignore[misc]

    def _edit_key(self, **changes: Any) -> None:
        i = self._number
        if i is not None and any(getattr(self.flight.keys[i], name) != value for name, value in changes.items()):
            self._set(replace(self.flight, keys=replaced(self.flight.keys, i, **changes)), i)

    def _change(self, what: str) -> None:
        i = self._number
        if i is None:
            return
        keys = self.flight.keys
        if what == "go":
            self.visitor.go(keys[i].eye)
        elif what == "replace":
            self._set(replace(self.flight, keys=replaced(keys, i, eye=self.visitor.eye())), i)
        elif what == "remove":
            self._set(replace(self.flight, keys=keys[:i] + keys[i + 1 :]), i - 1)
        else:
            by = -1 if what == "earlier" else 1
            self._set(replace(self.flight, keys=moved(keys, i, by)), i + by)

    def _settings(self, **changes: Any) -> None:
        made = replace(self.flight, **changes)
        if made != self.flight:
            self._set(made, self._number)

    def _draw(self) -> None:
        """The way as a line in the page, and a frustum for every view."""
        scene = self.visitor.handle.scene
        for node in self._line:
            node.remove()
        self._line.clear()
        flight = self.flight
        self.visitor.thing("path", bool(flight.keys))
        reach = 0.04 * float((self.visitor.runs[0].box[1] - self.visitor.runs[0].box[0]).norm())
        for i, key in enumerate(flight.keys):
            self._line.append(scene.add_camera_frustum(
                f"/path/{i}", key.eye.fov, flight.size[0] / flight.size[1], scale=reach, thickness=0.03 * reach,
                color=(200, 60, 60), wxyz=np.array(key.eye.wxyz), position=np.array(key.eye.position)))  # fmt: skip
        if len(flight.keys) > 1:
            eyes = flight.at(np.linspace(0, flight.seconds, DRAWN))
            points = np.array([eye.position for eye in eyes], np.float32)
            segments = np.stack((points[:-1], points[1:]), axis=1)
            self._line.append(scene.add_line_segments("/path/line", segments, (200, 60, 60), thickness=0.1 * reach))

    def _play(self) -> None:
        """Fly along the path once, in the browser's own window; a second click stops."""
        if self._playing.is_set():
            self._playing.clear()
            return
        if len(self.flight.keys) < 2:
            return
        self._playing.set()
        self.play.label = "Stop"
        threading.Thread(target=self._fly, name="preview", daemon=True).start()

    def _fly(self) -> None:
        flight, start = self.flight, time.perf_counter()
        try:
            while self._playing.is_set() and (now := time.perf_counter() - start) < flight.seconds:
                self.visitor.go(flight.at(np.array([now]))[0])
                time.sleep(1 / PREVIEW)
        finally:
            self._playing.clear()
            self.play.label = "Play"

    def _save(self) -> None:
        path = place(self.visitor.runs[0].folder, "paths", str(self.file.value), ".json")
        write_flight(path, self.flight)
        self.visitor.handle.send_file_download(path.name, path.read_bytes(), save_immediately=True)
        self.said.content = f"saved: {path}"

    def _load(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "path.json"
            file.write_bytes(content)
            flight = read_flight(file)
        self._set(replace(flight, size=self.flight.size))
        self.loop.value, self.fps.value = flight.loop, flight.fps  # type: ignore[misc]

    def _render(self) -> None:
        flight, visitor = self.flight, self.visitor
        cameras = flight.cameras()
        path = place(visitor.runs[0].folder, "renders", str(self.file.value), ".mp4")
        run = visitor.runs[0]
        display = visitor.fitting(run, replace(visitor.display, compare="one run"))
        model = run.visible(display.hidden, display.only)

        def pictures(task: Task) -> Iterator[np.ndarray]:
            for i in range(len(cameras)):
                task.tell(f"frame {i + 1} of {len(cameras)}", i / len(cameras))
                pixels = render_gbuffer(model, cameras[i], turn=self.viewer.turns.urgent)
                assert pixels is not None
                yield to_uint8(paint(pixels, run, display))

        def work(task: Task) -> Path:
            write_frames(path, pictures(task), flight.fps)
            return path

        self.work.begin(Task(f"video {path.name}", work))

    def _guard(self, what: Any) -> None:
        try:
            what()
        except FieldlabError as error:
            self.visitor.tell("That did not work", str(error))
