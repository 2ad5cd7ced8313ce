"""Rays against axis-aligned boxes: the slab test (Kay & Kajiya 1986)."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation


def ray_box(origins: Tensor, directions: Tensor, aabb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays enter and leave boxes. Not differentiable.

    Args:
        origins: [N,3].
        directions: [N,3]; components may be zero.
        aabb: low and high corner, [2,3], or [M,2,3] for M boxes.

    Returns:
        ``t_min``, ``t_max`` and ``hit``, [N] for one box and [N,M] for M. ``t_min`` is negative where the ray starts
        inside. A box is missed where the ray passes it by or leaves it at ``t_max <= 0``; both are infinite there.

    Raises:
        ConfigError: ``aabb`` has another shape.
    """
    if aabb.shape[-2:] != (2, 3) or aabb.dim() not in (2, 3):
        raise ConfigError("boxes have shape [2,3] or [M,2,3]", found=tuple(aabb.shape))
    boxes = aabb.reshape(-1, 2, 3)
    op = _ray_box if native.active(origins) else ray_box_reference
    t_min, t_max, hit = op(origins.detach(), directions.detach(), boxes.detach())
    if aabb.dim() == 2:
        return t_min[:, 0], t_max[:, 0], hit[:, 0]
    return t_min, t_max, hit


def ray_box_reference(origins: Tensor, directions: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same in plain PyTorch, for boxes [M,2,3]."""
    o, d = origins[:, None, :], directions[:, None, :]
    a, b = (boxes[None, :, 0] - o) / d, (boxes[None, :, 1] - o) / d
    near, far = torch.minimum(a, b), torch.maximum(a, b)
    inside = (o >= boxes[None, :, 0]) & (o <= boxes[None, :, 1])
    infinity = torch.full_like(near, torch.inf)
    parallel = (d == 0).expand_as(near)
    t_min = torch.where(parallel, -infinity, near).amax(-1)
    t_max = torch.where(parallel, torch.where(inside, infinity, -infinity), far).amin(-1)
    hit = (t_max > 0) & (t_min <= t_max)
    return torch.where(hit, t_min, torch.inf), torch.where(hit, t_max, torch.inf), hit


@operation("ray_box")
def _ray_box(origins: Tensor, directions: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    boxes = boxes.contiguous()
    t_min = origins.new_empty((len(origins), len(boxes)))
    t_max = torch.empty_like(t_min)
    hit = torch.empty_like(t_min, dtype=torch.bool)
    native.library.ray_box(
        native.target(origins),
        n=len(origins),
        boxes=len(boxes),
        origins=native.array(origins),
        directions=native.array(directions),
        aabbs=native.pointer(boxes),
        t_min=native.pointer(t_min),
        t_max=native.pointer(t_max),
        hit=native.pointer(hit, torch.bool),
    )
    return t_min, t_max, hit


@_ray_box.register_fake
def _(origins: Tensor, directions: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    t = origins.new_empty((len(origins), len(boxes)))
    return t, torch.empty_like(t), torch.empty_like(t, dtype=torch.bool)
