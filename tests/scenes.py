"""Small scenes with known answers for tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import Scene
from fieldlab.data.views import Views
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.runs.config import RunConfig
from fieldlab.training.config import TRAINED, TrainConfig

RADIUS = 0.6


def tiny_field(**changes) -> HashGridConfig:
    """A field that evaluates in no time."""
    sizes = {"n_levels": 4, "log2_hashmap_size": 10, "base_resolution": 4, "finest_resolution": 24, "width": 16}
    return HashGridConfig(**{**sizes, **changes})


def run_config(source: str = "ball", options: SceneOptions | None = None, **settings) -> RunConfig:
    """Of a run that trains such a field."""
    return RunConfig(TRAINED.name, source, tiny_field(), (TrainConfig(**settings), options or SceneOptions()))


def ring_cameras(n: int, size: int = 16, distance: float = 3.0) -> Cameras:
    """n pinhole cameras around the origin, looking at it."""
    poses = []
    for k in range(n):
        angle, height = 2 * math.pi * k / n, math.sin(2.4 * k)
        outward = torch.tensor([math.cos(angle), math.sin(angle), height])
        center = torch.nn.functional.normalize(outward, dim=0) * distance
        forward = -center / distance
        right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0])), dim=0)
        down = torch.linalg.cross(forward, right)
        poses.append(torch.cat((torch.stack((right, down, forward), 1), center[:, None]), 1))
    return Cameras.pinhole(torch.stack(poses), 1.2 * size, size, size)


def ball_hit(rays: Rays, radius: float = RADIUS) -> tuple[Tensor, Tensor]:
    """Distance at which rays meet the ball about the origin, and whether they do."""
    b = (rays.origins * rays.directions).sum(-1)
    disc = b * b - (rays.origins.square().sum(-1) - radius**2)
    return -b - disc.clamp_min(0).sqrt(), disc > 0


def ball_views(n: int, size: int = 16, alpha: bool = True) -> Views:
    """Photographs of a ball colored by its normals; outside it transparent, or white without alpha."""
    cameras = ring_cameras(n, size)
    pictures = []
    for i in range(n):
        rays = cameras.image_rays(i)
        t, hit = ball_hit(rays)
        color = ((rays.origins + t[:, None] * rays.directions) / RADIUS + 1) / 2
        color = torch.where(hit[:, None], color.clamp(0, 1), torch.ones(3))
        rgba = torch.cat((color, hit[:, None].float()), 1) if alpha else color
        pictures.append((rgba * 255).round().to(torch.uint8))
    return Views(cameras, [f"view_{i}" for i in range(n)], torch.cat(pictures))


def ball_scene(n: int = 8, size: int = 16, alpha: bool = True) -> Scene:
    """The ball in a box from -1 to 1."""
    return Scene(
        name="ball",
        source="ball",
        format="test",
        splits={"train": ball_views(n, size, alpha), "test": ball_views(2, size, alpha)},
        aabb=torch.tensor([[-1.0, -1, -1], [1, 1, 1]]),
        unbounded=False,
        background="white",
        points=None,
        near=0.05,
    )
