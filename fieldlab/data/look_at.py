"""Poses of upright cameras that look at something."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

STRAIGHT_UP = 1e-4  # sine of the angle to the vertical below which a camera looks straight up or down


def look_at(origins: Tensor, targets: Tensor, up: Tensor | None = None) -> Tensor:
    """Camera-to-world poses [N,3,4] (OpenCV axes) at ``origins`` [N,3] facing ``targets`` [N,3] or [3], with the unit
    vector ``up`` [3] above, z by default. Straight up or down any turn is right, and one is chosen."""
    up = origins.new_tensor([0.0, 0.0, 1.0]) if up is None else up
    forward = normalize(targets - origins, dim=-1)
    right = torch.linalg.cross(forward, up.expand_as(forward))
    spare = torch.linalg.cross(forward, perpendicular(up).expand_as(forward))
    right = normalize(torch.where(right.norm(dim=-1, keepdim=True) > STRAIGHT_UP, right, spare), dim=-1)
    return torch.stack((right, torch.linalg.cross(forward, right), forward, origins), dim=-1)


def perpendicular(axis: Tensor) -> Tensor:
    """A unit vector [3] perpendicular to ``axis`` [3]."""
    other = torch.zeros_like(axis)
    other[int(axis.abs().argmin())] = 1.0
    return normalize(torch.linalg.cross(axis, other), dim=0)
