"""Surface normals of a picture from its depth."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldlab.data.cameras import Rays


def normals_from_depth(rays: Rays, depth: Tensor, opacity: Tensor, least_opacity: float = 0.5) -> Tensor:
    """Unit normals in the world, facing the camera; zero where little is seen.

    The cross product of the surface's steps to the neighboring pixels. Along each axis the neighbors on both sides are
    used where both lie on the surface, otherwise the one that does, so that outlines stay sharp. (The derivative of
    density at the surface shows the grid's noise instead.)

    Args:
        rays: H*W rays of the picture, row-major.
        depth: float32 [H,W], distance along the rays.
        opacity: float32 [H,W].
        least_opacity: below it nothing is taken to be seen.

    Returns:
        float32 [H,W,3].
    """
    height, width = depth.shape
    points = (rays.origins + depth.reshape(-1, 1) * rays.directions).view(height, width, 3)
    seen = opacity > least_opacity
    right, right_known = _slope(points, depth, seen, axis=1)
    down, down_known = _slope(points, depth, seen, axis=0)
    normals = torch.nn.functional.normalize(torch.linalg.cross(right, down), dim=-1)
    facing = (normals * rays.directions.view(height, width, 3)).sum(-1, keepdim=True)
    normals = torch.where(facing > 0, -normals, normals)
    return torch.where((seen & right_known & down_known)[..., None], normals, torch.zeros_like(normals))


def _slope(points: Tensor, depth: Tensor, seen: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Step of the surface per pixel along an axis [H,W,3], and where it is known [H,W]."""
    ahead_ok, ahead, ahead_jump = _difference(points, depth, seen, axis, 1)
    behind_ok, behind, behind_jump = _difference(points, depth, seen, axis, -1)
    # A neighbor across an outline lies much farther off in depth than the one on this side's surface.
    use_ahead = ahead_ok & ~(behind_ok & (ahead_jump > 4 * behind_jump))
    use_behind = behind_ok & ~(ahead_ok & (behind_jump > 4 * ahead_jump))
    total = ahead * use_ahead[..., None] + behind * use_behind[..., None]
    return total, use_ahead | use_behind


def _difference(points: Tensor, depth: Tensor, seen: Tensor, axis: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whether the neighbor on a side is seen too, the step to it (along the axis), and the jump of its depth."""
    size = depth.shape[axis]
    index = torch.arange(size, device=depth.device) + side
    inside = ((index >= 0) & (index < size)).view(-1, 1) if axis == 0 else ((index >= 0) & (index < size)).view(1, -1)
    index = index.clamp(0, size - 1)
    known = seen & seen.index_select(axis, index) & inside
    step = side * (points.index_select(axis, index) - points)
    return known, step, (depth.index_select(axis, index) - depth).abs()
