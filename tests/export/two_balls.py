"""A red and a blue ball and their parts, to make pages of."""

from __future__ import annotations

import numpy as np
import torch
import trimesh

from fieldlab.mesh.mesh import Mesh, Texture
from fieldlab.segment.hierarchy import Hierarchy

RED, BLUE = (220, 40, 30), (30, 60, 210)
HOSTILE = "</script><b>x"
RADIUS, APART_X = 0.6, 1.0
DISTANCE = 5.0
FRONT = ((0.0, -DISTANCE, 0.0), (0.0, 0.0, 0.0))  # red on the left, blue on the right


def two_balls() -> Mesh:
    """A red and a blue ball."""
    ball = trimesh.creation.icosphere(3, RADIUS)
    left, right = (ball.copy().apply_translation((x, 0, 0)) for x in (-APART_X, APART_X))
    whole = trimesh.util.concatenate([left, right])
    colors = np.repeat(np.array([RED, BLUE], np.uint8), len(ball.vertices), 0)
    return Mesh(np.asarray(whole.vertices, float), np.asarray(whole.faces), colors)


def halves(mesh: Mesh) -> tuple[np.ndarray, Hierarchy]:
    """0 "toy" over 1 "left" (over 3 "top", 4 "bottom") and 2, whose name is no good; 5 has no faces."""
    ids = torch.tensor([0, 1, 2, 7, 9, 11], dtype=torch.int32)
    parent = torch.tensor([-1, 0, 0, 1, 1, 0])
    birth = torch.tensor([0.9, 0.5, 0.1, 0.1, 0.1, 0.1])
    colors = torch.tensor([[200, 200, 0], [0, 200, 0], [200, 0, 200], [0, 200, 200], [240, 140, 0], [9, 9, 9]])
    names = ["toy", "left", HOSTILE, "top", "bottom", "nothing"]
    center = mesh.vertices[mesh.faces].mean(1)
    leaf = np.where(center[:, 0] > 0, 2, np.where(center[:, 2] > 0, 3, 4))
    points, owner = torch.from_numpy(center).float(), torch.from_numpy(leaf)
    return leaf, Hierarchy(ids, parent, birth, names, colors.to(torch.uint8), points, owner)


def textured(mesh: Mesh) -> Mesh:
    """The same triangles, each by itself on a picture that is green above and orange below."""
    rng = np.random.default_rng(0)
    height = np.where(mesh.vertices[mesh.faces].mean(1)[:, 2] > 0, 0.75, 0.25)
    uv = np.stack((rng.random((len(mesh.faces), 3)), height[:, None] + 0.1 * rng.random((len(mesh.faces), 3))), 2)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32], picture[32:] = (20, 180, 60), (250, 140, 10)
    corners = np.arange(3 * len(mesh.faces)).reshape(-1, 3)
    return Mesh(mesh.vertices, mesh.faces, None, Texture(uv.reshape(-1, 2).astype(np.float32), corners, picture))
