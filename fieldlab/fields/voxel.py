"""A sparse voxel grid without networks (Plenoxels, Fridovich-Keil, Yu et al. 2022).

Log-density and, for each color channel, coefficients of spherical harmonics are interpolated from the vertices of a
lattice; color is the sigmoid of the harmonics' sum. Interpolating log-density and exponentiating afterwards, as DVGO
(Sun et al. 2022, section 4.1) does, makes surfaces inside a cell sharp; Plenoxels interpolates densities and cuts them
off at zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fieldlab.errors import ConfigError, require
from fieldlab.fields.base import Field, FieldConfig, FieldSize, check_budget
from fieldlab.fields.training import FieldProgress, ParamGroup
from fieldlab.ops.field_plan import Branch, FieldPlan
from fieldlab.ops.harmonic_color import harmonic_color
from fieldlab.ops.sparse_grid import SparseGridPlan, add_variation, sparse_corners, sparse_grid
from fieldlab.ops.sparse_index import BRICK, MAX_RESOLUTION, SparseIndex, near
from fieldlab.ops.spherical_harmonics import spherical_harmonics_reference

SMALLEST_CELLS = 8  # of the first lattice
VARIATION_EVERY = 8  # steps
CHUNK = 1 << 18  # vertices evaluated at a time
VIEWS = 16  # directions from which another field's colors are looked at
SAMPLED_RANGE = (-8.0, 9.0)  # of another field's raw log-density: what is above is opaque anyway


@dataclass(frozen=True)
class VoxelConfig(FieldConfig):
    """Sizes and training of a sparse voxel field."""

    kind: ClassVar[str] = "voxel"
    recipe: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 0.02, "final_learning_rate": 0.1, "samples_per_step": 1 << 14,
    }  # fmt: skip
    distortion: ClassVar[float] = 0.03
    # A student begins close to its teacher; larger steps learn the few answers of a slow one by heart.
    distill_recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 0.006}

    cells: int = 256
    """Cells along a side of the finest lattice."""
    upsamplings: int = 2
    """How often the lattice is made twice as fine while training; it starts with cells / 2^upsamplings."""
    first_upsampling: float = 0.08
    """Fraction of training at which it is made finer first."""
    last_upsampling: float = 0.25
    """Fraction of training at which it reaches the finest lattice."""
    sh_degree: int = 3
    """Bands of spherical harmonics of the viewing direction."""
    max_vertices: int = 2_000_000
    """Most vertices that are stored. The lattice is made less fine where it would need more."""
    empty: float = -8.0
    """Log-density, per side of the box, of vertices that are not stored."""
    density_rate: float = 10.0
    """Learning rate of log-density as a multiple of the colors'."""
    density_variation: float = 1e-6
    """Weight of the total variation of log-density, per vertex the step touches (Plenoxels, eq. 5)."""
    color_variation: float = 3e-5
    """Weight of the total variation of the colors' coefficients."""
    prune_below: float = 2e-2
    """Vertices are dropped, when the lattice is made finer, where density times the length of a cell is less than this
    in the vertex and all its neighbors, and those inside objects, which no ray has reached."""

    def __post_init__(self) -> None:
        require(self.upsamplings >= 0, "field.upsamplings", self.upsamplings, "0 or more")
        fits = self.cells % 2**self.upsamplings == 0 and 1 <= self.cells < MAX_RESOLUTION
        require(fits, "field.cells", self.cells, f"a multiple of {2**self.upsamplings} below {MAX_RESOLUTION}")
        require(self.sh_degree in (1, 2, 3, 4), "field.sh_degree", self.sh_degree, "1 to 4")
        ordered = 0 < self.first_upsampling <= self.last_upsampling <= 1
        require(ordered, "field.first_upsampling, last_upsampling", (self.first_upsampling, self.last_upsampling),
                 "above 0, in order, at most 1")  # fmt: skip
        least = (self.first_cells + 1) ** 3
        fits = self.max_vertices >= least
        require(fits, "field.max_vertices", self.max_vertices, f"at least {least}, the first lattice")
        weights = (self.density_variation, self.color_variation, self.prune_below, self.density_rate)
        require(min(weights) >= 0 and all(map(math.isfinite, weights)), "field.weights", weights, "0 or more")
        require(math.isfinite(self.empty), "field.empty", self.empty, "a finite number")

    @property
    def first_cells(self) -> int:
        """Cells along a side of the first lattice."""
        return self.cells >> self.upsamplings

    @property
    def coefficients(self) -> int:
        """Values a vertex has for its color."""
        return 3 * self.sh_degree**2

    def size(self) -> FieldSize:
        vertices = min(self.max_vertices, (self.cells + 1) ** 3)
        bricks = min((self.cells // BRICK + 1) ** 3, vertices)
        trainable, fixed = vertices * (1 + self.coefficients), bricks * (1 + BRICK) + 3
        return FieldSize(trainable, fixed, 4 * trainable + bricks * 104)

    def least_size(self) -> int:
        return (SMALLEST_CELLS + 1) ** 3 * (1 + self.coefficients)

    def fitted_to(self, n_parameters: int) -> VoxelConfig:
        """The most vertices that keep to ``n_parameters``, with a first lattice that is no more than that."""
        check_budget(self.kind, n_parameters, self.least_size())
        vertices = n_parameters // (1 + self.coefficients)
        upsamplings = self.upsamplings
        while ((self.cells >> upsamplings) + 1) ** 3 > vertices:
            upsamplings += 1
        whole = max(self.cells >> upsamplings, SMALLEST_CELLS) << upsamplings
        return replace(self, max_vertices=vertices, upsamplings=upsamplings, cells=whole)

    def fitted_to_footprint(self, cells_per_side: float) -> VoxelConfig:
        """Cells about as wide as a pixel, and a first lattice of about 48 a side."""
        cells = min(max(cells_per_side, 64), 512)
        upsamplings = max(round(math.log2(cells / 48)), 1)
        return replace(self, cells=round(cells / 2**upsamplings) << upsamplings, upsamplings=upsamplings)

    def fitted_to_device(self, device: str) -> VoxelConfig:
        """As many vertices as can be trained in minutes."""
        return replace(self, max_vertices=16_000_000 if device == "cuda" else 2_000_000)


class VoxelField(Field):
    """Log-density and harmonic coefficients at the stored vertices of a lattice."""

    kind = "voxel"
    config_type = VoxelConfig
    config: VoxelConfig
    lattice: Tensor
    bricks: Tensor
    words: Tensor

    def __init__(self, config: VoxelConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        super().__init__(config, unit_length)
        self.log_density_offset = -math.log(unit_length)
        r = config.first_cells + 1
        index = SparseIndex.of_mask(torch.ones(r, r, r, dtype=torch.bool))
        # Resolution, stages of refinement done, and steps (see `regularize`).
        self.register_buffer("lattice", torch.tensor([r, 0, 0]))
        self.register_buffer("bricks", index.bricks)
        self.register_buffer("words", index.words)
        self._index: tuple[tuple[int, int, int], SparseIndex] | None = None
        self.raw_density = nn.Parameter(torch.zeros(index.n_rows, 1))
        self.coefficients = nn.Parameter(torch.zeros(index.n_rows, config.coefficients))

    @property
    def latent_size(self) -> int:
        return self.config.coefficients

    @property
    def n_bytes(self) -> int:
        return 4 * self.n_parameters + self.index.n_bytes

    @property
    def index(self) -> SparseIndex:
        """Which vertices are stored."""
        version = (self.words.data_ptr(), self.words._version, self.lattice._version)
        if self._index is None or self._index[0] != version:
            self._index = version, SparseIndex(int(self.lattice[0]), self.bricks, self.words)
        return self._index[1]

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        corners = sparse_corners(x, self.index)
        latent = sparse_grid(x, corners, self.coefficients, self.index.resolution)
        return self._log_density(x, corners), latent

    def density(self, x: Tensor) -> Tensor:
        return self.sigma(self._log_density(x, sparse_corners(x, self.index)))

    def _log_density(self, x: Tensor, corners: Tensor) -> Tensor:
        raw = sparse_grid(x, corners, self.raw_density, self.index.resolution, self.config.empty)
        return raw[:, 0] + self.log_density_offset

    def color(self, latent: Tensor, x: Tensor, directions: Tensor, appearance: Tensor | None = None) -> Tensor:
        return harmonic_color(latent, directions)

    def param_groups(self) -> list[ParamGroup]:
        return [
            ParamGroup("density", [self.raw_density], lr_scale=self.config.density_rate, sparse=True),
            ParamGroup("colors", [self.coefficients], sparse=True),
        ]

    @torch.no_grad()
    def schedule(self, progress: FieldProgress) -> bool:
        if progress.step == 0:
            stored = self.index.vertices
            self._keep(_near_occupied(stored, self.index.resolution, progress.occupied))
            return True
        config, stage = self.config, int(self.lattice[1])
        if stage == config.upsamplings:
            return False
        apart = (config.last_upsampling - config.first_upsampling) / max(config.upsamplings - 1, 1)
        if progress.fraction < config.first_upsampling + stage * apart:
            return False
        self.lattice[1] += 1
        self._keep(self._alive())
        if self._refine(2 * (self.index.resolution - 1)):
            self._keep(self._alive())
        return True

    @torch.no_grad()
    def begin_from(self, teacher: Field, occupied: Callable[[Tensor], Tensor], generator: torch.Generator) -> list[str]:
        """The teacher sampled at the vertices of the finest lattice; its colors, seen from all around, as harmonics."""
        self._keep(_near_occupied(self.index.vertices, self.index.resolution, occupied))
        while self.index.resolution - 1 < self.config.cells:
            self.raw_density.copy_(self._sampled(lambda x: teacher.geometry(x)[0][:, None]) - self.log_density_offset)
            self._keep(self._dense())
            if not self._refine(min(2 * (self.index.resolution - 1), self.config.cells)):
                break
        self.lattice[1] = self.config.upsamplings
        raw = self._sampled(lambda x: teacher.geometry(x)[0][:, None]) - self.log_density_offset
        self.raw_density.copy_(raw.clamp(*SAMPLED_RANGE))
        self._keep(self._dense())
        colors = HarmonicFit(teacher, self.config.sh_degree)
        self.coefficients.copy_(self._sampled(colors.coefficients))
        return [f"{self.index.n_rows} vertices sampled"]

    def _sampled(self, values: Callable[[Tensor], Tensor]) -> Tensor:
        """``values`` [N,C] at all vertices."""
        vertices, cells = self.index.vertices, self.index.resolution - 1
        return torch.cat([values(part.float() / cells) for part in vertices.split(CHUNK // 4)])

    def regularize(self, fraction: float) -> None:
        self.lattice[2] += 1
        if int(self.lattice[2]) % VARIATION_EVERY:
            return
        weights = (self.config.density_variation, self.config.color_variation)
        for values, weight in zip((self.raw_density, self.coefficients), weights, strict=True):
            if weight and values.grad is not None and values.grad.is_sparse:
                share = weight * VARIATION_EVERY / max(values.grad._nnz(), 1)
                add_variation(values, self.index, share)

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        wanted = ("lattice", "bricks", "words", "raw_density", "coefficients")
        if any(name not in arrays for name in wanted):
            return  # said better where arrays are loaded
        lattice, bricks, words, density, coefficients = (arrays[name] for name in wanted)
        if lattice.shape != (3,) or lattice.dtype != torch.int64:
            raise ConfigError("a lattice is described by three int64", field="lattice", found=tuple(lattice.shape))
        index = SparseIndex.checked(int(lattice[0]), bricks, words)
        if index.resolution > self.config.cells + 1 or index.n_rows > self.config.max_vertices:
            raise ConfigError(
                "a lattice is larger than its configuration", field="lattice, words",
                found=(index.resolution, index.n_rows), expected=(self.config.cells + 1, self.config.max_vertices),
            )  # fmt: skip
        for name, array, channels in (("raw_density", density, 1), ("coefficients", coefficients, self.latent_size)):
            if array.shape != (index.n_rows, channels):
                raise ConfigError("vertices and their values differ in number", field=name, found=tuple(array.shape),
                                  expected=(index.n_rows, channels))  # fmt: skip
        device = self.words.device
        self._replace(index.to(device), density.float().to(device), coefficients.float().to(device))

    def fused_plan(self, appearance: Tensor | None = None) -> FieldPlan | None:
        plan = SparseGridPlan(self.index, self.raw_density.detach(), self.coefficients.detach(), self.config.empty)
        return FieldPlan(
            (Branch((plan,)),), None, None, self.config.sh_degree, self.log_density_offset, self.max_log_density
        )

    def _alive(self) -> Tensor:
        """bool [N]: whether a vertex or one next to it is dense enough to matter, and was ever seen: the colors of
        others are still what they began with."""
        return self._dense((self.coefficients != 0).any(1))

    def _dense(self, seen: Tensor | None = None) -> Tensor:
        """bool [N]: whether a vertex or one next to it is dense enough to matter, and is among those ``seen``."""
        cell = self.unit_length / (self.index.resolution - 1)
        dense = self.sigma(self.raw_density[:, 0] + self.log_density_offset) * cell >= self.config.prune_below
        if seen is not None:
            dense &= seen
        vertices, resolution = self.index.vertices, self.index.resolution
        around = near(vertices[dense], resolution, resolution, reach=1)
        return around.find(vertices) >= 0

    def _keep(self, kept: Tensor) -> None:
        """Forget the vertices that are False in bool [N], unless nothing would be left: a field that has learnt nothing
        yet, as in very short trainings, goes on with all it has."""
        if not bool(kept.any()):
            return
        index = SparseIndex.of_keys(self.index.keys[kept], self.index.resolution)
        self._replace(index, self.raw_density[kept], self.coefficients[kept])

    def _refine(self, cells: int) -> bool:
        """Go over to a lattice of so many cells a side, or of fewer where there would be too many vertices."""
        coarse, most = self.index, self.config.max_vertices
        index = near(coarse.vertices, coarse.resolution, cells + 1)
        while index.n_rows > most:
            cells = min(int(cells * math.sqrt(most / index.n_rows)), cells - 1)
            if cells < 1.1 * (coarse.resolution - 1):
                return False
            index = near(coarse.vertices, coarse.resolution, cells + 1)
        density, coefficients = [], []
        for part in index.vertices.split(CHUNK):
            x = part.float() / cells
            corners = sparse_corners(x, coarse)
            density.append(sparse_grid(x, corners, self.raw_density, coarse.resolution, self.config.empty))
            coefficients.append(sparse_grid(x, corners, self.coefficients, coarse.resolution))
        self._replace(index, torch.cat(density), torch.cat(coefficients))
        return True

    def _replace(self, index: SparseIndex, density: Tensor, coefficients: Tensor) -> None:
        self.lattice[0] = index.resolution
        self.bricks, self.words = index.bricks, index.words
        self.raw_density = nn.Parameter(density.contiguous(), requires_grad=self.raw_density.requires_grad)
        self.coefficients = nn.Parameter(coefficients.contiguous(), requires_grad=self.coefficients.requires_grad)
        self._index = None


class HarmonicFit:
    """Coefficients of spherical harmonics whose sigmoid is nearest, before the sigmoid, to a field's colors seen from
    all around.

    Args:
        field: the field.
        degree: bands of harmonics.
    """

    def __init__(self, field: Field, degree: int) -> None:
        self.field, self.degree = field, degree
        self.directions = around(VIEWS)
        harmonics = spherical_harmonics_reference(self.directions.double(), degree)
        self.solve = torch.linalg.pinv(harmonics).float()

    def coefficients(self, x: Tensor) -> Tensor:
        """[P, 3 degree^2] at x [P,3] of the unit cube."""
        _, latent = self.field.geometry(x)
        if isinstance(self.field, VoxelField) and latent.shape[1] == 3 * self.degree**2:
            return latent
        logits = []
        for direction in self.directions.to(x):
            logits.append(self.field.color(latent, x, direction.expand(len(x), 3)).clamp(0.002, 0.998).logit())
        return torch.einsum("vpc,kv->pck", torch.stack(logits), self.solve.to(x)).reshape(len(x), -1)


def around(n: int) -> Tensor:
    """Unit directions [n,3] evenly all around: Fibonacci's lattice."""
    i = torch.arange(n) + 0.5
    z, turn = 1 - 2 * i / n, math.pi * (1 + math.sqrt(5)) * i
    radius = (1 - z.square()).sqrt()
    return torch.stack((radius * turn.cos(), radius * turn.sin(), z), dim=1)


def _near_occupied(vertices: Tensor, resolution: int, occupied: Callable[[Tensor], Tensor]) -> Tensor:
    """bool [N]: whether training looks at a vertex or anywhere near it, up to one cell away and half a cell between."""
    found = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
    steps = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0], device=vertices.device)
    for offset in torch.cartesian_prod(steps, steps, steps):
        missing = (~found).nonzero()[:, 0]
        x = (vertices[missing] + offset) / (resolution - 1)
        found[missing] = occupied(x.clamp(0, 1))
    return found
