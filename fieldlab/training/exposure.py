"""Exposure and white balance of every photograph, learnt apart from the field when photographs differ in them.

Telephones choose both anew for each photograph. A field that has to explain it puts haze before the cameras, one color
for each. Here every photograph has a linear map of colors of its own (as in Martin-Brualla et al. 2021 a vector for
each, but without a part in the field): what the field shows is what the average photograph would.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MODES = ("auto", "on", "off")
RATE = 0.1  # learning rate as a share of the field's
DECAY = 0.99  # per step, of what is known of residuals
ENOUGH = 100.0  # rays of every photograph, before residuals say anything
DIFFERENT = 0.02  # share of the squared error that photographs' own mean errors explain, from which on they differ


class Exposures(nn.Module):
    """A map of colors per photograph, ``rgb + M rgb + b``; all zero at the start.

    Args:
        n: photographs.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.change = nn.Parameter(torch.zeros(n, 3, 4))

    def forward(self, rgb: Tensor, images: Tensor) -> Tensor:
        """Colors [R,3] as the photographs ``images`` int64 [R] show what is ``rgb`` [R,3] in the average one."""
        change = (self.change - self.change.mean(0))[images]
        return rgb + (change[:, :, :3] @ rgb[:, :, None])[:, :, 0] + change[:, :, 3]


class Residuals:
    """What photographs' own mean errors explain of the error of training rays.

    Args:
        n: photographs.
    """

    def __init__(self, n: int) -> None:
        self.count, self.error, self.squared = torch.zeros(n), torch.zeros(n, 3), torch.zeros(n)

    @torch.no_grad()
    def note(self, images: Tensor, error: Tensor) -> None:
        """Take in the errors [R,3] of a step's rays, of photographs ``images`` int64 [R]."""
        images, error = images.cpu(), error.cpu()
        for kept, new in (
            (self.count, torch.ones(len(images))), (self.error, error), (self.squared, error.square().mean(1))
        ):  # fmt: skip
            kept.mul_(DECAY).index_add_(0, images, new)

    def share(self) -> float:
        """Share of the squared error that is of whole photographs, 0 to 1; what chance alone gives is taken off. 0 while
        too little is known."""
        if float(self.count.min()) < ENOUGH:
            return 0.0
        whole = (self.error / self.count[:, None]).square().mean(1)
        squared = self.squared / self.count
        chance = squared / self.count
        return max(float((whole - chance).mean() / squared.mean().clamp_min(1e-12)), 0.0)
