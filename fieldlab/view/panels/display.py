"""What is drawn and how large: channel, scale, background, resolution, and what that costs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from fieldlab.mesh.surface.extract import extract_mesh
from fieldlab.view.channels import channels_of, legend
from fieldlab.view.panels.work import Work
from fieldlab.view.proxy import ProxyMesh
from fieldlab.view.tasks import Task

if TYPE_CHECKING:
    from fieldlab.view.display import DisplaySettings
    from fieldlab.view.server import Viewer
    from fieldlab.view.visitor import Visitor

MESH_DETAIL, MESH_FACES = 160, 60_000  # of the mesh that is shown while the camera moves


class DisplayPanel:
    """Controls of the display."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        gui, run = visitor.handle.gui, visitor.runs[0]
        gui.add_markdown(f"**{run.name}**  \n" + "  \n".join(run.facts))
        self.channel = gui.add_dropdown("Channel", channels_of(run), initial_value=visitor.display.channel,
                                        hint="What the picture shows")  # fmt: skip
        self.scale = gui.add_image(np.full((8, 8, 3), 255, np.uint8), label="Color scale", visible=False, format="png")
        self.background = gui.add_rgb("Background", (255, 255, 255))
        self.sharpness = gui.add_slider("Resolution", 0.1, 1.0, 0.05, 1.0,
                                        hint="Share of the window's pixels that a picture at rest has")  # fmt: skip
        self.depth = gui.add_checkbox("Field hides helpers", True,
                                      hint="Frusta, boxes and gizmos are covered by the field before them")  # fmt: skip
        self.mesh = gui.add_checkbox("Proxy mesh while moving", False, hint="For slow machines: the browser draws a "
                                     "mesh until the camera rests; dropped when the field changes")  # fmt: skip
        self.status = gui.add_markdown("")
        self.work = Work(viewer, visitor)
        self._meshing: Task | None = None  # of the mesh that is shown or will be
        self._lock = threading.Lock()
        self.channel.on_update(lambda _: viewer.show(visitor, channel=self.channel.value))
        self.background.on_update(lambda _: self._background())
        self.sharpness.on_update(lambda _: self._sharpness())
        self.depth.on_update(lambda _: self._depth())
        self.mesh.on_update(lambda _: self._mesh())
        visitor.watchers.append(self._drawn)
        visitor.display_changed.append(self._display_changed)
        visitor.renamed.append(self._scale)
        visitor.invalidated.append(self._invalidated)

    def _display_changed(self, before: DisplaySettings, after: DisplaySettings) -> None:
        """The settings are other ones, whoever changed them."""
        if before.channel != after.channel:
            self.channel.value = after.channel  # type: ignore[misc]
        if any(getattr(before, name) != getattr(after, name) for name in ("channel", "compare", "gain")):
            self._scale()

    def _scale(self) -> None:
        run = self.visitor.runs[0]
        picture = legend(run, self.visitor.fitting(run, self.visitor.display))
        if picture is not None:
            self.scale.image = picture
        self.scale.visible = picture is not None

    def _background(self) -> None:
        red, green, blue = self.background.value
        self.viewer.show(self.visitor, background=(red / 255, green / 255, blue / 255))

    def _sharpness(self) -> None:
        self.visitor.sharpness = float(self.sharpness.value)
        self.viewer.redraw(self.visitor)

    def _depth(self) -> None:
        self.visitor.occluding = bool(self.depth.value)
        self.viewer.redraw(self.visitor)

    def _mesh(self) -> None:
        visitor, on = self.visitor, bool(self.mesh.value)
        if on == (self._meshing is not None):
            return
        self._drop()
        if not on:
            self.viewer.redraw(visitor)
            return

        def work(task: Task) -> None:
            run = visitor.runs[0]
            cameras, model = run.scene.cameras["train"], visitor.model(run, visitor.display)
            mesh, _ = extract_mesh(model, cameras=cameras, resolution=MESH_DETAIL, faces=MESH_FACES,
                                   on_progress=task.tell)  # fmt: skip
            with self._lock:
                if self._meshing is task:  # somebody may not want it any more
                    visitor.proxy = ProxyMesh(visitor.handle, mesh)

        task = self._meshing = Task("mesh", work)
        if not self.work.begin(task):
            self._invalidated()

    def _drop(self) -> None:
        """No mesh, and none that is being made."""
        with self._lock:
            before, self.visitor.proxy, self._meshing = self.visitor.proxy, None, None
        self.work.cancel()
        if before is not None:
            before.remove()

    def _invalidated(self) -> None:
        """The mesh is not what there is to see."""
        if self._meshing is not None:
            self._drop()
            self.mesh.value = False  # type: ignore[misc]

    def _drawn(self, width: int, height: int, seconds: float, full: bool) -> None:
        what = "full size" if full else "reduced while it moves"
        self.status.content = f"{width} x {height}, {1000 * seconds:.0f} ms, {what}"
