"""A mesh that the browser shows by itself while a camera moves, where rays are too slow; then comes the picture."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import trimesh

from fieldlab.export.mesh import Mesh

if TYPE_CHECKING:
    import viser


class StandIn:
    """One visitor's mesh in the page.

    Args:
        handle: viser's client.
        mesh: of the field, with colors.
    """

    def __init__(self, handle: viser.ClientHandle, mesh: Mesh) -> None:
        colors = None
        if mesh.colors is not None:
            colors = np.concatenate((mesh.colors, np.full_like(mesh.colors[:, :1], 255)), axis=1)
        made = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)
        self._node: Any = handle.scene.add_mesh_trimesh("/stand_in", made, visible=False)
        self._handle, self._shown = handle, False

    def moving(self, background: tuple[float, float, float]) -> None:
        """The camera moves: the mesh instead of a picture."""
        if not self._shown:
            plain = np.full((8, 8, 3), np.array(background) * 255, np.uint8)
            with contextlib.suppress(ConnectionError, RuntimeError), self._handle.atomic():
                self._handle.scene.set_background_image(plain, "png")
                self._node.visible = self._shown = True

    def resting(self) -> None:
        """The picture is there, and the mesh is not needed until the camera moves again."""
        if self._shown:
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._node.visible = self._shown = False

    def remove(self) -> None:
        """It is not wanted any more."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._node.remove()
