"""Instant-NGP's field: a multiresolution hash encoding and two small MLPs (Müller et al. 2022, section 5.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field, FieldConfig, ParamGroup
from fieldlab.fields.registry import register
from fieldlab.ops.hash_grid import HashGridSpec, hash_encode
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp
from fieldlab.ops.render_fused import HashFieldPlan
from fieldlab.ops.spherical_harmonics import spherical_harmonics


@dataclass(frozen=True)
class HashGridConfig(FieldConfig):
    """Sizes of a hash-grid field."""

    kind: ClassVar[str] = "hashgrid"

    n_levels: int = 16
    """Resolutions from base to finest, in geometric progression."""
    n_features: int = 2
    """Values per table entry."""
    log2_hashmap_size: int = 19
    """log2 of the most entries a level may have."""
    base_resolution: int = 16
    """Cells per side of the coarsest level."""
    finest_resolution: int = 2048
    """Cells per side of the finest level."""
    width: int = 64
    """Width of both MLPs."""
    geometry_layers: int = 1
    """Hidden layers from encoding to density and latent."""
    color_layers: int = 2
    """Hidden layers from latent and direction to color."""
    latent: int = 15
    """Latent values per sample."""
    sh_degree: int = 4
    """Bands of spherical harmonics of the viewing direction."""
    appearance: int = 0
    """Values of the appearance vector, 0 for none."""

    def encoding_spec(self) -> HashGridSpec:
        """The encoding's resolutions and table layout."""
        steps = max(self.n_levels - 1, 1)
        return HashGridSpec(
            n_levels=self.n_levels,
            n_features=self.n_features,
            log2_hashmap_size=self.log2_hashmap_size,
            base_resolution=self.base_resolution,
            per_level_scale=(self.finest_resolution / self.base_resolution) ** (1.0 / steps),
        )

    def geometry_spec(self) -> MLPSpec:
        """Encoding -> raw log-density and latent."""
        return MLPSpec(
            n_in=self.n_levels * self.n_features,
            n_out=1 + self.latent,
            width=self.width,
            n_hidden=self.geometry_layers,
        )

    def color_spec(self) -> MLPSpec:
        """Latent, spherical harmonics and appearance -> color."""
        return MLPSpec(
            n_in=self.latent + self.sh_degree**2 + self.appearance,
            n_out=3,
            width=self.width,
            n_hidden=self.color_layers,
            output_activation="sigmoid",
        )

    def count(self) -> int:
        """Trainable values."""
        return self.encoding_spec().n_params + self.geometry_spec().n_params + self.color_spec().n_params

    def fitted_to(self, n_parameters: int) -> HashGridConfig:
        """The largest table that keeps the whole field within ``n_parameters``."""
        for size in range(24, 7, -1):
            candidate = replace(self, log2_hashmap_size=size)
            if candidate.count() <= n_parameters:
                return candidate
        raise ConfigError(
            "the budget is smaller than the smallest hash grid",
            field="params",
            found=n_parameters,
            expected=f"at least {replace(self, log2_hashmap_size=8).count()}",
        )

    def fitted_to_footprint(self, cells_per_side: float) -> HashGridConfig:
        """A finest level whose cells are about half a pixel wide: finer ones would only collide in the table."""
        finest = int(min(max(2 * cells_per_side, 4 * self.base_resolution), 8192))
        return replace(self, finest_resolution=finest)

    def fitted_to_device(self, device: str) -> HashGridConfig:
        """A table that stays in a processor's cache on the CPU, the paper's on CUDA."""
        return replace(self, log2_hashmap_size=19 if device == "cuda" else 17)

    def with_appearance(self, size: int) -> HashGridConfig:
        return replace(self, appearance=size)


@register
class HashGridField(Field):
    """Hash encoding -> MLP -> (log-density, latent); (latent, direction[, appearance]) -> MLP -> color."""

    kind = "hashgrid"
    config_type = HashGridConfig
    config: HashGridConfig

    def __init__(
        self, config: HashGridConfig, unit_length: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(config, unit_length)
        self.encoding = config.encoding_spec()
        self.geometry_net = config.geometry_spec()
        self.color_net = config.color_spec()
        self.log_density_offset = -float(torch.tensor(unit_length, dtype=torch.float64).log())
        table = torch.rand(self.encoding.n_params, generator=generator) * 2e-4 - 1e-4
        self.table = nn.Parameter(table)
        self.geometry_params = nn.Parameter(init_mlp(self.geometry_net, generator))
        self.color_params = nn.Parameter(init_mlp(self.color_net, generator))

    @property
    def latent_size(self) -> int:
        return self.config.latent

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = mlp(hash_encode(x, self.table, self.encoding), self.geometry_params, self.geometry_net)
        raw, latent = _Split.apply(out)
        return raw + self.log_density_offset, latent

    def color(self, latent: Tensor, x: Tensor, directions: Tensor, appearance: Tensor | None = None) -> Tensor:
        view = spherical_harmonics(directions, self.config.sh_degree)
        if self.config.appearance:
            if appearance is None:
                appearance = view.new_zeros(()).expand(view.shape[0], self.config.appearance)
            view = torch.cat((view, appearance), dim=1)
        return mlp((latent, view), self.color_params, self.color_net)

    def param_groups(self) -> list[ParamGroup]:
        return [
            ParamGroup("table", [self.table], sparse=True),
            ParamGroup("mlp", [self.geometry_params, self.color_params], weight_decay=1e-6),
        ]

    def fused_plan(self, appearance: Tensor | None = None) -> HashFieldPlan | None:
        if self.config.appearance and appearance is None:
            appearance = self.table.new_zeros(self.config.appearance)
        return HashFieldPlan(
            table=self.table.detach(),
            encoding=self.encoding,
            geometry_params=self.geometry_params.detach(),
            geometry=self.geometry_net,
            color_params=self.color_params.detach(),
            color=self.color_net,
            sh_degree=self.config.sh_degree,
            offset=self.log_density_offset,
            ceiling=self.max_log_density,
            constants=None if appearance is None else appearance.detach().contiguous(),
        )


class _Split(torch.autograd.Function):
    """First channel and the rest of [S,C], whose derivative is written once, feature by feature.

    Two slices would each make zeros of the full size and add them up afterwards.
    """

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
