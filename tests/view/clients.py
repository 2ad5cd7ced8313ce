"""What tests of a page without a browser share: a client that only remembers what it was told."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np

from fieldlab.view.cameras import wxyz_of
from fieldlab.view.scheduler import Job
from fieldlab.view.visitor import Visitor
from tests.scenes import ring_cameras


class Client:
    """viser's, as far as a visitor needs it; with the controls and the scene of a server where there is one."""

    def __init__(self, number: int = 0, server=None) -> None:
        self.client_id, self.atomic = number, nullcontext
        self.told: list[str] = []
        self.pictures: list[np.ndarray] = []
        self.gui = SimpleNamespace() if server is None else server.gui
        self.scene = self if server is None else server.scene
        self.camera = SimpleNamespace(wxyz=np.zeros(4), position=np.zeros(3), fov=0.8, aspect=1.25, image_width=60,
                                      image_height=48, on_update=lambda word: word)  # fmt: skip
        self.look_from(0)

    def look_from(self, i: int) -> None:
        """One of the cameras around the ball."""
        pose = ring_cameras(8).camera_to_world[i].numpy()
        self.camera.wxyz, self.camera.position = np.array(wxyz_of(pose[:, :3])), pose[:, 3]

    def add_notification(self, title, text, **_):
        self.told.append(f"{title}: {text}")

    def set_background_image(self, picture, format, jpeg_quality=None, depth=None):
        self.pictures.append(picture)


def drawn(visitor: Visitor, moving: bool = False):
    """What becomes of a visitor's full picture."""
    request = visitor.request()
    return visitor.draw(Job(visitor.handle.client_id, request, request.most, moving, lambda: False))
