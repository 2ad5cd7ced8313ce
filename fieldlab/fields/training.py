"""What training and fields tell each other: how far it is, how parameters are optimised, what may be begun from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


class Teacher(Protocol):
    """A trained radiance field over the unit cube, as far as an encoding looks at it to begin from it."""

    unit_length: float
    """World length of the side of the cube."""

    @property
    def n_compared(self) -> int:
        """How many latent values, from the first on, say what is seen."""

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-density per world unit [S] and latent [S,G] at x float32 [S,3] in [0,1]."""

    def sigma(self, log_density: Tensor) -> Tensor:
        """Density per world unit of log-density."""


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that are optimised alike."""

    name: str
    parameters: list[nn.Parameter]
    lr_scale: float = 1.0
    weight_decay: float = 0.0
    sparse: bool = False
    """Leave entries alone whose gradient is exactly zero (hash tables: Müller et al. 2022, section 4)."""


@dataclass(frozen=True)
class FieldProgress:
    """How far training is, as a field sees it.

    Args:
        step: steps done.
        fraction: of training done, 0 to 1; what happens once happens at a fraction, since training is often limited by
            time.
        occupied: unit coordinates [P,3] -> bool [P], whether training looks there.
        generator: CPU random numbers.
        field: the whole radiance field that trains, if it is one.
    """

    step: int
    fraction: float
    occupied: Callable[[Tensor], Tensor]
    generator: torch.Generator
    field: Teacher | None = None
