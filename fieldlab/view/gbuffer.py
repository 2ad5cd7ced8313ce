"""What a picture's rays see, drawn in bands so that a picture nobody waits for any more can be given up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.render.model import RadianceModel
from fieldlab.render.normals import normals_from_depth

BAND = 1 << 14  # rays between two checks whether anybody still waits
OPAQUE = 0.5  # opacity from which a ray ends on something


@dataclass
class GBuffer:
    """A picture of H x W rays before anything is made of it.

    Args:
        cameras: one camera of that size.
        rays: H*W.
        rgb: float32 [H,W,3] on black.
        opacity: float32 [H,W].
        depth: float32 [H,W], distance along rays, 0 where nothing is.
        cost: float32 [H,W], samples a ray took.
        leaf: int64 [H,W], row of the finest segment, -1 for none; None until somebody asks.
    """

    cameras: Cameras
    rays: Rays
    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    cost: Tensor
    leaf: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.depth.shape[0], self.depth.shape[1]

    @cached_property
    def hit(self) -> Tensor:
        """bool [H*W]: which rays end on something."""
        return (self.opacity > OPAQUE).flatten()

    @cached_property
    def points(self) -> Tensor:
        """float32 [P,3]: where those that do end, in the world."""
        rays = self.rays[self.hit]
        return rays.origins + rays.directions * self.depth.flatten()[self.hit][:, None]

    @cached_property
    def normals(self) -> Tensor:
        """float32 [H,W,3]: unit normals in the world, zero where nothing is."""
        return normals_from_depth(self.rays, self.depth, self.opacity)

    @cached_property
    def z_depth(self) -> Tensor:
        """float32 [H,W]: distance along the optical axis; far away where nothing is."""
        forward = self.cameras.camera_to_world[0, :, 2].to(self.depth)
        z = self.depth * (self.rays.directions @ forward).view(self.depth.shape)
        return torch.where(self.hit.view(self.depth.shape), z, torch.inf)


@torch.no_grad()
def render_gbuffer(
    model: RadianceModel, cameras: Cameras, given_up: Callable[[], bool] = lambda: False,
    turn: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> GBuffer | None:  # fmt: skip
    """Everything about the picture of one camera; None when it was given up on the way. ``turn`` is taken for every
    band by work that nobody waits for."""
    one = cameras.to(model.device)
    width, height = one.size[0].tolist()
    rays, black, parts = one.image_rays(0), torch.zeros(3, device=model.device), []
    for start in range(0, len(rays), BAND):
        if given_up():
            return None
        with turn():
            parts.append(model.render_rays(rays[start : start + BAND], background=black))
    rgb, opacity, depth = (torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "opacity", "depth"))
    cost = torch.cat([part.cost for part in parts]).float()
    shape = (height, width)
    return GBuffer(one, rays, rgb.view(*shape, 3), opacity.view(shape), depth.view(shape), cost.view(shape))
