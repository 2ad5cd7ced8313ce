"""What helps to find one's way: the photographs' cameras, the box, occupied cells, sparse points, axes, and up."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from fieldlab.data.cameras import CameraModel
from fieldlab.errors import FieldlabError
from fieldlab.ops.occupancy import cell_points
from fieldlab.view.cameras import eye_of, wxyz_of

if TYPE_CHECKING:
    from fieldlab.view.server import Viewer
    from fieldlab.view.visitor import Visitor

MOST_FRUSTA = 200
LINE = 0.03  # thickness of a frustum's edges, in its lengths
MOST_POINTS = 60_000
THUMBNAIL = 64
CLICKED = 0.5  # strength of the photograph of the first camera that is clicked
DIRECTIONS = ("as photographed", "+x", "-x", "+y", "-y", "+z", "-z")


class ScenePanel:
    """Switches of helpers. Everything is made when it is switched on for the first time."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        gui = visitor.handle.gui
        self._made: dict[str, list[Any]] = {}
        makers = {"Cameras": self._cameras, "Box": self._box, "Occupied cells": self._cells,
                  "Sparse points": self._points, "Axes": self._axes}  # fmt: skip
        for name, maker in makers.items():
            box = gui.add_checkbox(name, False)
            box.on_update(partial(self._switched, name, maker))
        self.photo = gui.add_slider("Photograph", 0.0, 1.0, 0.05, 0.0, hint="How strongly the photograph of the camera "
                                    "that was clicked covers the picture")  # fmt: skip
        last = len(self._train) - 1
        self.view = gui.add_slider("Camera", 0, max(last, 1), 1, 0, hint="Jump to a photograph's camera",
                                   visible=last > 0)  # fmt: skip
        self.up = gui.add_dropdown("Up", DIRECTIONS)
        self.level = gui.add_button("Up as in this view")
        self.photo.on_update(lambda _: self._cover())
        self.view.on_update(lambda _: self.jump(int(self.view.value)))
        self.up.on_update(lambda _: self._up())
        self.level.on_click(lambda _: self._up_as_seen())

    @property
    def _train(self) -> Any:
        return self.visitor.runs[0].scene.cameras["train"]

    def _switched(self, name: str, maker: Any, event: Any) -> None:
        on = bool(event.target.value)
        if on and name not in self._made:
            try:
                self._made[name] = maker()
            except FieldlabError as error:
                self.visitor.handle.add_notification(f"No {name.lower()}", str(error), color="red")
                return
        for node in self._made.get(name, []):
            node.visible = on
        self.visitor.thing(name, on)
        self.viewer.redraw(self.visitor)

    def _size(self) -> float:
        """Length of a camera's frustum."""
        run = self.visitor.runs[0]
        apart = (self._train.origins.cpu() - run.middle).norm(dim=1).median()
        return 0.04 * float(apart)

    def _cameras(self) -> list[Any]:
        cameras, scene, size = self._train.to("cpu"), self.visitor.handle.scene, self._size()
        made = []
        for i in range(0, len(cameras), max(math.ceil(len(cameras) / MOST_FRUSTA), 1)):
            width, height = cameras.size[i].tolist()
            focal = float(cameras.intrinsics[i, 1])
            fov = 2 * math.atan(0.5 * height / focal) if cameras.model[i] == CameraModel.PERSPECTIVE else math.pi / 2
            pose = cameras.camera_to_world[i].numpy()
            frustum = scene.add_camera_frustum(
                f"/cameras/{i}", fov, width / height, scale=size, thickness=LINE * size, color=(40, 90, 200),
                wxyz=wxyz_of(pose[:, :3]), position=tuple(pose[:, 3]),
            )  # fmt: skip
            frustum.on_click(partial(self._clicked, i))
            made.append(frustum)
        return made

    def _clicked(self, i: int, _: Any) -> None:
        self.jump(i)
        if not self.photo.value:  # a click asks for the photograph
            self.photo.value = CLICKED  # type: ignore[misc]
            self._cover()

    def jump(self, i: int) -> None:
        """Look from training camera ``i``; its photograph covers the picture as far as the slider says."""
        cameras = self._train.to("cpu")
        i = min(i, len(cameras) - 1)  # the run that is shown now may have fewer
        height = float(cameras.size[i, 1])
        fov = 2 * math.atan(0.5 * height / float(cameras.intrinsics[i, 1]))
        eye = eye_of(cameras.camera_to_world[i], fov, 1.0)
        self.visitor.go(eye)
        self.visitor.cover = (i, float(self.photo.value))
        self.viewer.redraw(self.visitor)

    def _cover(self) -> None:
        view = self.visitor.cover[0] if self.visitor.cover is not None else int(self.view.value)
        self.visitor.cover = (view, float(self.photo.value))
        self.viewer.redraw(self.visitor)

    def _box(self) -> list[Any]:
        low, high = self.visitor.runs[0].box.numpy()
        return [self.visitor.handle.scene.add_box("/box", (230, 120, 20), tuple(high - low), wireframe=True,
                                                  position=tuple((low + high) / 2))]  # fmt: skip

    def _cells(self) -> list[Any]:
        grid = self.visitor.runs[0].model.occupancy
        cells = grid.occupied().flatten().nonzero()[:, 0]
        some = cells[:: max(math.ceil(len(cells) / MOST_POINTS), 1)]
        points = cell_points(some, grid.resolution, grid.aabb).cpu().numpy()
        side = float((grid.aabb[1] - grid.aabb[0]).max()) / grid.resolution
        return [self.visitor.handle.scene.add_point_cloud("/cells", points, (90, 160, 90), point_size=0.4 * side,
                                                          precision="float32")]  # fmt: skip

    def _points(self) -> list[Any]:
        points, colors = self.visitor.runs[0].sparse_points
        side = 0.002 * float((self.visitor.runs[0].box[1] - self.visitor.runs[0].box[0]).norm())
        return [self.visitor.handle.scene.add_point_cloud("/points", points, colors, point_size=side,
                                                          precision="float32")]  # fmt: skip

    def _axes(self) -> list[Any]:
        length = 0.25 * float((self.visitor.runs[0].box[1] - self.visitor.runs[0].box[0]).norm())
        return [self.visitor.handle.scene.add_frame("/axes", axes_length=length, axes_radius=0.01 * length)]

    def _up(self) -> None:
        word = self.up.value
        direction = tuple(self.visitor.runs[0].up.tolist()) if word == DIRECTIONS[0] else word
        self._set_up(direction)

    def _up_as_seen(self) -> None:
        pose = self.visitor.eye().camera_to_world
        self._set_up(tuple((-pose[:, 1]).tolist()))

    def _set_up(self, direction: Any) -> None:
        named = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
        if isinstance(direction, str):
            sign = -1.0 if direction[0] == "-" else 1.0
            direction = tuple(sign * v for v in named[direction[1]])
        self.visitor.handle.scene.set_up_direction(direction)
        self.visitor.handle.camera.up_direction = direction
