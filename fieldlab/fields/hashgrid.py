"""Instant-NGP's field: a multiresolution hash encoding and two small perceptrons (Müller et al. 2022, section 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fieldlab.errors import require
from fieldlab.fields.base import FieldSize, check_budget
from fieldlab.fields.encoded import EncodedConfig, EncodedField
from fieldlab.fields.encoding import Encoding
from fieldlab.fields.training import ParamGroup
from fieldlab.ops.hash_grid import HashGridPlan, HashGridSpec, hash_encode

LEAST_LOG2 = 8
MOST_LOG2 = 24
LEAST_LEVELS = 8


@dataclass(frozen=True)
class HashGridConfig(EncodedConfig):
    """Sizes of a hash-grid field."""

    kind: ClassVar[str] = "hashgrid"
    recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 2e-2}
    distortion: ClassVar[float] = 0.03
    encodes: ClassVar[tuple[int, ...]] = (2, 3)

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

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = 1 <= self.base_resolution <= self.finest_resolution
        require(fits, "field.base_resolution, field.finest_resolution", (self.base_resolution, self.finest_resolution),
                "1 or more, in this order")  # fmt: skip
        self.encoding_spec(3)  # which checks the others
        self.geometry_spec()

    @property
    def n_encoded(self) -> int:
        return self.n_levels * self.n_features

    def encoding_spec(self, dims: int = 3) -> HashGridSpec:
        """The encoding's resolutions and table layout."""
        return HashGridSpec(
            n_levels=self.n_levels,
            n_features=self.n_features,
            log2_hashmap_size=self.log2_hashmap_size,
            base_resolution=self.base_resolution,
            per_level_scale=HashGridSpec.growth_to(self.base_resolution, self.finest_resolution, self.n_levels),
            dims=dims,
        )

    def build_encoding(self, dims: int, generator: torch.Generator | None = None) -> Encoding:
        return HashGridEncoding(self.encoding_spec(dims), generator)

    def encoding_size(self, dims: int) -> FieldSize:
        return FieldSize.of_floats(self.encoding_spec(dims).n_params)

    def least_encoding_size(self, dims: int) -> int:
        least = replace(self, log2_hashmap_size=LEAST_LOG2, n_levels=min(self.n_levels, LEAST_LEVELS))
        return least.encoding_spec(dims).n_params

    def encoding_fitted_to(self, n_parameters: int, dims: int) -> HashGridConfig:
        """The largest table of at most ``n_parameters`` values. A level's table has a power of two entries, so that
        doubling them can need up to half of the levels left out to fit; the most levels are kept that use nine tenths
        of ``n_parameters``."""
        check_budget(self.kind, n_parameters, self.least_encoding_size(dims))
        fewest = min(self.n_levels, LEAST_LEVELS)
        fitting: dict[HashGridConfig, int] = {}
        for n_levels in range(self.n_levels, fewest - 1, -1):
            for log2 in range(MOST_LOG2, LEAST_LOG2 - 1, -1):
                config = replace(self, n_levels=n_levels, log2_hashmap_size=log2)
                if (size := config.encoding_spec(dims).n_params) <= n_parameters:
                    fitting[config] = size
                    break
        most = max(fitting.values())
        return next(config for config, size in fitting.items() if size >= min(0.9 * n_parameters, most))

    def for_distance(self) -> HashGridConfig:
        """A finest level that a table of usual size can tell the cells near a surface apart at."""
        return replace(self, finest_resolution=512)

    def fitted_to_footprint(self, cells_per_side: float) -> HashGridConfig:
        """A finest level whose cells are about half a pixel wide: finer ones would only collide in the table."""
        finest = int(min(max(2 * cells_per_side, 4 * self.base_resolution), 8192))
        return replace(self, finest_resolution=finest)

    def fitted_to_device(self, device: str) -> HashGridConfig:
        """A table that stays in a processor's cache on the CPU, the paper's on CUDA."""
        return replace(self, log2_hashmap_size=19 if device == "cuda" else 17)


class HashGridEncoding(Encoding):
    """A hash table and how it is read.

    Args:
        spec: its shape.
        generator: CPU random numbers for the initial values, U(-1e-4, 1e-4).
    """

    def __init__(self, spec: HashGridSpec, generator: torch.Generator | None = None) -> None:
        super().__init__(spec.dims)
        self.spec = spec
        self.table = nn.Parameter(torch.rand(spec.n_params, generator=generator) * 2e-4 - 1e-4)

    @property
    def n_out(self) -> int:
        return self.spec.n_out

    def forward(self, x: Tensor) -> Tensor:
        return hash_encode(x, self.table, self.spec)

    @torch.no_grad()
    def begin_smooth(self) -> None:
        """Scale every level's values by its coarseness."""
        for level, resolution in enumerate(self.spec.resolutions):
            low, high = (offset * self.spec.n_features for offset in self.spec.offsets[level : level + 2])
            self.table[low:high] *= (self.spec.resolutions[0] / resolution) ** 2

    def param_groups(self) -> list[ParamGroup]:
        return [ParamGroup("table", [self.table], sparse=True)]

    def plans(self) -> tuple[HashGridPlan, ...]:
        return (HashGridPlan(self.table.detach(), self.spec),)


class HashGridField(EncodedField):
    """A field on a :class:`HashGridEncoding`."""

    kind = "hashgrid"
    config_type = HashGridConfig
    config: HashGridConfig
