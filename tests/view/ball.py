"""A ball whose northern and southern halves are parts, to look at."""

from __future__ import annotations

from pathlib import Path

import torch

from fieldlab.fields.base import Field, FieldConfig
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.fields.head import HeadConfig
from fieldlab.render.model import ModelConfig, RadianceModel
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.segment.config import HEAD
from fieldlab.segment.hierarchy import Hierarchy, palette
from fieldlab.view.scene_source import LoadedScene
from fieldlab.view.shown_run import ShownRun
from tests.scenes import RADIUS, ball_scene

BOX = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)


class Ball(Field):
    """Dense inside a radius; colored like the photographs of :func:`tests.scenes.ball_scene`."""

    kind = "ball"

    def __init__(self) -> None:
        super().__init__(FieldConfig(), 2.0)

    @property
    def latent_size(self):
        return 1

    def geometry(self, x):
        inside = (x * 2 - 1).norm(dim=1) < RADIUS
        return torch.where(inside, 8.0, -20.0), torch.zeros(len(x), 1)

    def color(self, latent, x, directions, appearance=None):
        return ((x * 2 - 1) / RADIUS / 2 + 0.5).clamp(0, 1)

    def param_groups(self):
        return []


def halves(n: int = 4000) -> Hierarchy:
    """Part 0 is the ball, 1 its north, 2 its south, 3 the east of the north, 4 its west."""
    d = torch.nn.functional.normalize(torch.randn(n, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    leaf = torch.where(d[:, 2] < 0, 2, torch.where(d[:, 0] > 0, 3, 4))
    ids = torch.arange(5, dtype=torch.int32)
    parent = torch.tensor([-1, 0, 0, 1, 1])
    birth = torch.tensor([0.8, 0.4, 0.0, 0.0, 0.0])
    names = ["ball", "north", "south", "east", "west"]
    return Hierarchy(ids, parent, birth, names, palette(ids), d * RADIUS, leaf)


def ball_run(parts: bool = True, folder: Path | None = None) -> ShownRun:
    scene = ball_scene(8, 24)
    model = RadianceModel(Ball(), ModelConfig(aabb=BOX, step=0.02, grid_resolution=32)).eval()
    model.occupancy.refresh(model.density, torch.Generator().manual_seed(0), 4)
    tree = halves() if parts else None
    if parts:
        grid = HashGridConfig(n_levels=2, n_features=2, log2_hashmap_size=8, base_resolution=4, finest_resolution=8)
        model.add_head(HeadConfig(HEAD, 8, grid, width=16, layers=1), torch.Generator().manual_seed(1))
    return ShownRun("ball", model, SceneRecord.of(scene), tree, folder=folder, source=LoadedScene(scene),
                   facts=("a ball",))  # fmt: skip
