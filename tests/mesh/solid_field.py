"""Hard solids as fields of a real model, and cameras all around them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.fields.base import Field, FieldConfig
from fieldlab.pictures.camera_path import look_at
from fieldlab.render.model import ModelConfig, RadianceModel
from tests.mesh.formula_model import CENTER

SIDE = 2.0


class SolidField(Field):
    """Dense where a signed distance in the world is negative."""

    kind = "solid"
    config_type = FieldConfig
    latent_size = 1

    def __init__(self, distance: Callable[[Tensor], Tensor]) -> None:
        super().__init__(FieldConfig(), SIDE)
        self.distance = distance

    def geometry(self, x):
        inside = self.distance(CENTER + (x - 0.5) * SIDE) < 0
        return torch.where(inside, 7.0, -20.0), torch.zeros(len(x), 1)

    def color(self, latent, x, directions, appearance=None):
        return x.clamp(0, 1)

    def param_groups(self):
        return []


def solid_model(distance: Callable[[Tensor], Tensor]) -> RadianceModel:
    """A model in a box of side 2 around CENTER."""
    low, high = CENTER - SIDE / 2, CENTER + SIDE / 2
    config = ModelConfig((*low.tolist(), *high.tolist()), step=0.01, grid_resolution=16)
    return RadianceModel(SolidField(distance), config)


def cameras_around(n: int, size: int, distance: float = 3.0) -> Cameras:
    """Evenly spread over the sphere (Fibonacci), looking at CENTER."""
    k = torch.arange(n) + 0.5
    height = 1 - 2 * k / n
    angle = k * 2.399963
    ring = (1 - height**2).sqrt()
    positions = CENTER + distance * torch.stack((ring * angle.cos(), ring * angle.sin(), height), -1)
    return Cameras.pinhole(look_at(positions, CENTER, torch.tensor([0.1, 0.2, 1.0])), 1.2 * size, size, size)
