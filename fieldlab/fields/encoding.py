"""Encodings: the trainable memory of a field, apart from the perceptrons that read it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fieldlab.fields.training import FieldProgress, ParamGroup, Teacher
from fieldlab.ops.field_plan import EncoderPlan


class Encoding(nn.Module, ABC):
    """Trainable features of positions in the unit square or cube.

    Args:
        dims: 2 or 3.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims

    @property
    @abstractmethod
    def n_out(self) -> int:
        """Features per position."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Features [S,n_out] at x float32 [S,dims], clamped to [0,1]; differentiable in parameters and x."""

    def param_groups(self) -> list[ParamGroup]:
        """All trainable parameters, grouped by how they are optimised."""
        return []

    def begin_from(
        self, teacher: Teacher, occupied: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> list[str]:
        """Initialise what can be from a trained radiance field over the same cube.

        Args:
            teacher: the trained field; may be the one this encoding is part of.
            occupied: unit coordinates [P,3] -> bool [P], where there is something to see.
            generator: CPU random numbers.

        Returns:
            What was done, in words; empty when there is nothing.
        """
        return []

    def begin_smooth(self) -> None:
        """Scale the initial values so that those of every resolution change equally fast over a distance; nothing where
        there is one resolution."""

    def advance(self, progress: FieldProgress) -> bool:
        """Called before every training step: coarse to fine. True when parameters were replaced by others."""
        return False

    def regularize(self, fraction: float) -> None:
        """Called after the derivatives of the loss: adds those of the encoding's own regularisers to them."""

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        """Give parameters and buffers the shapes of a checkpoint's arrays, which are named as in ``state_dict``.

        Raises:
            ConfigError: shapes this encoding cannot have.
        """

    def plans(self) -> tuple[EncoderPlan, ...]:
        """What the fused renderer needs: encoders side by side, none when it cannot evaluate this encoding."""
        return ()


def part(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The arrays whose names start with ``prefix`` and a dot, without it."""
    start = prefix + "."
    return {name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)}
