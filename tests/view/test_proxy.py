"""The mesh that stands in while the camera moves: it appears at once and dissolves evenly into the picture."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from fieldlab.mesh.mesh import Mesh
from fieldlab.view.proxy import FADE, FAR, NEAR, ProxyMesh, dissolved
from tests.view.waiting import wait


class Handle:
    """Of a browser that only remembers."""

    def __init__(self) -> None:
        self.pictures: list[tuple[np.ndarray, np.ndarray | None]] = []
        self.node = SimpleNamespace(visible=False, remove=lambda: None)
        self.scene = self
        self.atomic = nullcontext

    def add_mesh_trimesh(self, name, mesh, visible):
        self.node.visible = visible
        return self.node

    def set_background_image(self, picture, format, jpeg_quality=None, depth=None):
        self.pictures.append((picture, depth))


@pytest.fixture
def handle():
    return Handle()


@pytest.fixture
def proxy(handle):
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    made = ProxyMesh(handle, Mesh(corners, np.array([[0, 1, 2]]), np.full((3, 3), 200, np.uint8)))
    yield made
    made.remove()


PICTURE, DEPTH = np.zeros((30, 41, 3), np.uint8), np.ones((30, 41), np.float32)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_pixels_turn_evenly(share):
    depth = dissolved(400, 300, share)
    assert (depth == NEAR).mean() == pytest.approx(share, abs=0.01)
    assert ((depth == NEAR) | (depth == FAR)).all()
    tiles = (depth == NEAR).reshape(75, 4, 100, 4).sum((1, 3))
    assert tiles.min() == tiles.max()
    assert dissolved(41, 30, share).shape == (30, 41)


def test_more_and_more_of_the_picture_until_the_mesh_is_gone(handle, proxy):
    assert not proxy.resting(PICTURE)  # nothing to fade from
    proxy.moving((1.0, 1.0, 1.0))
    assert handle.node.visible
    assert len(handle.pictures) == 1
    assert proxy.resting(PICTURE, DEPTH)
    better = PICTURE + 1
    assert proxy.resting(better, DEPTH)  # refined on the way: the fade goes on with it
    wait(lambda: not handle.node.visible)
    shares = [(depth == NEAR).mean() for _, depth in handle.pictures[1:-1]]
    assert len(shares) == FADE - 1
    assert shares == sorted(shares)
    assert handle.pictures[-1][0] is better
    assert handle.pictures[-1][1] is DEPTH
    assert not proxy.resting(PICTURE)


def test_a_camera_that_moves_again_ends_the_fade(handle, proxy):
    proxy.moving((0.0, 0.0, 0.0))
    proxy.resting(PICTURE)
    timer = proxy._timer
    proxy.moving((0.0, 0.0, 0.0))
    told = len(handle.pictures)
    timer.join()  # the next step of the fade is given up, or comes too late
    assert handle.node.visible
    assert len(handle.pictures) == told
    proxy.moving((0.0, 0.0, 0.0))  # nothing to say twice
    assert len(handle.pictures) == told
