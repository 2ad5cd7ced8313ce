"""NeuRBF's field (Chen et al. 2023): a hash grid for what is everywhere, radial bases where detail is.

The kernels sit where a trained field changes most: another one (a teacher, :meth:`RbfEncoding.begin_from`), or, without
one, this field itself, which trains with its grid alone for the first part and places its kernels then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field, FieldProgress, FieldSize, ParamGroup
from fieldlab.fields.encoded import EncodedConfig, EncodedField, check_budget
from fieldlab.fields.encoding import Encoding
from fieldlab.fields.rbf_placement import (
    POINTS_PER_KERNEL,
    kernel_shapes,
    occupied_points,
    place_kernels,
    radiance_weights,
    support_radii,
    unplaced,
)  # fmt: skip
from fieldlab.fields.registry import register
from fieldlab.ops.hash_grid import HashGridPlan, HashGridSpec, hash_encode
from fieldlab.ops.mlp import MLPSpec
from fieldlab.ops.rbf import RbfPlan, RbfSpec, rbf_encode
from fieldlab.ops.rbf_index import RbfIndex, kd_order, rbf_neighbors

LEAST_LOG2 = 8
LEAST_KERNELS = 64
KERNEL_SHARE = 1 / 3  # least part of a budget that goes to kernels


@dataclass(frozen=True)
class NeuRBFConfig(EncodedConfig):
    """Sizes of grid and kernels. The defaults are for radiance."""

    kind: ClassVar[str] = "neurbf"

    n_kernels: int = 20000
    """Radial basis functions."""
    n_rbf_features: int = 16
    """Values per kernel."""
    neighbors: int = 5
    """Kernels that are mixed at a point: the nearest ones, at most 16."""
    kernel: str = "ivq"
    """ivq, imq, gaussian, markov or tent, see fieldlab/ops/rbf.py."""
    shape: str = "full"
    """What a kernel adapts: isotropic (a width), axes (a width per axis) or full (a covariance)."""
    normalized: bool = False
    """Divide kernels by their sum over the neighbors."""
    compact: bool = False
    """Let kernels end before they stop being among the nearest, so that the features have a continuous gradient."""
    lowest_frequency: float = 0.0
    """Lowest frequency of the sines that kernels go through; 0 for no sines."""
    highest_frequency: float = 0.0
    """Highest frequency; those of the feature channels are spaced evenly in logarithm."""
    lowest_sine: float = 0.0
    """Lowest frequency of the sines in the first hidden layer that reads an image or a distance; 0 for no sines."""
    highest_sine: float = 0.0
    """Highest frequency of these."""
    feature_init: float = 1e-6
    """Values per kernel start uniform in plus and minus this."""
    feature_rate: float = 2.0
    """Learning rate of these relative to the grid's."""
    overlap: float = 0.3
    """What covariances of clusters are divided by (alpha of the paper)."""
    least_width: float = 3e-4
    """Least standard deviation of a kernel; the unit cube's side is 1."""
    place_at: float = 0.15
    """Fraction of training after which the field places its own kernels, unless a teacher has."""
    n_levels: int = 8
    """Levels of the hash grid, in geometric progression."""
    n_features: int = 2
    """Values per table entry."""
    log2_hashmap_size: int = 17
    """log2 of the most entries a level may have."""
    base_resolution: int = 16
    """Cells per side of the coarsest level."""
    finest_resolution: int = 1024
    """Cells per side of the finest level."""

    def __post_init__(self) -> None:
        self.rbf_spec(3)
        _require(1 <= self.neighbors <= 16, "neighbors", self.neighbors, "1 to 16")
        _require(self.n_kernels >= 1, "n_kernels", self.n_kernels, "1 or more")
        _require(self.n_rbf_features >= 1, "n_rbf_features", self.n_rbf_features, "1 or more")
        _require(0 < self.overlap <= 1, "overlap", self.overlap, "above 0, at most 1")
        _require(0 < self.least_width < 0.1, "least_width", self.least_width, "above 0, below 0.1")
        _require(0 <= self.place_at <= 1, "place_at", self.place_at, "0 to 1")
        limits = (self.lowest_frequency, self.highest_frequency)
        _require(limits == (0, 0) or 0 < limits[0] <= limits[1], "lowest_frequency, highest_frequency", limits,
                 "both 0 (no sines), or both positive and in this order")  # fmt: skip
        _require(not (self.compact and self.normalized), "compact", self.compact,
                 "false with normalized kernels: where all of them end there is nothing to divide by")  # fmt: skip

    @property
    def n_encoded(self) -> int:
        return self.n_levels * self.n_features + self.n_rbf_features

    def for_image(self, side: int) -> NeuRBFConfig:
        """The paper's settings for images."""
        return replace(
            self, neighbors=4, normalized=True, lowest_frequency=2.0**-3, highest_frequency=2.0**12, lowest_sine=10.0,
            highest_sine=100.0, feature_init=1e-4, feature_rate=1.0, overlap=0.5,
            least_width=1 / (200 * side), n_levels=2, log2_hashmap_size=24,
            finest_resolution=max(side // 2, self.base_resolution),
        )  # fmt: skip

    def for_distance(self) -> NeuRBFConfig:
        """The paper's settings for distances, but for the sines in the decoder, with which thousands of steps are not
        enough, and for the finest level, 2048 there: cells near a surface are too many for a table at that size."""
        return replace(
            self, n_rbf_features=16, neighbors=8, kernel="tent", shape="isotropic", normalized=True,
            lowest_frequency=1.0, highest_frequency=8.0, feature_init=1e-4, feature_rate=1.0, overlap=0.5,
            n_levels=16, n_features=1, log2_hashmap_size=15, finest_resolution=512,
        )  # fmt: skip

    def decoder(self, n_in: int, n_out: int) -> MLPSpec:
        sine = (self.lowest_sine, self.highest_sine) if self.highest_sine else None
        return MLPSpec(n_in, n_out, 64, 2, bias=True, sine=sine)

    def rbf_spec(self, dims: int) -> RbfSpec:
        """The kernels."""
        return RbfSpec(dims, self.kernel, self.shape, self.normalized)

    def grid_spec(self, dims: int) -> HashGridSpec:
        """The hash grid."""
        growth = HashGridSpec.growth_to(self.base_resolution, self.finest_resolution, self.n_levels)
        return HashGridSpec(
            self.n_levels, self.n_features, self.log2_hashmap_size, self.base_resolution, growth, dims=dims
        )

    def build_encoding(self, dims: int, generator: torch.Generator | None = None) -> RbfEncoding:
        return RbfEncoding(self, dims, generator)

    def encoding_size(self, dims: int) -> FieldSize:
        trainable = self.grid_spec(dims).n_params + self.n_kernels * self.n_rbf_features
        fixed = self.n_kernels * (dims + self.rbf_spec(dims).n_shape + int(self.compact))
        return FieldSize.of_floats(trainable, fixed + sum(RbfIndex.shapes(self.n_kernels, dims)))

    def smallest_encoding(self, dims: int) -> int:
        return replace(self, log2_hashmap_size=LEAST_LOG2, n_kernels=LEAST_KERNELS).encoding_size(dims).trainable

    def encoding_fitted_to(self, n_parameters: int, dims: int) -> NeuRBFConfig:
        """The largest table that leaves the kernels a third of ``n_parameters``, and as many kernels as then fit."""
        check_budget(self.kind, n_parameters, self.smallest_encoding(dims))
        for size in range(24, LEAST_LOG2 - 1, -1):
            config = replace(self, log2_hashmap_size=size)
            table = config.grid_spec(dims).n_params
            if table <= n_parameters * (1 - KERNEL_SHARE) or size == LEAST_LOG2:
                break
        return replace(config, n_kernels=(n_parameters - table) // self.n_rbf_features)

    def fitted_to_footprint(self, cells_per_side: float) -> NeuRBFConfig:
        """A finest level whose cells are about half a pixel wide, as in a plain hash grid."""
        finest = int(min(max(2 * cells_per_side, 4 * self.base_resolution), 8192))
        return replace(self, finest_resolution=finest)

    def fitted_to_device(self, device: str) -> NeuRBFConfig:
        """More of both on CUDA."""
        return replace(self, log2_hashmap_size=19, n_kernels=100_000) if device == "cuda" else self


def _require(condition: bool, name: str, found: object, expected: str) -> None:
    if not condition:
        raise ConfigError("a setting of a neurbf field is out of range", field=name, found=found, expected=expected)


class RbfEncoding(Encoding):
    """Features of a hash grid and of radial bases, side by side.

    Kernels that are not placed yet lie where no query finds them and add nothing. Centers, shapes and index are fixed
    once placed (:meth:`place`).

    Args:
        config: sizes.
        dims: 2 or 3.
        generator: CPU random numbers for the initial values, U(-1e-4, 1e-4) of the grid.
    """

    centers: Tensor
    shapes: Tensor
    support: Tensor | None
    frequencies: Tensor | None
    index_nodes: Tensor
    index_order: Tensor

    def __init__(self, config: NeuRBFConfig, dims: int, generator: torch.Generator | None = None) -> None:
        super().__init__(dims)
        self.config, self.grid, self.spec = config, config.grid_spec(dims), config.rbf_spec(dims)
        n, features = config.n_kernels, config.n_rbf_features
        self.table = nn.Parameter(torch.rand(self.grid.n_params, generator=generator) * 2e-4 - 1e-4)
        self.features = nn.Parameter((torch.rand(n, features, generator=generator) * 2 - 1) * config.feature_init)
        self.register_buffer("centers", unplaced(n, dims))
        self.register_buffer("shapes", torch.ones(n, self.spec.n_shape))
        self.register_buffer("support", torch.ones(n) if config.compact else None)
        index = RbfIndex.build(self.centers)
        self.register_buffer("index_nodes", index.nodes)
        self.register_buffer("index_order", index.order)
        self.register_buffer("frequencies", _frequencies(config), persistent=False)

    @property
    def n_out(self) -> int:
        return self.config.n_encoded

    @property
    def index(self) -> RbfIndex:
        """Of the centers."""
        return RbfIndex(self.index_nodes, self.index_order, len(self.centers), self.dims)

    @property
    def n_placed(self) -> int:
        """Kernels that have a place."""
        return int((self.index_order >= 0).sum())

    def forward(self, x: Tensor, neighbors: Tensor | None = None) -> Tensor:
        """Features [S,n_out] at x [S,dims]; ``neighbors`` int32 [S,K], where they are known from :meth:`nearest`."""
        grid = hash_encode(x, self.table, self.grid)
        return torch.cat((grid.t(), self.rbf(x, neighbors).t())).t()

    def rbf(self, x: Tensor, neighbors: Tensor | None = None) -> Tensor:
        """The kernels' features [S,n_rbf_features] alone."""
        if neighbors is None:
            neighbors = self.nearest(x)
        return rbf_encode(
            x, neighbors, self.centers, self.shapes, self.features, self.spec, frequencies=self.frequencies,
            support=self.support,
        )  # fmt: skip

    def nearest(self, x: Tensor) -> Tensor:
        """The kernels int32 [S,K] that x [S,dims] sees, for points that are encoded again and again."""
        return rbf_neighbors(x, self.index, self.config.neighbors)

    @torch.no_grad()
    def place(self, points: Tensor, weights: Tensor, generator: torch.Generator) -> None:
        """Give the kernels centers and shapes by weighted k-means. With fewer points than kernels some stay unplaced.

        Args:
            points: float32 [P,dims] of the unit square or cube.
            weights: [P], how much detail there is at each.
            generator: CPU random numbers.

        Raises:
            ConfigError: no point has a positive weight.
        """
        centers, covariances = place_kernels(points, weights, len(self.centers), generator)
        order = torch.from_numpy(kd_order(centers.cpu().numpy())).to(centers.device)  # neighbors side by side in memory
        centers, covariances = centers[order], covariances[order]
        n = len(centers)
        self.centers.copy_(unplaced(len(self.centers), self.dims))
        self.centers[:n] = centers
        self.shapes[:n] = kernel_shapes(covariances, self.spec, self.config.overlap, self.config.least_width)
        if self.support is not None:
            self.support[:n] = support_radii(centers, self.config.neighbors).square().reciprocal()
        index = RbfIndex.build(self.centers)
        self.index_nodes.copy_(index.nodes)
        self.index_order.copy_(index.order)

    def begin_from(self, teacher: Field, occupied: Callable[[Tensor], Tensor], generator: torch.Generator) -> bool:
        """Place the kernels where ``teacher`` is opaque and its latent changes.

        Raises:
            ConfigError: nothing is occupied, or the teacher is empty or the same everywhere.
        """
        points = occupied_points(occupied, POINTS_PER_KERNEL * self.config.n_kernels, generator, self.centers.device)
        if len(points) == 0:
            raise ConfigError("kernels cannot be placed where nothing is occupied", field="occupied", found=0)
        self.place(points, radiance_weights(teacher, points), generator)
        return True

    def advance(self, progress: FieldProgress) -> bool:
        if progress.field is not None and progress.fraction >= self.config.place_at and self.n_placed == 0:
            self.begin_from(progress.field, progress.occupied, progress.generator)
        return False

    def param_groups(self) -> list[ParamGroup]:
        return [
            ParamGroup("table", [self.table], sparse=True),
            ParamGroup("rbf", [self.features], lr_scale=self.config.feature_rate, sparse=True),
        ]

    def plans(self) -> tuple[HashGridPlan, RbfPlan]:
        """What the fused renderer needs, grid and kernels."""
        kernels = RbfPlan(
            self.centers, self.shapes, self.features.detach(), self.spec, self.index, self.config.neighbors,
            self.frequencies, self.support,
        )  # fmt: skip
        return HashGridPlan(self.table.detach(), self.grid), kernels


def _frequencies(config: NeuRBFConfig) -> Tensor | None:
    """m_c of every feature channel [F], or None without sines."""
    if not config.highest_frequency:
        return None
    low, high = math.log2(config.lowest_frequency), math.log2(config.highest_frequency)
    return torch.logspace(low, high, config.n_rbf_features, base=2.0)


@register
class NeuRBFField(EncodedField):
    """A field on an :class:`RbfEncoding`."""

    kind = "neurbf"
    config_type = NeuRBFConfig
    config: NeuRBFConfig
    encoding: RbfEncoding
