"""The shape most fields share: an encoding, a perceptron to density and latent, and another to color."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from fieldlab.errors import require
from fieldlab.fields.base import Field, FieldConfig, FieldSize, check_budget
from fieldlab.fields.encoding import Encoding, part
from fieldlab.fields.training import FieldProgress, ParamGroup
from fieldlab.ops.field_plan import Branch, FieldPlan
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp
from fieldlab.ops.spherical_harmonics import spherical_harmonics

C = TypeVar("C", bound="EncodedConfig")
L = TypeVar("L", bound="LatentConfig")


@dataclass(frozen=True)
class LatentConfig(FieldConfig):
    """Sizes of the perceptron from latent and direction to color."""

    width: int = 64
    """Width of all perceptrons."""
    color_layers: int = 2
    """Hidden layers from latent and direction to color."""
    latent: int = 15
    """Latent values per sample."""
    sh_degree: int = 4
    """Bands of spherical harmonics of the viewing direction."""
    appearance: int = 0
    """Values of the appearance vector, 0 for none."""

    def __post_init__(self) -> None:
        require(1 <= self.latent <= 64, "field.latent", self.latent, "1 to 64")
        require(0 <= self.appearance <= 256, "field.appearance", self.appearance, "0 to 256")
        require(1 <= self.sh_degree <= 4, "field.sh_degree", self.sh_degree, "1 to 4")
        self.color_spec()  # which checks its sizes

    @property
    def n_encoded(self) -> int:
        """Features per position of the encoding in three dimensions, 0 where there is none."""
        return 0

    def color_spec(self) -> MLPSpec:
        """Latent, spherical harmonics and appearance -> color."""
        n_in = self.latent + self.sh_degree**2 + self.appearance
        return MLPSpec(n_in, 3, self.width, self.color_layers, output_activation="sigmoid")

    def with_appearance(self: L, size: int) -> L:
        return replace(self, appearance=size)


@dataclass(frozen=True)
class EncodedConfig(LatentConfig):
    """Sizes of the perceptrons around an encoding."""

    encodes: ClassVar[tuple[int, ...]] = (3,)

    geometry_layers: int = 1
    """Hidden layers from encoding to density and latent."""

    def geometry_spec(self) -> MLPSpec:
        """Encoding -> raw log-density and latent."""
        return MLPSpec(self.n_encoded, 1 + self.latent, self.width, self.geometry_layers)

    def size(self) -> FieldSize:
        encoding, networks = self.encoding_size(3), self.network_size()
        return FieldSize(encoding.trainable + networks, encoding.fixed, encoding.n_bytes + 4 * networks)

    def least_size(self) -> int:
        return self.least_encoding_size(3) + self.network_size()

    def network_size(self) -> int:
        """Trainable values of both perceptrons."""
        return self.geometry_spec().n_params + self.color_spec().n_params

    def fitted_to(self: C, n_parameters: int) -> C:
        """The largest encoding that keeps the whole field within ``n_parameters``."""
        check_budget(self.kind, n_parameters, self.least_size())
        return self.encoding_fitted_to(n_parameters - self.network_size(), 3)  # type: ignore[return-value]


class LatentField(Field):
    """(latent, direction[, appearance]) -> perceptron -> color, however density and latent come about."""

    config: LatentConfig

    def __init__(self, config: LatentConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        super().__init__(config, unit_length)
        self.color_net = config.color_spec()
        self.log_density_offset = -math.log(unit_length)
        self.color_params = nn.Parameter(init_mlp(self.color_net, generator))

    @property
    def latent_size(self) -> int:
        return self.config.latent

    def without_color(self) -> None:
        """Give up the perceptron to color: as a part of another field, which has its own."""
        self.color_params = nn.Parameter(torch.empty(0))

    def can_share_latent(self, teacher: Field) -> bool:
        """Whether one perceptron to color could read both fields' latents."""
        teacher = teacher.shown
        if not isinstance(teacher, LatentField):
            return False
        mine, other = self.config, teacher.config
        shape = (self.color_net, mine.latent, mine.sh_degree, mine.appearance)
        return shape == (teacher.color_net, other.latent, other.sh_degree, other.appearance)

    def take_color(self, teacher: Field) -> list[str]:
        """Copy the perceptron to color of a field that has the same; says so."""
        if not self.can_share_latent(teacher) or not len(self.color_params):  # a part of another field has none
            return []
        teacher = teacher.shown
        assert isinstance(teacher, LatentField)
        with torch.no_grad():
            self.color_params.copy_(teacher.color_params)
        return ["perceptron to color copied"]

    @abstractmethod
    def branches(self) -> tuple[Branch, ...] | None:
        """The geometry as the fused renderer takes it, or None where it cannot."""

    def color(self, latent: Tensor, x: Tensor, directions: Tensor, appearance: Tensor | None = None) -> Tensor:
        view = spherical_harmonics(directions, self.config.sh_degree)
        if self.config.appearance:
            if appearance is None:
                appearance = view.new_zeros(()).expand(view.shape[0], self.config.appearance)
            view = torch.cat((view, appearance), dim=1)
        return mlp((latent, view), self.color_params, self.color_net)

    def fused_plan(self, appearance: Tensor | None = None) -> FieldPlan | None:
        branches = self.branches()
        if branches is None:
            return None
        if self.config.appearance and appearance is None:
            appearance = self.color_params.new_zeros(self.config.appearance)
        return FieldPlan(
            branches, self.color_params.detach(), self.color_net, self.config.sh_degree, self.log_density_offset,
            self.max_log_density, None if appearance is None else appearance.detach().contiguous(),
        )  # fmt: skip


