"""A mesh that the browser shows by itself while a camera moves, where rays are too slow; it fades into the picture."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldlab.mesh.mesh import Mesh

if TYPE_CHECKING:
    import viser

FADE = 4  # steps from mesh to picture
FADE_SECONDS = 0.3
NEAR, FAR = 1e-4, 160.0  # depths of pixels before and behind the mesh
# the order in which the pixels of a tile of 4 x 4 turn from mesh to picture (Bayer's matrix)
ORDER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])


def dissolved(width: int, height: int, share: float) -> np.ndarray:
    """Depths float32 [height,width] with which this share of a picture's pixels cover a mesh, evenly spread."""
    tile = np.where(share * ORDER.size > ORDER, NEAR, FAR).astype(np.float32)
    return np.tile(tile, (-(-height // 4), -(-width // 4)))[:height, :width]


class ProxyMesh:
    """One visitor's mesh in the page.

    Args:
        handle: viser's client.
        mesh: of the field, with colors.
    """

    def __init__(self, handle: viser.ClientHandle, mesh: Mesh) -> None:
        self._node: Any = handle.scene.add_mesh_trimesh("/proxy", mesh.to_trimesh(), visible=False)
        self._handle, self._shown, self._gone = handle, False, False
        self._lock = threading.Lock()
        self._picture: tuple[np.ndarray, np.ndarray | None] | None = None  # what is faded into, and its depth
        self._step = 0  # of the fade
        self._timer: threading.Timer | None = None

    def moving(self, background: tuple[float, float, float]) -> None:
        """The camera moves: the mesh instead of a picture."""
        with self._lock:
            if self._gone or (self._shown and self._picture is None):
                return
            self._stop()
            plain = np.full((8, 8, 3), np.array(background) * 255, np.uint8)
            with contextlib.suppress(ConnectionError, RuntimeError), self._handle.atomic():
                self._handle.scene.set_background_image(plain, "png")
                self._node.visible = self._shown = True

    def resting(self, picture: np.ndarray, depth: np.ndarray | None = None) -> bool:
        """The picture uint8 [H,W,3] is there, or a better one: fade into it, unless the camera moves again.

        Args:
            picture: that was made.
            depth: float32 [H,W] with which it stays, None where nothing is compared with it.

        Returns:
            Whether the picture is taken care of; without a mesh in the page there is nothing to fade.
        """
        with self._lock:
            if not self._shown:
                return False
            begins, self._picture = self._picture is None, (picture, depth)
            if begins:
                self._fade()
            return True

    def _fade(self) -> None:
        """One step further from mesh to picture; with the lock held."""
        assert self._picture is not None
        self._step += 1
        (picture, depth), last = self._picture, self._step == FADE
        shown = depth if last else dissolved(picture.shape[1], picture.shape[0], self._step / FADE)
        with contextlib.suppress(ConnectionError, RuntimeError), self._handle.atomic():
            self._handle.scene.set_background_image(picture, "jpeg", jpeg_quality=90, depth=shown)
            self._node.visible = self._shown = not last
        if last:
            self._stop()
        else:
            self._timer = threading.Timer(FADE_SECONDS / FADE, self._next)
            self._timer.daemon = True
            self._timer.start()

    def _next(self) -> None:
        with self._lock:
            if threading.current_thread() is self._timer:
                self._fade()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._picture, self._step = None, None, 0

    def remove(self) -> None:
        """It is not wanted any more."""
        with self._lock, contextlib.suppress(ConnectionError, RuntimeError):
            self._stop()
            self._shown, self._gone = False, True
            self._node.remove()
