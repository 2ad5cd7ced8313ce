"""From quantities to colors: depth, normals, opacity and errors as sRGB pictures in [0,1]."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.data.images import over

# Anchors of a rainbow of nearly even lightness steps from dark blue (0) to dark red (1), in the manner of Turbo.
_RAINBOW = (
    (0.19, 0.07, 0.23), (0.25, 0.26, 0.63), (0.27, 0.44, 0.91), (0.22, 0.61, 0.98), (0.12, 0.76, 0.88),
    (0.11, 0.88, 0.72), (0.32, 0.96, 0.50), (0.58, 0.99, 0.28), (0.78, 0.94, 0.20), (0.93, 0.82, 0.22),
    (0.99, 0.66, 0.20), (0.97, 0.46, 0.12), (0.88, 0.27, 0.05), (0.72, 0.13, 0.01), (0.48, 0.02, 0.01),
)  # fmt: skip
# From black over violet and orange to pale yellow; lightness grows evenly, so that more error is always lighter.
_HEAT = (
    (0.00, 0.00, 0.02), (0.13, 0.05, 0.33), (0.35, 0.07, 0.43), (0.56, 0.14, 0.40), (0.76, 0.22, 0.30),
    (0.91, 0.37, 0.16), (0.98, 0.57, 0.04), (0.97, 0.79, 0.25), (0.99, 1.00, 0.65),
)  # fmt: skip


def rainbow(values: Tensor) -> Tensor:
    """Colors [...,3] of values [...] in [0,1]: blue is 0, red is 1."""
    return _interpolate(values, _RAINBOW)


def heat(values: Tensor) -> Tensor:
    """Colors [...,3] of values [...] in [0,1]: black is 0, pale yellow is 1."""
    return _interpolate(values, _HEAT)


def _interpolate(values: Tensor, anchors: tuple[tuple[float, float, float], ...]) -> Tensor:
    table = torch.tensor(anchors, device=values.device)
    at = values.float().nan_to_num(0.0).clamp(0, 1) * (len(anchors) - 1)
    low = at.long().clamp(max=len(anchors) - 2)
    fraction = (at - low).unsqueeze(-1)
    return table[low] * (1 - fraction) + table[low + 1] * fraction


@dataclass(frozen=True)
class DepthRange:
    """Distances in world units that get the warmest (near) and the coldest (far) color."""

    near: float
    far: float


def depth_range(depths: Iterable[Tensor], opacities: Iterable[Tensor]) -> DepthRange:
    """A range for pictures that belong together: the 1 % nearest and 1 % farthest of what is mostly opaque left out."""
    seen = [d[o > 0.5].flatten() for d, o in zip(depths, opacities, strict=True)]
    values = torch.cat([torch.zeros(0), *(s[torch.isfinite(s) & (s > 0)].float().cpu() for s in seen)])
    if values.numel() == 0:
        return DepthRange(1.0, 2.0)
    ordered = values.sort().values
    near, far = (float(ordered[round(q * (len(ordered) - 1))]) for q in (0.01, 0.99))
    return DepthRange(near, max(far, near * 1.001))


def color_depth(depth: Tensor, opacity: Tensor, shown: DepthRange, background: Tensor) -> Tensor:
    """Depth [H,W] as color [H,W,3], near red and far blue, faded into ``background`` [3] where nothing is hit.

    The scale is linear in 1/depth, which gives near things the contrast they have in a picture.
    """
    inverse = 1 / depth.clamp_min(1e-12)
    share = (inverse - 1 / shown.far) / (1 / shown.near - 1 / shown.far)
    return over(rainbow(share), opacity.clamp(0, 1).unsqueeze(-1), background.to(opacity))


def color_normals(normals: Tensor, opacity: Tensor, background: Tensor) -> Tensor:
    """Unit world normals [H,W,3] as color (n+1)/2, faded into ``background`` [3] where nothing is hit."""
    return over((normals + 1) / 2, opacity.clamp(0, 1).unsqueeze(-1), background.to(opacity))


def color_opacity(opacity: Tensor) -> Tensor:
    """Opacity [H,W] as grays [H,W,3]."""
    return opacity.clamp(0, 1).unsqueeze(-1).expand(*opacity.shape, 3)
