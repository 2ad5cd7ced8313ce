"""Radial basis functions as part of a field: their settings, where they lie, what they give (Chen et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError, require
from fieldlab.fields.encoded import LatentConfig
from fieldlab.fields.rbf_placement import (
    POINTS_PER_KERNEL,
    kernel_shapes,
    occupied_points,
    place_kernels,
    radiance_weights,
    support_radii,
    unplaced,
)
from fieldlab.fields.training import FieldProgress, ParamGroup, Teacher
from fieldlab.ops.rbf import RbfPlan, RbfSpec, rbf_encode
from fieldlab.ops.rbf_index import RbfIndex, kd_order, rbf_neighbors


@dataclass(frozen=True)
class KernelConfig(LatentConfig):
    """Number and kind of kernels. The defaults are for radiance."""

    n_kernels: int = 40_000
    """Radial basis functions."""
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
    feature_init: float = 1e-6
    """Values per kernel start uniform in plus and minus this."""
    feature_rate: float = 1.0
    """Learning rate of these relative to the grid's."""
    overlap: float = 0.3
    """What covariances of clusters are divided by (alpha of the paper)."""
    least_width: float = 3e-4
    """Least standard deviation of a kernel; the unit cube's side is 1."""
    place_at: float = 0.15
    """Fraction of training after which the field places its own kernels, unless a teacher has."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rbf_spec(3)
        require(1 <= self.neighbors <= 16, "field.neighbors", self.neighbors, "1 to 16")
        require(self.n_kernels >= 1, "field.n_kernels", self.n_kernels, "1 or more")
        require(0 < self.overlap <= 1, "field.overlap", self.overlap, "above 0, at most 1")
        require(0 < self.least_width < 0.1, "field.least_width", self.least_width, "above 0, below 0.1")
        require(0 <= self.place_at <= 1, "field.place_at", self.place_at, "0 to 1")
        limits = (self.lowest_frequency, self.highest_frequency)
        require(limits == (0, 0) or 0 < limits[0] <= limits[1], "field.lowest_frequency, highest_frequency", limits,
                 "both 0 (no sines), or both positive and in this order")  # fmt: skip
        require(not (self.compact and self.normalized), "field.compact", self.compact,
                 "false with normalized kernels: where all of them end there is nothing to divide by")  # fmt: skip

    def rbf_spec(self, dims: int) -> RbfSpec:
        """The kernels as the operation takes them."""
        return RbfSpec(dims, self.kernel, self.shape, self.normalized)

    def fixed_kernel_values(self, dims: int) -> int:
        """Values of centers, shapes and index."""
        own = dims + self.rbf_spec(dims).n_shape + int(self.compact)
        return self.n_kernels * own + sum(RbfIndex.shapes(self.n_kernels, dims))


class Kernels(nn.Module):
    """Radial bases with trained features. Centers, shapes and index are fixed once placed (:meth:`place`); before that
    they lie where no query finds them and add nothing.

    Args:
        config: number and kind.
        dims: 2 or 3.
        channels: features of each.
        generator: CPU random numbers for the initial features.
    """

    centers: Tensor
    shapes: Tensor
    support: Tensor | None
    frequencies: Tensor | None
    index_nodes: Tensor
    index_order: Tensor

    def __init__(
        self, config: KernelConfig, dims: int, channels: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config, self.dims, self.spec = config, dims, config.rbf_spec(dims)
        n = config.n_kernels
        self.features = nn.Parameter((torch.rand(n, channels, generator=generator) * 2 - 1) * config.feature_init)
        self.register_buffer("centers", unplaced(n, dims))
        self.register_buffer("shapes", torch.ones(n, self.spec.n_shape))
        self.register_buffer("support", torch.ones(n) if config.compact else None)
        index = RbfIndex.build(self.centers)
        self.register_buffer("index_nodes", index.nodes)
        self.register_buffer("index_order", index.order)
        self.register_buffer("frequencies", _frequencies(config, channels), persistent=False)

    @property
    def index(self) -> RbfIndex:
        """Of the centers."""
        return RbfIndex(self.index_nodes, self.index_order, len(self.centers), self.dims)

    @property
    def n_placed(self) -> int:
        """Kernels that have a place."""
        return int((self.index_order >= 0).sum())

    def forward(self, x: Tensor, neighbors: Tensor | None = None) -> Tensor:
        """Features [S,channels] at x [S,dims]; ``neighbors`` int32 [S,K], where known from :meth:`nearest`."""
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

    def place_by(self, teacher: Teacher, occupied: Callable[[Tensor], Tensor], generator: torch.Generator) -> list[str]:
        """Place the kernels where ``teacher`` is opaque and its latent changes; says so.

        Raises:
            ConfigError: nothing is occupied, or the teacher is empty or the same everywhere.
        """
        points = occupied_points(occupied, POINTS_PER_KERNEL * self.config.n_kernels, generator, self.centers.device)
        if len(points) == 0:
            raise ConfigError("kernels cannot be placed where nothing is occupied", field="occupied", found=0)
        self.place(points, radiance_weights(teacher, points), generator)
        return [f"{self.n_placed} kernels placed where it changes most"]

    def place_in_time(self, progress: FieldProgress) -> None:
        """Let the field that trains place its own kernels when it is time and no teacher has."""
        if progress.field is not None and progress.fraction >= self.config.place_at and self.n_placed == 0:
            self.place_by(progress.field, progress.occupied, progress.generator)

    def param_group(self) -> ParamGroup:
        """The features."""
        return ParamGroup("kernels", [self.features], lr_scale=self.config.feature_rate, sparse=True)

    def plan(self, ahead: int = 0) -> RbfPlan:
        """What the fused renderer needs; ``ahead`` channels of zeros come before the kernels' own."""
        features = nn.functional.pad(self.features.detach(), (ahead, 0))
        frequencies = None if self.frequencies is None else nn.functional.pad(self.frequencies, (ahead, 0), value=1.0)
        return RbfPlan(
            self.centers, self.shapes, features, self.spec, self.index, self.config.neighbors, frequencies, self.support
        )


def _frequencies(config: KernelConfig, channels: int) -> Tensor | None:
    """m_c of every feature channel [channels], or None without sines."""
    if not config.highest_frequency:
        return None
    low, high = math.log2(config.lowest_frequency), math.log2(config.highest_frequency)
    return torch.logspace(low, high, channels, base=2.0)
