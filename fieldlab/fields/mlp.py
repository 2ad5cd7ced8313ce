"""NeRF's field: one large perceptron on the frequencies of a position (Mildenhall et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldSize, check_budget
from fieldlab.fields.encoded import EncodedConfig, EncodedField
from fieldlab.fields.encoding import Encoding
from fieldlab.fields.training import ParamGroup
from fieldlab.ops.field_plan import EncoderPlan
from fieldlab.ops.frequency import FrequencyPlan, frequency_encode
from fieldlab.ops.mlp import MLPSpec

WIDTHS = range(16, 257, 16)
MOST_LAYERS = 8


@dataclass(frozen=True)
class MLPConfig(EncodedConfig):
    """Sizes of a perceptron field."""

    kind: ClassVar[str] = "mlp"
    encodes: ClassVar[tuple[int, ...]] = (2, 3)
    recipe: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 2e-3, "samples_per_step": 1 << 12, "warmup_steps": 100,
    }  # fmt: skip

    distill_recipe: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 3e-3, "samples_per_step": 1 << 10, "warmup_steps": 20,
    }  # fmt: skip

    width: int = 256
    """Width of the perceptron from frequencies to density and latent."""
    geometry_layers: int = 8
    """Its hidden layers."""
    skip: int = 4
    """Which of them sees the frequencies again, counted from 0, which means none."""
    octaves: int = 10
    """Sines and cosines of pi 2^k times the position in [-1,1], for k below this."""
    color_width: int = 64
    """Width of the perceptron from latent and direction to color."""
    hierarchical: bool = True
    """Train a coarse network too, which says where on a ray the fine one is evaluated; without it, occupancy does."""
    coarse_width: int = 64
    """Width of the coarse network's first perceptron."""
    coarse_layers: int = 4
    """Its hidden layers."""
    fine_samples: int = 24
    """Samples per ray that the fine network is trained on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.octaves < 1 or self.octaves > 16:
            raise ConfigError("a field has 1 to 16 octaves of frequencies", field="field.octaves", found=self.octaves)
        if self.fine_samples < 2:
            raise ConfigError(
                "a ray needs some fine samples", field="field.fine_samples", found=self.fine_samples,
                expected="2 or more",
            )  # fmt: skip
        self.geometry_spec()  # which checks sizes

    @property
    def n_encoded(self) -> int:
        return 3 * (1 + 2 * self.octaves)

    def geometry_spec(self) -> MLPSpec:
        return MLPSpec(self.n_encoded, 1 + self.latent, self.width, self.geometry_layers, bias=True, skip=self.skip)

    def color_spec(self) -> MLPSpec:
        return replace(super().color_spec(), width=self.color_width)

    def coarse(self) -> MLPConfig:
        """The coarse network's configuration."""
        layers = self.coarse_layers
        return replace(
            self, width=self.coarse_width, geometry_layers=layers, skip=layers // 2 if self.skip else 0,
            color_layers=1, hierarchical=False,
        )  # fmt: skip

    def build_encoding(self, dims: int, generator: torch.Generator | None = None) -> Encoding:
        return FrequencyEncoding(dims, self.octaves)

    def least_encoding_size(self, dims: int) -> int:
        return 0

    def size(self) -> FieldSize:
        return FieldSize.of_floats(self.network_size() + (self.coarse().network_size() if self.hierarchical else 0))

    def decoder(self, n_in: int, n_out: int) -> MLPSpec:
        """The same perceptron as of a radiance field: the frequencies hold nothing themselves."""
        return MLPSpec(n_in, n_out, self.width, self.geometry_layers, bias=True, skip=self.skip)

    def as_part(self) -> MLPConfig:
        """Without a coarse network: parts are evaluated where the whole is."""
        return replace(self, hierarchical=False)

    def least_size(self) -> int:
        return self._resized(WIDTHS[0], 1).size().trainable

    def encoding_fitted_to(self, n_parameters: int, dims: int) -> MLPConfig:
        """The same: frequencies hold nothing."""
        return self

    def fitted_to(self, n_parameters: int) -> MLPConfig:
        """The deepest, then widest perceptron within ``n_parameters``; the coarse one is no larger."""
        return self._largest(n_parameters, lambda config: config.size().trainable)

    def signal_fitted_to(self, n_parameters: int, dims: int, n_out: int) -> MLPConfig:
        n_in = self.build_encoding(dims).n_out
        return self._largest(n_parameters, lambda config: config.decoder(n_in, n_out).n_params)

    def _largest(self, n_parameters: int, size: Callable[[MLPConfig], int]) -> MLPConfig:
        check_budget(self.kind, n_parameters, size(self._resized(WIDTHS[0], 1)))
        layers = range(min(self.geometry_layers, MOST_LAYERS), 0, -1)
        sizes = (self._resized(width, depth) for depth in layers for width in reversed(WIDTHS))
        return next(config for config in sizes if size(config) <= n_parameters)

    def _resized(self, width: int, layers: int) -> MLPConfig:
        return replace(
            self, width=width, geometry_layers=layers, skip=min(self.skip, layers // 2),
            color_width=min(self.color_width, width), coarse_width=min(self.coarse_width, width),
            coarse_layers=min(self.coarse_layers, layers),
        )  # fmt: skip


class FrequencyEncoding(Encoding):
    """Positions in [-1,1] and sines and cosines of them (Mildenhall et al. 2020, eq. 4); nothing in it is trained.

    Args:
        dims: 2 or 3.
        octaves: the frequencies are pi 2^k for k below this.
    """

    def __init__(self, dims: int, octaves: int) -> None:
        super().__init__(dims)
        self.octaves = octaves

    @property
    def n_out(self) -> int:
        return self.dims * (1 + 2 * self.octaves)

    def forward(self, x: Tensor) -> Tensor:
        return frequency_encode(2 * x.clamp(0, 1) - 1, self.octaves, include_input=True)

    def plans(self) -> tuple[EncoderPlan, ...]:
        return (FrequencyPlan(self.octaves),) if self.dims == 3 else ()


class MLPField(EncodedField):
    """A field on a :class:`FrequencyEncoding`, with another, coarse, one beside it where samples are hierarchical."""

    kind = "mlp"
    config_type = MLPConfig
    config: MLPConfig

    def __init__(self, config: MLPConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        super().__init__(config, unit_length, generator)
        self.coarse = MLPField(config.coarse(), unit_length, generator) if config.hierarchical else None
        self.fine_samples = config.fine_samples

    def param_groups(self) -> list[ParamGroup]:
        coarse = [] if self.coarse is None else self.coarse.param_groups()
        return super().param_groups() + [replace(group, name=f"coarse_{group.name}") for group in coarse]
