"""NeuRBF (Chen et al. 2023): a grid for what is everywhere, radial bases where detail is.

For radiance the grid is a field of low-rank tensors, which alone makes density, and the kernels add to its latent. The
kernels sit where a trained field changes most: another one (a teacher, ``begin_from``), or, without one, this field
itself, which trains with its grid alone for the first part and places its kernels then. For images and
distances the grid is a hash table, whose features stand beside the kernels'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field, FieldConfig, FieldSize, check_budget
from fieldlab.fields.encoded import LatentConfig, LatentField
from fieldlab.fields.encoding import Encoding, part
from fieldlab.fields.hashgrid import LEAST_LOG2, MOST_LOG2, HashGridConfig
from fieldlab.fields.kernels import KernelConfig, Kernels
from fieldlab.fields.registry import build_field
from fieldlab.fields.training import FieldProgress, ParamGroup, Teacher
from fieldlab.fields.vm import VMConfig
from fieldlab.ops.field_plan import Branch
from fieldlab.ops.hash_grid import HashGridPlan, hash_encode
from fieldlab.ops.mlp import MLPSpec
from fieldlab.ops.rbf import RbfPlan

LEAST_KERNELS = 64
KERNEL_SHARE = 1 / 5  # of a budget for radiance
SIGNAL_SHARE = 1 / 3  # least part of a budget for images and distances


@dataclass(frozen=True)
class NeuRBFConfig(KernelConfig):
    """Sizes of grids and kernels."""

    kind: ClassVar[str] = "neurbf"
    encodes: ClassVar[tuple[int, ...]] = (2, 3)
    recipe: ClassVar[Mapping[str, Any]] = VMConfig.recipe

    grid: LatentConfig = VMConfig()
    """With radiance, the field whose latent the kernels add to."""
    table: HashGridConfig = HashGridConfig(n_levels=8, log2_hashmap_size=17, finest_resolution=1024)
    """With images and distances, the hash grid beside the kernels."""
    n_rbf_features: int = 16
    """With images and distances, values per kernel; a radiance field's have as many as the latent."""
    lowest_sine: float = 0.0
    """Lowest frequency of the sines in the first hidden layer that reads an image or a distance; 0 for no sines."""
    highest_sine: float = 0.0
    """Highest frequency of these."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.grid, LatentConfig) or self.grid.latent != self.latent or self.grid.appearance:
            raise ConfigError("the grid of a neurbf field has its latent and no appearance", field="field.grid",
                              found=self.grid, expected=f"latent {self.latent}, appearance 0")  # fmt: skip
        if self.n_rbf_features < 1:
            raise ConfigError("kernels have features", field="field.n_rbf_features", found=self.n_rbf_features)

    def size(self) -> FieldSize:
        grid, color = self.grid.size(), self.color_spec().n_params
        trainable = grid.trainable - self.grid.color_spec().n_params + color + self.n_kernels * self.latent
        kernels = FieldSize.of_floats(trainable - grid.trainable, self.fixed_kernel_values(3))
        return FieldSize(trainable, grid.fixed + kernels.fixed, grid.n_bytes + kernels.n_bytes)

    def least_size(self) -> int:
        grid = self.grid.least_size() - self.grid.color_spec().n_params
        return grid + self.color_spec().n_params + LEAST_KERNELS * self.latent

    def fitted_to(self, n_parameters: int) -> NeuRBFConfig:
        """A fifth for the kernels, or what the smallest grid leaves, and the rest for the grid."""
        check_budget(self.kind, n_parameters, self.least_size())
        most = LEAST_KERNELS + (n_parameters - self.least_size()) // self.latent
        kernels = min(max(int(n_parameters * KERNEL_SHARE) // self.latent, LEAST_KERNELS), most)
        others = self.color_spec().n_params - self.grid.color_spec().n_params + kernels * self.latent
        return self._with_grid(self.grid.fitted_to(n_parameters - others), kernels)

    def fitted_to_footprint(self, cells_per_side: float) -> NeuRBFConfig:
        return self._with_grid(self.grid.fitted_to_footprint(cells_per_side), self.n_kernels)

    def fitted_to_device(self, device: str) -> NeuRBFConfig:
        """More kernels on CUDA."""
        kernels = 100_000 if device == "cuda" else self.n_kernels
        return self._with_grid(self.grid.fitted_to_device(device), kernels)

    def _with_grid(self, grid: FieldConfig, n_kernels: int) -> NeuRBFConfig:
        return replace(self, grid=grid, n_kernels=n_kernels)  # type: ignore[arg-type]

    @property
    def n_encoded(self) -> int:
        return self.table.n_encoded + self.n_rbf_features

    def build_encoding(self, dims: int, generator: torch.Generator | None = None) -> RbfEncoding:
        return RbfEncoding(self, dims, generator)

    def encoding_size(self, dims: int) -> FieldSize:
        trainable = self.table.encoding_spec(dims).n_params + self.n_kernels * self.n_rbf_features
        return FieldSize.of_floats(trainable, self.fixed_kernel_values(dims))

    def least_encoding_size(self, dims: int) -> int:
        return replace(self, table=self._table(LEAST_LOG2), n_kernels=LEAST_KERNELS).encoding_size(dims).trainable

    def encoding_fitted_to(self, n_parameters: int, dims: int) -> NeuRBFConfig:
        """The largest table that leaves the kernels a third of ``n_parameters``, and as many kernels as then fit."""
        check_budget(self.kind, n_parameters, self.least_encoding_size(dims))
        sizes = {log2: self._table(log2).encoding_spec(dims).n_params for log2 in range(LEAST_LOG2, MOST_LOG2 + 1)}
        fitting = [log2 for log2, size in sizes.items() if size <= n_parameters * (1 - SIGNAL_SHARE)]
        log2 = max(fitting, default=LEAST_LOG2)
        return replace(self, table=self._table(log2), n_kernels=(n_parameters - sizes[log2]) // self.n_rbf_features)

    def _table(self, log2: int) -> HashGridConfig:
        return replace(self.table, log2_hashmap_size=log2)

    def for_image(self, side: int) -> NeuRBFConfig:
        """The paper's settings for images."""
        return replace(
            self, neighbors=4, normalized=True, lowest_frequency=2.0**-3, highest_frequency=2.0**12, lowest_sine=10.0,
            highest_sine=100.0, feature_init=1e-4, overlap=0.5, least_width=1 / (200 * side), n_kernels=20_000,
            table=replace(
                self.table, n_levels=2, log2_hashmap_size=MOST_LOG2,
                finest_resolution=max(side // 2, self.table.base_resolution),
            ),
        )  # fmt: skip

    def for_distance(self) -> NeuRBFConfig:
        """The paper's settings for distances, but without sines, with which a few thousand steps are not enough and
        signs near the surface stay unsure, and with a finest level of 512 for its 2048: cells near a surface are too
        many for a table at that size."""
        return replace(
            self, neighbors=8, kernel="tent", shape="isotropic", normalized=True, feature_init=1e-4, feature_rate=0.3,
            overlap=0.5, n_kernels=20_000,
            table=replace(self.table, n_levels=16, n_features=1, log2_hashmap_size=15, finest_resolution=512),
        )  # fmt: skip

    def decoder(self, n_in: int, n_out: int) -> MLPSpec:
        sine = (self.lowest_sine, self.highest_sine) if self.highest_sine else None
        return MLPSpec(n_in, n_out, 64, 2, bias=True, sine=sine)


class RbfEncoding(Encoding):
    """Features of a hash grid and of kernels, side by side.

    Args:
        config: sizes.
        dims: 2 or 3.
        generator: CPU random numbers for the initial values, U(-1e-4, 1e-4) of the grid.
    """

    def __init__(self, config: NeuRBFConfig, dims: int, generator: torch.Generator | None = None) -> None:
        super().__init__(dims)
        self.grid = config.table.encoding_spec(dims)
        self.table = nn.Parameter(torch.rand(self.grid.n_params, generator=generator) * 2e-4 - 1e-4)
        self.kernels = Kernels(config, dims, config.n_rbf_features, generator)

    @property
    def n_out(self) -> int:
        return self.grid.n_out + self.kernels.features.shape[1]

    def forward(self, x: Tensor, neighbors: Tensor | None = None) -> Tensor:
        """Features [S,n_out] at x [S,dims]; ``neighbors`` int32 [S,K], where they are known from :meth:`nearest`."""
        grid = hash_encode(x, self.table, self.grid)
        return torch.cat((grid.t(), self.kernels(x, neighbors).t())).t()

    def nearest(self, x: Tensor) -> Tensor:
        """The kernels int32 [S,K] that x [S,dims] sees."""
        return self.kernels.nearest(x)

    def place(self, points: Tensor, weights: Tensor, generator: torch.Generator) -> None:
        """Place the kernels, see :meth:`Kernels.place`."""
        self.kernels.place(points, weights, generator)

    def begin_from(
        self, teacher: Teacher, occupied: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> list[str]:
        return self.kernels.place_by(teacher, occupied, generator)

    def advance(self, progress: FieldProgress) -> bool:
        self.kernels.place_in_time(progress)
        return False

    def param_groups(self) -> list[ParamGroup]:
        return [ParamGroup("table", [self.table], sparse=True), self.kernels.param_group()]

    def plans(self) -> tuple[HashGridPlan, RbfPlan]:
        return HashGridPlan(self.table.detach(), self.grid), self.kernels.plan()


class NeuRBFField(LatentField):
    """A grid's field, with kernels added to its latent."""

    kind = "neurbf"
    config_type = NeuRBFConfig
    config: NeuRBFConfig

    def __init__(self, config: NeuRBFConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        grid = build_field(config.grid, unit_length, generator)
        kernels = Kernels(config, 3, config.latent, generator)
        super().__init__(config, unit_length, generator)
        assert isinstance(grid, LatentField)
        grid.without_color()
        self.grid, self.kernels = grid, kernels

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, latent = self.grid.geometry(x)
        return log_density, latent + self.kernels(x)

    def density(self, x: Tensor) -> Tensor:
        return self.grid.density(x)

    def param_groups(self) -> list[ParamGroup]:
        grid = self.grid.param_groups()
        rate = next(group.lr_scale for group in grid if group.name == "mlp")
        own = [self.kernels.param_group(), ParamGroup("mlp", [self.color_params], lr_scale=rate, weight_decay=1e-6)]
        return [*(replace(group, name=f"grid.{group.name}") for group in grid), *own]

    def begin_from(self, teacher: Field, occupied: Callable[[Tensor], Tensor], generator: torch.Generator) -> list[str]:
        done = self.take_color(teacher) + self.grid.begin_from(teacher, occupied, generator)
        return done + self.kernels.place_by(teacher, occupied, generator)

    def schedule(self, progress: FieldProgress) -> bool:
        changed = self.grid.schedule(progress)
        self.kernels.place_in_time(progress)
        return changed

    def regularize(self, fraction: float) -> None:
        self.grid.regularize(fraction)

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        self.grid.resize_like(part(arrays, "grid"))

    def branches(self) -> tuple[Branch, ...] | None:
        grid = self.grid.branches()
        return None if grid is None else (*grid, Branch((self.kernels.plan(ahead=1),)))
