"""What fields of low-rank tensors share (TensoRF: Chen et al. 2022): density and latent as sums of products of factors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldProgress, FieldSize, ParamGroup
from fieldlab.fields.encoded import LatentConfig, LatentField, check_budget
from fieldlab.ops.field_plan import Branch
from fieldlab.ops.low_rank import (
    LowRankPlan,
    LowRankSpec,
    add_penalty_gradient,
    low_rank,
    low_rank_combined,
    resample,
)

UPSAMPLE_AT = (2 / 30, 3 / 30, 4 / 30, 5.5 / 30, 7 / 30)
"""Fractions of training at which factors become finer; the box shrinks at the first."""
PENALTY_EVERY = 4  # steps between two additions of the regularizers' derivatives
LATTICE = 64  # points per side at which occupancy is asked for
WORTHWHILE = 0.9  # a tighter box has to be this much smaller in volume
EMPTY = -15.0  # raw log-density outside the box
LEAST_RESOLUTION, MOST_RESOLUTION = 8, 2048

C = TypeVar("C", bound="LowRankConfig")


@dataclass(frozen=True)
class LowRankConfig(LatentConfig):
    """Sizes of a field of low-rank tensors."""

    tensor: ClassVar[str]
    init_scale: ClassVar[float]
    """Standard deviation of the factors' first values."""

    density_rank: int = 16
    """Products per term whose sum is log-density."""
    appearance_rank: int = 48
    """Products per term of which the latent is a linear combination."""
    initial_resolution: int = 128
    """Vertices per side at first."""
    resolution: int = 300
    """Vertices per side in the end; of a box that is no cube, as many values as a cube's."""
    density_l1: float = 8e-5
    """Weight of the mean magnitude of the density factors."""
    total_variation: float = 0.0
    """Weight of the mean squared difference of neighbors in all factors."""

    def __post_init__(self) -> None:
        for name in ("density_rank", "appearance_rank"):
            if getattr(self, name) < 1:
                raise ConfigError("a low-rank tensor has a rank of one or more", field=f"field.{name}",
                                  found=getattr(self, name), expected="1 or more")  # fmt: skip
        if not 2 <= self.initial_resolution <= self.resolution:
            raise ConfigError(
                "a low-rank tensor has two or more vertices along each axis and does not become coarser",
                field="field.initial_resolution, field.resolution", found=(self.initial_resolution, self.resolution),
                expected="2 <= initial_resolution <= resolution",
            )  # fmt: skip

    def specs(self, resolution: tuple[int, int, int]) -> tuple[LowRankSpec, LowRankSpec]:
        """The tensors of density and of appearance."""
        ranks = (self.density_rank, self.appearance_rank)
        density, appearance = (LowRankSpec(self.tensor, resolution, rank) for rank in ranks)
        return density, appearance

    def size(self) -> FieldSize:
        density, appearance = self.specs((self.resolution,) * 3)
        basis = self.latent * appearance.n_products
        trainable = density.n_params + appearance.n_params + basis + self.color_spec().n_params
        return FieldSize.of_floats(trainable, 9)

    def fitted_to(self: C, n_parameters: int) -> C:
        """Ranks and resolution in their present proportion, as large as ``n_parameters`` allows."""
        check_budget(self.kind, n_parameters, self._scaled(LEAST_RESOLUTION).size().trainable)
        low, high = LEAST_RESOLUTION, MOST_RESOLUTION  # the former fits
        while low < high:
            middle = (low + high + 1) // 2
            if self._scaled(middle).size().trainable <= n_parameters:
                low = middle
            else:
                high = middle - 1
        return self._scaled(low)

    def fitted_to_footprint(self: C, cells_per_side: float) -> C:
        """Cells as wide as a pixel."""
        return self._at(int(min(max(cells_per_side, 32), 512)))

    def resolution_at(self, fraction: float, sides: tuple[float, float, float]) -> tuple[int, int, int]:
        """Vertices along the axes of a box at a stage of training: as many values as a cube's, in cubic cells."""
        stage = sum(fraction >= at for at in UPSAMPLE_AT) / len(UPSAMPLE_AT)
        side = self.initial_resolution ** (1 - stage) * self.resolution**stage
        a, b, c = sides
        cell = math.sqrt((a * b + a * c + b * c) / 3) / side if self.tensor == "vm" else (a + b + c) / 3 / side
        x, y, z = (max(2, int(length / cell + 1e-6)) for length in sides)
        return x, y, z

    def _scaled(self: C, resolution: int) -> C:
        factor = resolution / self.resolution
        ranks = (max(1, round(rank * factor)) for rank in (self.density_rank, self.appearance_rank))
        density_rank, appearance_rank = ranks
        return replace(self._at(resolution), density_rank=density_rank, appearance_rank=appearance_rank)

    def _at(self: C, resolution: int) -> C:
        initial = max(2, round(resolution * self.initial_resolution / self.resolution))
        return replace(self, initial_resolution=initial, resolution=resolution)


