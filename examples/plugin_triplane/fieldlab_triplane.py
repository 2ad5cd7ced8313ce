"""A tri-plane field (EG3D: Chan et al. 2022, section 4.1): features of a point are the sum of what it reads from three
images, one per pair of axes. A plug-in of fieldlab, in plain PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from fieldlab.errors import require
from fieldlab.fields.base import FieldSize, check_budget
from fieldlab.fields.encoded import EncodedConfig, EncodedField
from fieldlab.fields.encoding import Encoding
from fieldlab.fields.training import ParamGroup

AXES = ((0, 1), (0, 2), (1, 2))  # columns and rows of the planes
LEAST_RESOLUTION, MOST_RESOLUTION = 8, 4096


@dataclass(frozen=True)
class TriPlaneConfig(EncodedConfig):
    """Sizes of a tri-plane field. Every setting has a default, and is what ``--set`` and ``config.toml`` know."""

    kind: ClassVar[str] = "triplane"
    recipe: ClassVar[dict[str, Any]] = {"learning_rate": 2e-2}

    resolution: int = 256
    """Vertices along the side of a plane."""
    features: int = 16
    """Values per vertex."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = 2 <= self.resolution <= MOST_RESOLUTION
        require(fits, "field.resolution", self.resolution, f"2 to {MOST_RESOLUTION}")
        require(1 <= self.features <= 256, "field.features", self.features, "1 to 256")

    @property
    def n_encoded(self) -> int:
        return self.features

    def build_encoding(self, dims: int, generator: torch.Generator | None = None) -> TriPlanes:
        self._check_dims(dims)
        return TriPlanes(self.resolution, self.features, generator)

    def encoding_size(self, dims: int) -> FieldSize:
        self._check_dims(dims)
        return FieldSize.of_floats(len(AXES) * self.features * self.resolution**2)

    def least_encoding_size(self, dims: int) -> int:
        return replace(self, resolution=LEAST_RESOLUTION).encoding_size(dims).trainable

    def encoding_fitted_to(self, n_parameters: int, dims: int) -> TriPlaneConfig:
        """As many vertices as ``n_parameters`` allows."""
        check_budget(self.kind, n_parameters, self.least_encoding_size(dims))
        resolution = math.isqrt(n_parameters // (len(AXES) * self.features))
        return replace(self, resolution=min(resolution, MOST_RESOLUTION))

    def fitted_to_footprint(self, cells_per_side: float) -> TriPlaneConfig:
        """Cells as wide as a pixel."""
        return replace(self, resolution=int(min(max(cells_per_side, 64), 512)))

    def _check_dims(self, dims: int) -> None:
        require(dims in self.encodes, "field", f"{self.kind} in {dims} dimensions", "3 dimensions")


class TriPlanes(Encoding):
    """Three planes, interpolated and added.

    Args:
        resolution: vertices along a side.
        features: values per vertex.
        generator: CPU random numbers for the initial values, N(0, 0.1^2).
    """

    def __init__(self, resolution: int, features: int, generator: torch.Generator | None = None) -> None:
        super().__init__(3)
        first = torch.randn(len(AXES), features, resolution, resolution, generator=generator)
        self.planes = nn.Parameter(0.1 * first)

    @property
    def n_out(self) -> int:
        return self.planes.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        at = 2 * torch.stack([x[:, axes] for axes in AXES]) - 1  # [3,S,2]
        read = grid_sample(self.planes, at[:, None], padding_mode="border", align_corners=True)  # [3,C,1,S]
        return read.sum(0)[:, 0].t()

    def param_groups(self) -> list[ParamGroup]:
        return [ParamGroup("planes", [self.planes])]


class TriPlaneField(EncodedField):
    """Tri-planes before fieldlab's perceptrons to density, latent and color."""

    kind = "triplane"
    config_type = TriPlaneConfig
    config: TriPlaneConfig
