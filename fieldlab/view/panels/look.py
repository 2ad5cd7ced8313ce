"""What is drawn and how large: channel, scale, background, resolution, and what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fieldlab.export.mesh import extract_mesh
from fieldlab.view.channels import channels_of, legend
from fieldlab.view.panels.work import Work
from fieldlab.view.standin import StandIn
from fieldlab.view.tasks import Task

if TYPE_CHECKING:
    from fieldlab.view.server import Viewer
    from fieldlab.view.visitor import Visitor

MESH_DETAIL, MESH_FACES = 160, 60_000  # of the mesh that is shown while the camera moves


class LookPanel:
    """Controls of the look."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        gui, subject = visitor.handle.gui, visitor.subjects[0]
        gui.add_markdown(f"**{subject.name}**  \n" + "  \n".join(subject.facts))
        self.channel = gui.add_dropdown("Show", channels_of(subject), initial_value=visitor.look.channel,
                                        hint="What the picture shows")  # fmt: skip
        self.scale = gui.add_image(np.full((8, 8, 3), 255, np.uint8), label="Scale", visible=False, format="png")
        self.background = gui.add_rgb("Background", (255, 255, 255))
        self.sharpness = gui.add_slider("Sharpness", 0.1, 1.0, 0.05, 1.0,
                                        hint="Share of the window's pixels that a picture at rest has")  # fmt: skip
        self.depth = gui.add_checkbox("Hide things behind the field", True,
                                      hint="Frusta, boxes and gizmos are covered by what is in front")  # fmt: skip
        self.mesh = gui.add_checkbox("Mesh while moving", False, hint="For slow machines: the browser shows a mesh by "
                                     "itself until the camera rests")  # fmt: skip
        self.status = gui.add_markdown("")
        self.work = Work(viewer, visitor)
        self.channel.on_update(lambda _: self._channel())
        self.background.on_update(lambda _: self._background())
        self.sharpness.on_update(lambda _: self._sharpness())
        self.depth.on_update(lambda _: self._depth())
        self.mesh.on_update(lambda _: self._mesh())
        visitor.watchers.append(self._drawn)

    def _channel(self) -> None:
        self.viewer.show(self.visitor, channel=self.channel.value)
        picture = legend(self.visitor.subjects[0], self.visitor.look)
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
        visitor, before = self.visitor, self.visitor.stand_in
        visitor.stand_in = None
        if before is not None:
            before.remove()
        if not self.mesh.value:
            self.viewer.redraw(visitor)
            return

        def work(task: Task) -> None:
            subject = visitor.subjects[0]
            cameras = subject.scene.cameras["train"]
            mesh, _ = extract_mesh(subject.model, cameras=cameras, resolution=MESH_DETAIL, faces=MESH_FACES,
                                   on_progress=task.tell)  # fmt: skip
            visitor.stand_in = StandIn(visitor.handle, mesh)

        self.work.begin(Task("mesh", work))

    def _drawn(self, width: int, height: int, seconds: float, full: bool) -> None:
        what = "full size" if full else "smaller while it moves"
        self.status.content = f"{width} x {height}, {1000 * seconds:.0f} ms, {what}"