class LowRankField(LatentField):
    """Log-density is the sum of one tensor's products, the latent a linear combination of another's.

    Args:
        config: ranks and resolutions.
        unit_length: world length of the side of the unit cube.
        generator: CPU random numbers for the initial values.
    """

    config: LowRankConfig
    box: Tensor
    resolution: Tensor

    def __init__(self, config: LowRankConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        super().__init__(config, unit_length, generator)
        self.specs = config.specs(config.resolution_at(0.0, (1.0, 1.0, 1.0)))
        density, appearance = (
            nn.Parameter(torch.randn(spec.n_params, generator=generator) * config.init_scale) for spec in self.specs
        )
        self.density_factors, self.appearance_factors = density, appearance
        bound = 1 / math.sqrt(self.specs[1].n_products)
        basis = (torch.rand(config.latent, self.specs[1].n_products, generator=generator) * 2 - 1) * bound
        self.basis = nn.Parameter(basis)
        self.register_buffer("box", torch.tensor([[0.0] * 3, [1.0] * 3]))
        self.register_buffer("resolution", torch.tensor(self.specs[0].resolution))
        self.cropped = False
        self.calls = 0

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raw, x = self._raw(x)
        return raw + self.log_density_offset, low_rank_combined(x, self.appearance_factors, self.basis, self.specs[1])

    def density(self, x: Tensor) -> Tensor:
        return self.sigma(self._raw(x)[0] + self.log_density_offset)

    def _raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Raw log-density [S] at x [S,3], and x relative to the box."""
        outside = None
        if self.cropped:
            x = (x - self.box[0]) / (self.box[1] - self.box[0])
            outside = ((x < 0) | (x > 1)).any(-1)
            x = x.clamp(0, 1)
        raw = low_rank(x, self.density_factors, self.specs[0], summed=True)[:, 0]
        return raw if outside is None else raw.masked_fill(outside, EMPTY), x

    def param_groups(self) -> list[ParamGroup]:
        return [
            ParamGroup("factors", [self.density_factors, self.appearance_factors]),
            ParamGroup("mlp", [self.basis, self.color_params], lr_scale=0.25),
        ]

    def schedule(self, progress: FieldProgress) -> bool:
        if progress.fraction < UPSAMPLE_AT[0]:
            return False
        before = self.specs
        if not self.cropped and self.specs[0].resolution == self.config.resolution_at(0.0, (1.0, 1.0, 1.0)):
            self._shrink(progress)
        low, high = self.box.tolist()
        a, b, c = (top - bottom for bottom, top in zip(low, high, strict=True))
        self._resample(self.config.resolution_at(progress.fraction, (a, b, c)))
        return self.specs is not before

    @torch.no_grad()
    def _shrink(self, progress: FieldProgress) -> None:
        """Cover only what training looks at, out to the next vertices: values stay as they are."""
        ticks = [(torch.arange(LATTICE) + 0.5) / LATTICE] * 3
        points = torch.cartesian_prod(*ticks).to(self.box.device)
        inside = points[progress.occupied(points)].cpu()
        if len(inside) == 0:
            return
        cells = torch.tensor(self.specs[0].resolution) - 1
        half = 0.5 / LATTICE
        low = ((inside.amin(0) - half) * cells).floor().clamp(min=0)
        high = torch.minimum(((inside.amax(0) + half) * cells).ceil(), cells)
        if float(((high - low) / cells).prod()) < WORTHWHILE:
            x, y, z = (high - low + 1).long().tolist()
            self._resample((x, y, z), torch.stack([low / cells, high / cells]))

    @torch.no_grad()
    def _resample(self, resolution: tuple[int, int, int], box: Tensor | None = None) -> None:
        """Go on with other vertices, and with a part ``box`` [2,3] of the present box."""
        if resolution == self.specs[0].resolution and box is None:
            return
        to = self.config.specs(resolution)
        factors = (self.density_factors, self.appearance_factors)
        made = [nn.Parameter(resample(p, old, new, box)) for p, old, new in zip(factors, self.specs, to, strict=True)]
        self.density_factors, self.appearance_factors = made
        self.specs = to
        self.resolution.copy_(torch.tensor(resolution))
        if box is not None:
            box = box.to(self.box)
            self.box.copy_(self.box[0] + box * (self.box[1] - self.box[0]))
            self.cropped = True

    def regularize(self, fraction: float) -> None:
        self.calls += 1
        if self.calls % PENALTY_EVERY:
            return
        for factors, spec, l1 in zip(self._factors(), self.specs, (self.config.density_l1, 0.0), strict=True):
            weights = {"l1": PENALTY_EVERY * l1, "total_variation": PENALTY_EVERY * self.config.total_variation}
            if factors.grad is not None and any(weights.values()):
                add_penalty_gradient(factors.grad, factors.detach(), spec, **weights)

    def _factors(self) -> Iterator[nn.Parameter]:
        yield from (self.density_factors, self.appearance_factors)

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        if "resolution" not in arrays or "box" not in arrays:
            return
        x, y, z = arrays["resolution"].tolist()
        largest = self.config.size().trainable
        specs = self.config.specs((x, y, z))
        if sum(spec.n_params for spec in specs) > largest:
            raise ConfigError("a tensor is larger than its configuration allows", field="resolution",
                              found=(x, y, z), expected=f"at most {largest} values")  # fmt: skip
        self.specs = specs
        self.density_factors, self.appearance_factors = (
            nn.Parameter(p.new_empty(spec.n_params)) for p, spec in zip(self._factors(), specs, strict=True)
        )
        self.cropped = bool((arrays["box"] != torch.tensor([[0.0] * 3, [1.0] * 3])).any())

    def branches(self) -> tuple[Branch, ...]:
        low, high = (tuple(side) for side in self.box.tolist())
        density = LowRankPlan(self.density_factors.detach(), self.specs[0], None, low, high, EMPTY)
        latent = LowRankPlan(self.appearance_factors.detach(), self.specs[1], self.basis.detach(), low, high, EMPTY)
        return (Branch((density, latent)),)
