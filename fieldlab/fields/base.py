"""The interface every representation keeps, and the one truncated exponential that turns log-density into density."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError
from fieldlab.fields.encoding import Encoding
from fieldlab.fields.kinds import kinds_that
from fieldlab.fields.training import FieldProgress, ParamGroup
from fieldlab.ops.field_plan import FieldPlan
from fieldlab.ops.mlp import MLPSpec

# exp(15) per world unit is opaque within any step; beyond it only the gradient's size would grow.
MAX_EXPONENT = 15.0


class _TruncatedExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float) -> Tensor:  # type: ignore[override]
        out = x.clamp(max=ceiling).exp_()
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        (out,) = ctx.saved_tensors
        return grad * out, None


def trunc_exp(x: Tensor, ceiling: float = MAX_EXPONENT) -> Tensor:
    """exp(min(x, ceiling)); the derivative is that same value, so that it neither overflows nor dies at the ceiling.

    Args:
        x: log-density of any shape.
        ceiling: largest exponent.
    """
    return _TruncatedExp.apply(x, ceiling)


def check_budget(kind: str, n_parameters: int, least: int) -> None:
    """Say what the smallest field is.

    Raises:
        ConfigError: the budget is smaller.
    """
    if n_parameters < least:
        raise ConfigError(
            f"the budget is smaller than the smallest {kind} field", field="params", found=n_parameters,
            expected=f"at least {least}",
        )  # fmt: skip


@dataclass(frozen=True)
class FieldSize:
    """The most a field becomes: values that are trained, values that are fixed once placed, and bytes of both."""

    trainable: int
    fixed: int = 0
    n_bytes: int = 0

    @staticmethod
    def of_floats(trainable: int, fixed: int = 0) -> FieldSize:
        """The size of so many values of four bytes."""
        return FieldSize(trainable, fixed, 4 * (trainable + fixed))


@dataclass(frozen=True)
class FieldConfig:
    """Plain values a field is built from; one subclass per representation."""

    kind: ClassVar[str]
    recipe: ClassVar[Mapping[str, Any]] = {}
    """Training settings this representation does best with, by their names in ``TrainConfig``."""
    distortion: ClassVar[float] = 0.0
    """Weight of the distortion loss where there is content at any distance; 0 where it does more harm than good."""
    distill_recipe: ClassVar[Mapping[str, Any]] = {}
    """Those that differ when it learns from another field rather than from photographs."""
    late_density: ClassVar[float] = 1.0
    """How much of the densities' weight is left then once pixels are compared, which say better which of them matter to
    a field that cannot hold all of them."""
    encodes: ClassVar[tuple[int, ...]] = ()
    """Numbers of dimensions in which it has an encoding, which holds an image (2) or a distance (3) by itself."""

    @property
    def spelling(self) -> str:
        """What this representation is asked for by: its kind, or its parts' with a sign between them."""
        return self.kind

    def size(self) -> FieldSize:
        """The size of the whole field once it is fully grown.

        Raises:
            ConfigError: that is not known beforehand.
        """
        raise ConfigError("the size of this field is not known beforehand", field=self.kind)

    def encoding_size(self, dims: int) -> FieldSize:
        """The size of ``build_encoding(dims)`` once it is fully grown.

        Raises:
            ConfigError: it has no encoding in so many dimensions.
        """
        return FieldSize.of_floats(sum(p.numel() for p in self.build_encoding(dims).parameters()))

    def build_encoding(self, dims: int, generator: torch.Generator | None = None) -> Encoding:
        """The trainable memory of this representation alone, over the unit square or cube.

        Raises:
            ConfigError: it has none in so many dimensions.
        """
        raise ConfigError(
            f"this field cannot hold an image or a distance ({dims} dimensions) by itself", field=self.kind,
            expected=kinds_that(lambda config: dims in config.encodes),
        )  # fmt: skip

    def decoder(self, n_in: int, n_out: int) -> MLPSpec:
        """The perceptron that makes an image or a distance field of the encoding (NeuRBF, Chen et al. 2023: three
        linear layers, 64 wide)."""
        return MLPSpec(n_in, n_out, 64, 2, bias=True)

    def for_image(self, side: int) -> FieldConfig:
        """What suits an image whose longer side has so many pixels. Grids get cells two pixels wide (as Müller et al.
        2022, section 5.1)."""
        return self.fitted_to_footprint(side / 4)

    def for_distance(self) -> FieldConfig:
        """What suits the distance to a surface."""
        return self

    def encoding_fitted_to(self, n_parameters: int, dims: int) -> FieldConfig:
        """The same configuration with the largest encoding of at most ``n_parameters`` trainable values.

        Raises:
            ConfigError: this field has no size to choose, or even its smallest one is larger.
        """
        raise ConfigError("this field has no size to choose", field=self.kind, found=n_parameters)

    def least_encoding_size(self, dims: int) -> int:
        """Trainable values of the smallest encoding that ``encoding_fitted_to`` makes.

        Raises:
            ConfigError: this field has no size to choose.
        """
        raise ConfigError("this field has no size to choose", field=self.kind)

    def signal_fitted_to(self, n_parameters: int, dims: int, n_out: int) -> FieldConfig:
        """The same configuration with the largest encoding that keeps it and the decoder to ``n_out`` values within
        ``n_parameters``.

        Raises:
            ConfigError: even the smallest one is larger.
        """
        decoder = self.decoder(self.build_encoding(dims).n_out, n_out).n_params
        check_budget(self.kind, n_parameters, decoder + self.least_encoding_size(dims))
        return self.encoding_fitted_to(n_parameters - decoder, dims)

    def least_size(self) -> int:
        """Trainable values of the smallest field that ``fitted_to`` makes.

        Raises:
            ConfigError: this field has no size to choose.
        """
        raise ConfigError("this field has no size to choose", field=self.kind)

    def fitted_to(self, n_parameters: int) -> FieldConfig:
        """The same configuration with the largest capacity of at most ``n_parameters`` trainable values.

        Raises:
            ConfigError: this field has no size to choose, or even its smallest one is larger.
        """
        raise ConfigError("this field has no size to choose", field=self.kind, found=n_parameters)

    def fitted_to_footprint(self, cells_per_side: float) -> FieldConfig:
        """The same configuration with detail for pictures whose pixels are 1/``cells_per_side`` of the box wide."""
        return self

    def fitted_to_device(self, device: str) -> FieldConfig:
        """The same configuration with a capacity that trains well on ``cpu`` or ``cuda``."""
        return self

    def as_part(self) -> FieldConfig:
        """The same configuration for a field that is part of another one."""
        return self

    def with_appearance(self, size: int) -> FieldConfig:
        """The same configuration taking an appearance vector of ``size`` values per sample.

        Raises:
            ConfigError: this field cannot.
        """
        raise ConfigError("this field takes no appearance embedding", field=self.kind)