class EncodedField(LatentField):
    """Encoding -> perceptron -> (log-density, latent), and color as any :class:`LatentField`."""

    config: EncodedConfig

    def __init__(self, config: EncodedConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        encoding, geometry_net = config.build_encoding(3, generator), config.geometry_spec()
        geometry_params = nn.Parameter(init_mlp(geometry_net, generator))
        super().__init__(config, unit_length, generator)
        self.encoding: Encoding = encoding
        self.geometry_net = geometry_net
        self.geometry_params = geometry_params

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raw, latent = split_first(mlp(self.encoding(x), self.geometry_params, self.geometry_net))
        return raw + self.log_density_offset, latent

    def param_groups(self) -> list[ParamGroup]:
        networks = ParamGroup("mlp", [self.geometry_params, self.color_params], weight_decay=1e-6)
        return [*self.encoding.param_groups(), networks]

    def begin_from(self, teacher: Field, occupied: Callable[[Tensor], Tensor], generator: torch.Generator) -> list[str]:
        return self.take_color(teacher) + self.encoding.begin_from(teacher, occupied, generator)

    def schedule(self, progress: FieldProgress) -> bool:
        return self.encoding.advance(progress)

    def regularize(self, fraction: float) -> None:
        self.encoding.regularize(fraction)

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        self.encoding.resize_like(part(arrays, "encoding"))

    def branches(self) -> tuple[Branch, ...] | None:
        plans = self.encoding.plans()
        return (Branch(plans, self.geometry_params.detach(), self.geometry_net),) if plans else None


def split_first(values: Tensor) -> tuple[Tensor, Tensor]:
    """The first channel [S] and the rest [S,C-1] of [S,C]."""
    return _Split.apply(values)


class _Split(torch.autograd.Function):
    """Its derivative is written once, feature by feature; two slices would each make zeros of the full size and add
    them up afterwards."""

    @staticmethod
    def forward(ctx: Any, out: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        ctx.shape = out.shape
        return out[:, 0], out[:, 1:]

    @staticmethod
    def backward(ctx: Any, grad_first: Tensor, grad_rest: Tensor) -> Tensor:  # type: ignore[override]
        samples, channels = ctx.shape
        grad = grad_first.new_empty((channels, samples)).t()
        grad[:, 0] = grad_first
        grad[:, 1:] = grad_rest
        return grad
