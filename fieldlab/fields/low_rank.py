"""What fields of low-rank tensors share (TensoRF: Chen et al. 2022): density and latent are sums of products."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError, require
from fieldlab.fields.base import Field, FieldSize, check_budget
from fieldlab.fields.encoded import LatentConfig, LatentField
from fieldlab.fields.encoding import Encoding
from fieldlab.fields.factorize import factorize, factorize_channels
from fieldlab.fields.training import FieldProgress, ParamGroup
from fieldlab.ops.field_plan import Branch
from fieldlab.ops.low_rank import (
    LowRankPlan,
    LowRankSpec,
    add_penalty_gradient,
    low_rank,
    low_rank_combined,
    resample,
)  # fmt: skip

UPSAMPLE_AT = (2 / 30, 3 / 30, 4 / 30, 5.5 / 30, 7 / 30)
"""Fractions of training at which factors become finer; the box shrinks at the first."""
PENALTY_EVERY = 4  # steps between two additions of the regularizers' derivatives
LATTICE = 64  # points per side at which occupancy is asked for
WORTHWHILE = 0.9  # a tighter box has to be this much smaller in volume
SAMPLED = 96  # vertices along the longest side at which another field is sampled
SAMPLED_RANGE = (-3.0, 9.0)  # of its raw log-density: what is below is empty, what is above is opaque
CHUNK = 1 << 18
EMPTY = -15.0  # raw log-density outside the box
ENCODED = 32  # features of the tensor as an encoding
LEAST_RESOLUTION, MOST_RESOLUTION = 8, 2048

C = TypeVar("C", bound="LowRankConfig")


@dataclass(frozen=True)
class LowRankConfig(LatentConfig):
    """Sizes of a field of low-rank tensors."""

    encodes: ClassVar[tuple[int, ...]] = (3,)
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
        super().__post_init__()
        for name in ("density_l1", "total_variation"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"field.{name}", value, "0 or more")
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
        return FieldSize(trainable, 10, 4 * trainable + 56)  # a box of floats, four integers

    @property
    def n_encoded(self) -> int:
        return ENCODED

    def encoding_spec(self, resolution: tuple[int, int, int]) -> LowRankSpec:
        """The tensor as an encoding: of the rank of both."""
        return LowRankSpec(self.tensor, resolution, self.density_rank + self.appearance_rank)

    def encoding_size(self, dims: int) -> FieldSize:
        self._check_dims(dims)
        spec = self.encoding_spec((self.resolution,) * 3)
        trainable = spec.n_params + ENCODED * spec.n_products
        return FieldSize(trainable, 4, 4 * trainable + 32)  # four integers

    def build_encoding(self, dims: int, generator: torch.Generator | None = None) -> LowRankEncoding:
        self._check_dims(dims)
        return LowRankEncoding(self, generator)

    def least_encoding_size(self, dims: int) -> int:
        return self._scaled(LEAST_RESOLUTION).encoding_size(dims).trainable

    def least_size(self) -> int:
        return self._scaled(LEAST_RESOLUTION).size().trainable

    def encoding_fitted_to(self: C, n_parameters: int, dims: int) -> C:
        """Ranks and resolution in their present proportion, as large as ``n_parameters`` allows."""
        return self._largest(n_parameters, lambda config: config.encoding_size(dims))

    def fitted_to(self: C, n_parameters: int) -> C:
        """Ranks and resolution in their present proportion, as large as ``n_parameters`` allows."""
        return self._largest(n_parameters, lambda config: config.size())

    def _largest(self: C, n_parameters: int, size: Callable[[C], FieldSize]) -> C:
        check_budget(self.kind, n_parameters, size(self._scaled(LEAST_RESOLUTION)).trainable)
        low, high = LEAST_RESOLUTION, MOST_RESOLUTION  # the former fits
        while low < high:
            middle = (low + high + 1) // 2
            try:
                fits = size(self._scaled(middle)).trainable <= n_parameters
            except ConfigError:  # larger than any tensor can be
                fits = False
            low, high = (middle, high) if fits else (low, middle - 1)
        return self._scaled(low)

    def _check_dims(self, dims: int) -> None:
        if dims not in self.encodes:
            raise ConfigError("low-rank tensors have three dimensions", field=self.kind, found=dims, expected=3)

    def fitted_to_footprint(self: C, cells_per_side: float) -> C:
        """Cells as wide as a pixel."""
        return self._at(int(min(max(cells_per_side, 32), 512)))

    def resolution_at(self, stage: int, sides: Sequence[float] = (1.0, 1.0, 1.0)) -> tuple[int, int, int]:
        """Vertices along the axes of a box after ``stage`` of ``UPSAMPLE_AT``, in geometric progression: as many values
        as a cube's, in cubic cells."""
        grown = stage / len(UPSAMPLE_AT)
        side = self.initial_resolution ** (1 - grown) * self.resolution**grown
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


