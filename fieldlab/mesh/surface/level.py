"""Which density is the surface: chosen from the field and from what the cameras see of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.render.model import RadianceModel

REFERENCE_CELLS = 256
VIEWS = 8
SIDE = 64
OPAQUE = 0.9
THINNEST = 0.1  # this share of what is seen may be thinner than twice the level


def thin_wall_level(aabb: Tensor) -> float:
    """The density at which a wall of 1/256 of the box's longest side stops half the light: ln 2 / thickness.

    It does not depend on the resolution of the mesh, so meshes converge as the resolution grows, and it scales with the
    units of the scene as density does.
    """
    longest = float((aabb[1] - aabb[0]).max())
    return math.log(2) * REFERENCE_CELLS / longest


def surface_level(model: RadianceModel, cameras: Cameras | None = None) -> float:
    """The density per world unit to put the surface at.

    That of :func:`thin_wall_level`, unless the field is softer than that. A field that was trained briefly, or that
    never needed to be hard because everything behind is alike, stops light over a longer way, and a fixed level would
    tear holes into what pictures show closed. So the level is at most half of what the density is, where light is
    stopped, for nine out of ten opaque pixels of a few cameras.

    Args:
        cameras: of photographs of the scene; without them the field is taken to be hard.
    """
    hard = thin_wall_level(model.aabb)
    if cameras is None or len(cameras) == 0:
        return hard
    chosen = torch.linspace(0, len(cameras) - 1, min(VIEWS, len(cameras))).round().long().tolist()
    seen = torch.cat([seen_density(model, cameras, i) for i in chosen])
    if seen.numel() == 0:
        return hard
    thinnest = float(seen.sort().values[int(THINNEST * (seen.numel() - 1))])
    return min(hard, 0.5 * thinnest)


@torch.no_grad()
def seen_density(model: RadianceModel, cameras: Cameras, i: int) -> Tensor:
    """Density [P] where light is stopped, of the opaque pixels of a small picture ``i``: the mean of the density along
    a ray, weighted as colors are."""
    camera = cameras[i].to(model.aabb.device)
    rays = camera.scaled(min(1.0, SIDE / int(camera.size.max()))).image_rays(0)
    seen = model.see(rays)
    ray, sigmas = seen.samples.ray_indices, seen.sigmas
    points = rays.origins[ray] + seen.samples.middles[:, None] * rays.directions[ray]
    inside = ((points >= model.aabb[0]) & (points <= model.aabb[1])).all(-1)  # what is outside is not meshed
    values = torch.stack((sigmas * inside, inside.to(sigmas)), dim=-1)
    found = seen.composite(values).values
    opaque = found[:, 1] > OPAQUE
    return (found[opaque, 0] / found[opaque, 1]).float().cpu()
