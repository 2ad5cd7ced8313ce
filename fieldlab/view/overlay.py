"""A photograph over the picture of its camera."""

from __future__ import annotations

import numpy as np
import torch

from fieldlab.pictures.sheets import fitted


def blended(picture: torch.Tensor, photograph: torch.Tensor, share: float) -> torch.Tensor:
    """A photograph uint8 [H',W',C] over the middle of a picture float32 [H,W,3], as high as it."""
    height, width = picture.shape[:2]
    small = torch.from_numpy(np.array(fitted(photograph.cpu().numpy(), height))).to(picture) / 255
    take = min(width, small.shape[1])
    from_left, at = (small.shape[1] - take) // 2, (width - take) // 2
    part = small[:, from_left : from_left + take]
    alpha = part[..., 3:] * share if part.shape[2] == 4 else torch.full_like(part[..., :1], share)
    made = picture.clone()
    made[:, at : at + take] = torch.lerp(made[:, at : at + take], part[..., :3], alpha)
    return made