class LowRankEncoding(Encoding):
    """Linear combinations of one tensor's products, coarse to fine.

    Args:
        config: ranks and resolutions.
        generator: CPU random numbers for the initial values.
    """

    stage: Tensor
    resolution: Tensor

    def __init__(self, config: LowRankConfig, generator: torch.Generator | None = None) -> None:
        super().__init__(3)
        self.config = config
        self.spec = config.encoding_spec(config.resolution_at(0))
        self.factors = nn.Parameter(torch.randn(self.spec.n_params, generator=generator) * config.init_scale)
        self.basis = nn.Parameter(first_basis(ENCODED, self.spec, generator))
        self.register_buffer("resolution", torch.tensor(self.spec.resolution))
        self.register_buffer("stage", torch.tensor(0))

    @property
    def n_out(self) -> int:
        return ENCODED

    def forward(self, x: Tensor) -> Tensor:
        return low_rank_combined(x, self.factors, self.basis, self.spec)

    def param_groups(self) -> list[ParamGroup]:
        return [ParamGroup("factors", [self.factors]), ParamGroup("basis", [self.basis], lr_scale=0.25)]

    @torch.no_grad()
    def advance(self, progress: FieldProgress) -> bool:
        stage = stage_at(progress.fraction)
        if stage <= int(self.stage):
            return False
        to = self.config.encoding_spec(self.config.resolution_at(stage))
        self.factors = nn.Parameter(resample(self.factors, self.spec, to))
        self.spec = to
        self.resolution.copy_(torch.tensor(to.resolution))
        self.stage.fill_(stage)
        return True

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        if "resolution" not in arrays:
            return
        spec = self.config.encoding_spec(_three(arrays["resolution"]))
        _check_size(spec, self.config.encoding_spec((self.config.resolution,) * 3))
        self.spec, self.factors = spec, nn.Parameter(self.factors.new_empty(spec.n_params))

    def plans(self) -> tuple[LowRankPlan, ...]:
        corners = ((0.0,) * 3, (1.0,) * 3)
        return (LowRankPlan(self.factors.detach(), self.spec, self.basis.detach(), *corners, EMPTY),)


def stage_at(fraction: float) -> int:
    """How many of ``UPSAMPLE_AT`` have passed after this fraction of training."""
    return sum(fraction >= at for at in UPSAMPLE_AT)


def first_basis(outputs: int, spec: LowRankSpec, generator: torch.Generator | None) -> Tensor:
    """Random combinations [outputs,n_products], uniform, of products of any number alike."""
    basis = torch.rand(outputs, spec.n_products, generator=generator) * 2 - 1
    return basis / math.sqrt(spec.n_products)


