"""What the fused renderer knows of a field: encoders, the linear maps and perceptrons that read them, and the color.

A field of any representation is described as branches whose outputs are added; a branch is encoders side by side and,
unless their outputs are the geometry already, one perceptron to (log-density, latent).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops.limits import MAX_BRANCHES, MAX_ENCODERS
from fieldlab.ops.mlp import MLPSpec, mlp_reference
from fieldlab.ops.spherical_harmonics import spherical_harmonics_reference


class EncoderPlan(Protocol):
    """One encoder as the fused renderer takes it; its arrays are detached and live as long as the plan."""

    @property
    def n_out(self) -> int:
        """Features per position."""

    def tensors(self) -> list[Tensor]:
        """The arrays it reads."""

    def native(self) -> Any:
        """The native module's ``Encoder`` of these arrays."""

    def reference(self, x: Tensor) -> Tensor:
        """Features [S,n_out] at x [S,3] in plain PyTorch."""


@dataclass(frozen=True)
class Branch:
    """Encoders side by side, then a perceptron to 1 + latent values, or nothing.

    Args:
        encoders: their features are concatenated.
        params: float32 [spec.n_params], None without a perceptron.
        spec: the perceptron, None where the encoders' outputs are log-density and latent themselves.
    """

    encoders: tuple[EncoderPlan, ...]
    params: Tensor | None = None
    spec: MLPSpec | None = None

    @property
    def n_out(self) -> int:
        """1 + latent values."""
        return sum(e.n_out for e in self.encoders) if self.spec is None else self.spec.n_out

    def reference(self, x: Tensor) -> Tensor:
        """[S,n_out] in plain PyTorch."""
        features = torch.cat([e.reference(x) for e in self.encoders], 1)
        if self.spec is None or self.params is None:
            return features
        return mlp_reference(features, self.params, self.spec)


@dataclass(frozen=True)
class FieldPlan:
    """A field as the fused renderer takes it.

    Args:
        branches: their outputs are added to log-density (before ``offset``) and latent.
        color_params, color: perceptron (latent, harmonics of the direction, constants) -> rgb, with sigmoid; None where
            the latent holds coefficients of harmonics, ``sh_degree``^2 for each of red, green and blue, and color
            is the sigmoid of their sum.
        sh_degree: bands of spherical harmonics of the direction.
        offset: added to log-density.
        ceiling: largest log-density.
        constants: values every sample's color sees alike (an appearance vector), [n] or None.

    Raises:
        ConfigError: the parts do not fit together, or are more than the renderer takes.
    """

    branches: tuple[Branch, ...]
    color_params: Tensor | None
    color: MLPSpec | None
    sh_degree: int
    offset: float
    ceiling: float
    constants: Tensor | None = None
    n_out: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_out", self.branches[0].n_out)
        encoders = sum(len(b.encoders) for b in self.branches)
        if len(self.branches) > MAX_BRANCHES or encoders > MAX_ENCODERS:
            raise ConfigError("a field has too many parts", found=(len(self.branches), encoders),
                              expected=f"at most {MAX_BRANCHES} branches, {MAX_ENCODERS} encoders")  # fmt: skip
        if any(b.n_out != self.n_out for b in self.branches):
            raise ConfigError("parts of a field differ in their latent", found=[b.n_out for b in self.branches])
        if self.color is None and self.n_out != 1 + 3 * self.sh_degree**2:
            raise ConfigError("coefficients do not fit the harmonics", found=self.n_out - 1,
                              expected=3 * self.sh_degree**2)  # fmt: skip

    def tensors(self) -> list[Tensor]:
        """All arrays it reads."""
        own = [b.params for b in self.branches] + [self.color_params, self.constants]
        return [t for t in own if t is not None] + [t for b in self.branches for e in b.encoders for t in e.tensors()]

    def geometry_reference(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-density [S] and latent [S,G] at x [S,3] in plain PyTorch."""
        out = torch.stack([b.reference(x) for b in self.branches]).sum(0)
        return (out[:, 0] + self.offset).clamp(max=self.ceiling), out[:, 1:]

    def color_reference(self, latent: Tensor, directions: Tensor) -> Tensor:
        """Color [S,3] of latent [S,G] seen along unit directions [S,3] in plain PyTorch."""
        harmonics = spherical_harmonics_reference(directions, self.sh_degree)
        if self.color is None or self.color_params is None:
            return (latent.view(len(latent), 3, -1) * harmonics[:, None]).sum(-1).sigmoid()
        inputs = [latent, harmonics]
        if self.constants is not None:
            inputs.append(self.constants.expand(len(latent), -1))
        return mlp_reference(torch.cat(inputs, 1), self.color_params, self.color)