class Counted(nn.Module):
    """A module that says how large it is."""

    @property
    def n_parameters(self) -> int:
        """How many values are trained."""
        return sum(p.numel() for p in self.parameters())

    @property
    def n_fixed(self) -> int:
        """How many values are kept besides."""
        return sum(b.numel() for b in self.buffers())

    @property
    def n_bytes(self) -> int:
        """Bytes of everything that has to be kept to use it."""
        kept = [*self.parameters(), *self.buffers()]
        return sum(t.numel() * t.element_size() for t in kept)


class Field(Counted, ABC):
    """Density and color over [0,1]^3.

    Args:
        config: the plain values it is built from.
        unit_length: world length of the side of the unit cube. Density is per world unit; fields start with a density
            of about one per unit cube, whatever the units of the scene.
    """

    kind: ClassVar[str]
    config_type: ClassVar[type[FieldConfig]]
    coarse: Field | None
    """A cheap field trained beside this one, to find where on a ray this one is worth evaluating while training."""
    fine_samples: int = 0
    """Samples per ray that are then taken."""

    def __init__(self, config: FieldConfig, unit_length: float) -> None:
        super().__init__()
        if not (unit_length > 0 and math.isfinite(unit_length)):
            raise ConfigError("the side of a field's box has a positive length", found=unit_length)
        self.config = config
        self.unit_length = float(unit_length)
        self.coarse = None

    @property
    @abstractmethod
    def latent_size(self) -> int:
        """G: how many latent values per sample ``geometry`` hands to ``color``."""

    @property
    def n_compared(self) -> int:
        """How many of them, from the first on, distillation compares; others say how a sample came about."""
        return self.latent_size

    @property
    def shown(self) -> Field:
        """The field whose latents and colors these are: this one, or that which it shows otherwise."""
        return self

    @abstractmethod
    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Args: x float32 [S,3] in [0,1]. Returns: log-density per world unit [S] and latent [S,G]."""

    @abstractmethod
    def color(self, latent: Tensor, x: Tensor, directions: Tensor, appearance: Tensor | None = None) -> Tensor:
        """Color float32 [S,3] in [0,1] of latent [S,G] seen along unit directions [S,3], appearance [S,A] or None."""

    @abstractmethod
    def param_groups(self) -> list[ParamGroup]:
        """All trainable parameters, grouped by how they are optimised."""

    @property
    def in_place(self) -> bool:
        """Whether what is seen at a point was learnt there."""
        return True

    def source(self, x: Tensor) -> Tensor:
        """Where what is seen at x [S,3] was learnt: [S,3]."""
        return x

    def density(self, x: Tensor) -> Tensor:
        """Density [S] per world unit at x [S,3]."""
        return self.sigma(self.geometry(x)[0])

    def sigma(self, log_density: Tensor) -> Tensor:
        """Density of log-density, capped relative to the size of the box so that units do not matter."""
        return trunc_exp(log_density, self.max_log_density)

    @property
    def log_unit(self) -> float:
        """What makes log-density per side of the cube of log-density per world unit, when it is added."""
        return math.log(self.unit_length)

    @property
    def max_log_density(self) -> float:
        """Where log-density is capped: opaque within any step."""
        return MAX_EXPONENT - math.log(self.unit_length)

    def begin_from(self, teacher: Field, occupied: Callable[[Tensor], Tensor], generator: torch.Generator) -> list[str]:
        """Initialise what can be copied or computed in closed form from a trained field of any kind over the same box.

        Args:
            teacher: the trained field.
            occupied: unit coordinates [P,3] -> bool [P], where there is something to see.
            generator: CPU random numbers.

        Returns:
            What was done, in words; empty when there is nothing.

        Raises:
            ConfigError: the teacher is empty.
        """
        return []

    def schedule(self, progress: FieldProgress) -> bool:
        """Called before every training step: coarse to fine. True when parameters were replaced by others."""
        return False

    def regularize(self, fraction: float) -> None:
        """Called after the derivatives of the loss: adds those of the field's own regularisers to them."""

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        """Give parameters and buffers the shapes of a checkpoint's arrays, which are named as in ``state_dict``.

        Raises:
            ConfigError: shapes this configuration cannot have.
        """

    def fused_plan(self, appearance: Tensor | None = None) -> FieldPlan | None:
        """What the fused native renderer needs, with one appearance [A] for all samples, or None when it cannot render
        this field."""
        return None