class LowRankField(LatentField):
    """Log-density is the sum of one tensor's products, the latent a linear combination of another's.

    Args:
        config: ranks and resolutions.
        unit_length: world length of the side of the unit cube.
        generator: CPU random numbers for the initial values.
    """

    config: LowRankConfig
    box: Tensor
    stage: Tensor
    resolution: Tensor

    def __init__(self, config: LowRankConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        super().__init__(config, unit_length, generator)
        self.specs = config.specs(config.resolution_at(0))
        density, appearance = (torch.randn(spec.n_params, generator=generator) for spec in self.specs)
        self.density_factors = nn.Parameter(density * config.init_scale)
        self.appearance_factors = nn.Parameter(appearance * config.init_scale)
        self.basis = nn.Parameter(first_basis(config.latent, self.specs[1], generator))
        self.register_buffer("box", torch.tensor([[0.0] * 3, [1.0] * 3]))
        self.register_buffer("resolution", torch.tensor(self.specs[0].resolution))
        self.register_buffer("stage", torch.tensor(0))
        self.cropped = False
        self.step = 0

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
        self.step = progress.step
        stage, before, done = stage_at(progress.fraction), self.specs, int(self.stage)
        if stage <= done:
            return False
        if done == 0:
            self._shrink(progress.occupied)
        self._grow(stage)
        return self.specs is not before

    def _grow(self, stage: int) -> None:
        self._resample(self.config.resolution_at(stage, (self.box[1] - self.box[0]).tolist()))
        self.stage.fill_(stage)

    @torch.no_grad()
    def begin_from(self, teacher: Field, occupied: Callable[[Tensor], Tensor], generator: torch.Generator) -> list[str]:
        """Factors of the teacher sampled on a lattice, and all of the resolution at once: nothing has to be found from
        coarse to fine. The latent too, where one perceptron to color can read both."""
        if int(self.stage) == 0:
            self._shrink(occupied)
        self._grow(len(UPSAMPLE_AT))
        box = self.box.cpu()
        sides = (box[1] - box[0]).tolist()
        x, y, z = (max(2, round(side / max(sides) * (SAMPLED - 1)) + 1) for side in sides)
        ticks = [torch.linspace(low, high, n) for low, high, n in zip(*box.tolist(), (x, y, z), strict=True)]
        points = torch.cartesian_prod(*ticks).to(self.box.device)
        known = occupied(points)
        if not bool(known.any()):
            raise ConfigError("there is nothing to begin from where nothing is occupied", field="occupied", found=0)
        parts = [teacher.geometry(part) for part in points[known].split(CHUNK)]
        raw = (torch.cat([p[0] for p in parts]) - self.log_density_offset).clamp(*SAMPLED_RANGE)
        volume = raw.new_zeros(len(points)).masked_scatter_(known, raw).view(x, y, z).cpu()
        known = known.view(x, y, z)
        density, appearance = self.config.specs((x, y, z))
        factors = factorize(volume, known.cpu(), density, ceiling=SAMPLED_RANGE[0])
        self.density_factors.copy_(resample(factors, density, self.specs[0]))
        done = ["density factorized"]
        if self.can_share_latent(teacher):
            latent = torch.cat([p[1][:, : teacher.n_compared] for p in parts]).cpu()
            volumes = latent.new_zeros(x, y, z, latent.shape[1])
            volumes[known.cpu()] = latent
            factors, basis = factorize_channels(volumes, known.cpu(), appearance)
            self.appearance_factors.copy_(resample(factors, appearance, self.specs[1]))
            self.basis.copy_(basis)
            done.append("latent factorized")
        return self.take_color(teacher) + done

    @torch.no_grad()
    def _shrink(self, occupied: Callable[[Tensor], Tensor]) -> None:
        """Cover only what training looks at, out to the next vertices: values stay as they are."""
        ticks = [(torch.arange(LATTICE) + 0.5) / LATTICE] * 3
        points = torch.cartesian_prod(*ticks).to(self.box.device)
        inside = points[occupied(points)].cpu()
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
        self.density_factors, self.appearance_factors = (
            nn.Parameter(resample(factors, old, new, box))
            for factors, old, new in zip(self._factors(), self.specs, to, strict=True)
        )
        self.specs = to
        self.resolution.copy_(torch.tensor(resolution))
        if box is not None:
            box = box.to(self.box)
            self.box.copy_(self.box[0] + box * (self.box[1] - self.box[0]))
            self.cropped = True

    def regularize(self, fraction: float) -> None:
        if self.step % PENALTY_EVERY:
            return
        for factors, spec, l1 in zip(self._factors(), self.specs, (self.config.density_l1, 0.0), strict=True):
            weights = {"l1": PENALTY_EVERY * l1, "total_variation": PENALTY_EVERY * self.config.total_variation}
            if factors.grad is not None and any(weights.values()):
                add_penalty_gradient(factors.grad, factors.detach(), spec, **weights)

    def _factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        return self.density_factors, self.appearance_factors

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        if "resolution" not in arrays or "box" not in arrays:
            return
        specs = self.config.specs(_three(arrays["resolution"]))
        _check_size(specs[0], self.config.specs((self.config.resolution,) * 3)[0])
        self.specs = specs
        self.density_factors, self.appearance_factors = (
            nn.Parameter(p.new_empty(spec.n_params)) for p, spec in zip(self._factors(), specs, strict=True)
        )
        self.cropped = bool((arrays["box"].cpu() != torch.tensor([[0.0], [1.0]])).any())

    def branches(self) -> tuple[Branch, ...]:
        low, high = (tuple(side) for side in self.box.tolist())
        density = LowRankPlan(self.density_factors.detach(), self.specs[0], None, low, high, EMPTY)
        latent = LowRankPlan(self.appearance_factors.detach(), self.specs[1], self.basis.detach(), low, high, EMPTY)
        return (Branch((density, latent)),)


def _three(resolution: Tensor) -> tuple[int, int, int]:
    """A checkpoint's resolution as plain numbers."""
    if resolution.shape != (3,):
        raise ConfigError("a resolution is not three numbers", field="resolution", found=tuple(resolution.shape))
    x, y, z = resolution.tolist()
    return x, y, z


def _check_size(spec: LowRankSpec, most: LowRankSpec) -> None:
    if spec.n_params > most.n_params:
        raise ConfigError("a tensor is larger than its configuration allows", field="resolution",
                          found=spec.resolution, expected=f"at most {most.resolution}")  # fmt: skip
