"""Exposure and white balance of every photograph, learnt apart from the field when photographs differ in them.

Telephones choose both anew for each photograph. A field that has to explain it puts haze before the cameras, one color
for each. Here every photograph has a linear map of colors of its own (as in Martin-Brualla et al. 2021 a vector for
each, but without a part in the field): what the field shows is what the average photograph would.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MODES = ("auto", "on", "off")
RATE = 0.2  # learning rate as a share of the field's
DECAY = 0.99  # per step, of what is known of residuals
ENOUGH = 100.0  # rays of every photograph, before residuals say anything
LEARNT = 0.15  # share of the variance within photographs that errors within them may have, before anything is said
DIFFERENT = 0.04  # share of the squared error that photographs' own mean errors explain, from which on they differ


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


class Residuals(nn.Module):
    """What photographs' own mean errors explain of the error of training rays.

    Args:
        n: photographs.
    """

    count: Tensor
    error: Tensor
    squared_error: Tensor
    color: Tensor
    squared_color: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(n, 1))
        for name in ("error", "squared_error", "color", "squared_color"):
            self.register_buffer(name, torch.zeros(n, 3))

    @torch.no_grad()
    def note(self, images: Tensor, error: Tensor, target: Tensor) -> None:
        """Take in the errors [R,3] of rays with colors ``target`` [R,3], of photographs ``images`` int64 [R]."""
        images, error, target = images.cpu(), error.cpu(), target.cpu()
        values = torch.ones(len(images), 1), error, error.square(), target, target.square()
        for kept, new in zip(self.buffers(), values, strict=True):
            kept.mul_(DECAY).index_add_(0, images, new)

    def share(self) -> float:
        """Share of the squared error that is of whole photographs, 0 to 1, without what chance alone gives. 0 while too
        little is known: before most of what photographs show is learnt, they differ in that."""
        if float(self.count.min()) < ENOUGH:
            return 0.0
        whole, all_error = (self.error / self.count).square(), self.squared_error / self.count
        variance = self.squared_color / self.count - (self.color / self.count).square()
        if float((all_error - whole).mean()) > LEARNT * float(variance.mean()):
            for kept in self.buffers():
                kept.zero_()
            return 0.0
        chance = all_error / self.count
        return max(float((whole - chance).mean() / all_error.mean().clamp_min(1e-12)), 0.0)
