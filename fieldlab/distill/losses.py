"""What of a student is compared with its teacher, per sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from fieldlab.fields.base import ParamGroup
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp

CLAMP = (-3.0, 9.0)
"""Log-density per side of the field's cube between which densities are told apart. Below, the whole cube lets
95 % of the light pass; above, a thousandth of it lets nothing pass."""
HIDDEN = 32


def log_density_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Difference of log-densities [S], both per side of the cube, to the teacher's clamped to ``CLAMP``.

    Zero where both are beyond the same end: there the student may fall or rise as rendering likes, so that empty space
    stays empty. It is not the student that is clamped: where it is wrong it is told so however far it is off, while a
    clamp of both (as in the original) leaves it without a derivative there.
    """
    low, high = CLAMP
    error = student - teacher.clamp(low, high)
    agreed = ((teacher <= low) & (student <= low)) | ((teacher >= high) & (student >= high))
    return torch.where(agreed, torch.zeros_like(error), error)


def density_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber's loss of the difference [S]: a square up to 1, then a slope."""
    error = log_density_error(student, teacher)
    return huber_loss(error, torch.zeros_like(error), reduction="none")


class LatentMatch(nn.Module):
    """Compares latents, through a learned adapter where they mean different things.

    Args:
        n_student, n_teacher: latent values per sample.
        same: whether one perceptron to color reads both, so that latents can be compared as they are.
        generator: CPU random numbers.
    """

    scale: Tensor

    def __init__(self, n_student: int, n_teacher: int, same: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = None if same else MLPSpec(n_student, n_teacher, HIDDEN, 1)
        self.params = nn.Parameter(torch.empty(0) if self.spec is None else init_mlp(self.spec, generator))
        self.register_buffer("scale", torch.zeros(n_teacher))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Squared difference [K] of latents [K,n_student] and [K,n_teacher], per variance of the first ones seen."""
        if not bool((self.scale > 0).any()):
            self.scale.copy_(teacher.var(0).clamp_min(1e-4) if len(teacher) > 1 else torch.ones_like(self.scale))
        made = student if self.spec is None else mlp(student, self.params, self.spec)
        return ((made - teacher).square() / self.scale.mean()).mean(1)

    def param_groups(self) -> list[ParamGroup]:
        """Of the adapter, if there is one."""
        return [] if self.spec is None else [ParamGroup("adapter", [self.params])]
