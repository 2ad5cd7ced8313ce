"""A field that shows another one with edits: what was removed is empty, what was moved is looked up where it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fieldlab.edit.edits import Edit, parse_edit
from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field, FieldConfig, FieldSize
from fieldlab.fields.encoding import part
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.fields.registry import build_field
from fieldlab.fields.training import ParamGroup
from fieldlab.ops.contract import contract, uncontract
from fieldlab.ops.occupancy import OccupancyBits, occupancy_from_density, query_occupancy

EMPTY = -20.0  # log-density per side of the cube where nothing is left
MOST_EDITS = 24  # recolorings are bits of a float32
MOST_MOVES = 10  # every one doubles the ways by which something can be somewhere
MARGIN = 1e-6  # from the faces of a contracted cube, which are at infinity


@dataclass(frozen=True)
class EditedConfig(FieldConfig):
    """A field and what is done to it."""

    kind: ClassVar[str] = "edited"

    base: FieldConfig = HashGridConfig()
    """The field that is edited."""
    edits: tuple[str, ...] = ()
    """In the order they are done; see :mod:`fieldlab.edit.edits`."""
    aabb: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
    """Box of the model in world units."""
    unbounded: bool = False
    """Whether the field sees contracted coordinates."""

    def __post_init__(self) -> None:
        moves = sum(text.split()[:1] in (["move"], ["duplicate"]) for text in self.edits)
        if len(self.edits) > MOST_EDITS or moves > MOST_MOVES:
            raise ConfigError("these are too many edits of one field", field="edits",
                              found=f"{len(self.edits)}, of which {moves} move or duplicate",
                              expected=f"at most {MOST_EDITS}, of which {MOST_MOVES} move or duplicate",
                              hint="distill the edited run, and go on with the result")  # fmt: skip

    @property
    def appearance(self) -> int:
        """The base's."""
        return getattr(self.base, "appearance", 0)

    def size(self) -> FieldSize:
        return self.base.size()


@dataclass(frozen=True)
class _Path:
    """Samples that are looked up somewhere else: ``rows`` int64 [P] of all samples, their world points [P,3] in the
    unedited scene, what turns directions into it, by what its lengths were scaled, and the recolorings [P] as bits."""

    rows: Tensor
    points: Tensor
    rotation: Tensor
    scale: float
    recolored: Tensor


class EditedField(Field):
    """The field of an :class:`EditedConfig`. Its latent is the base's, then where a sample was looked up [3], through
    which of the edits' paths, and how it was recolored."""

    kind = "edited"
    config_type = EditedConfig
    config: EditedConfig
    box: Tensor
    occupied: Tensor

    def __init__(self, config: EditedConfig, unit_length: float, generator: torch.Generator | None = None) -> None:
        super().__init__(config, unit_length)
        self.base = build_field(config.base, unit_length, generator)
        self.edits: list[Edit] = [parse_edit(text) for text in config.edits]
        self.register_buffer("box", torch.tensor(config.aabb, dtype=torch.float32).view(2, 3), persistent=False)
        # Where the base has learnt anything [L,R,R,R]; elsewhere its density means nothing. One cell stands for all.
        self.register_buffer("occupied", torch.ones(1, 1, 1, 1, dtype=torch.bool))
        self._bits: OccupancyBits | None = None
        for k, edit in enumerate(self.edits):
            if edit.selection.shape == "part":  # what belongs to it, nothing until arrays are loaded
                self.register_buffer(_region(k), torch.full((2, 2, 2), -1.0))

    def region(self, k: int) -> Tensor | None:
        """What belongs to the segment that edit ``k`` is about (see :meth:`Selection.contains`), or None."""
        return getattr(self, _region(k), None)

    def set_regions(self, regions: Sequence[Tensor | None]) -> None:
        """Say what belongs to the segments that edits are about, one entry for each edit."""
        for k, region in enumerate(regions):
            if region is not None:
                setattr(self, _region(k), region.to(self.box))

    def chosen(self, k: int, points: Tensor) -> Tensor:
        """bool [P]: which world points [P,3] of the scene before edit ``k`` it is about."""
        return self.edits[k].selection.contains(points, self.region(k))

    @property
    def latent_size(self) -> int:
        return self.base.latent_size + 5

    @property
    def n_compared(self) -> int:
        return self.base.n_compared

    @property
    def shown(self) -> Field:
        return self.base.shown

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_density = x.new_full((len(x),), EMPTY - self.log_unit)
        latent = x.new_zeros(len(x), self.latent_size)
        for number, path in enumerate(self.paths(self.to_world(x))):
            if not len(path.rows):
                continue
            there = self.to_unit(path.points)
            inside = ((there >= 0) & (there <= 1)).all(1) & self._known(path.points)
            rows, there = path.rows[inside], there[inside]
            found, values = self.base.geometry(there)
            found = found - math.log(path.scale)
            denser = found > log_density[rows]
            rows = rows[denser]
            log_density = log_density.index_put((rows,), found[denser])
            code = torch.stack((torch.full_like(found, number), path.recolored[inside].to(found)), dim=1)
            latent = latent.index_put((rows,), torch.cat((values, there, code), dim=1)[denser])
        return log_density, latent

    def color(self, latent: Tensor, x: Tensor, directions: Tensor, appearance: Tensor | None = None) -> Tensor:
        g = self.base.latent_size
        values, there = latent[:, :g], latent[:, g : g + 3]
        number, bits = latent[:, g + 3 :].long().unbind(1)
        turns = torch.stack([path.rotation for path in self.paths(x.new_zeros(0, 3))]).to(directions)
        turned = torch.einsum("sij,sj->si", turns[number], directions)
        rgb = self.base.color(values, there, turned, appearance)
        for k, edit in enumerate(self.edits):
            if edit.color is not None:
                chosen = (bits >> k & 1).bool()[:, None]
                rgb = torch.where(chosen, tinted(rgb, rgb.new_tensor(edit.color)), rgb)
        return rgb

    @property
    def in_place(self) -> bool:
        return not any(edit.moves for edit in self.edits)

    def source(self, x: Tensor) -> Tensor:
        """Points that nothing is seen at come back as they are."""
        latent = self.geometry(x)[1]
        there = latent[:, self.base.latent_size : self.base.latent_size + 3]
        return torch.where((latent == 0).all(1, keepdim=True), x, there)

    def paths(self, points: Tensor) -> list[_Path]:
        """All ways by which something can be at world points [S,3], each with the samples that take it. How many there
        are and in what order depends on the edits alone."""
        rows = torch.arange(len(points), device=points.device)
        found = [_Path(rows, points, torch.eye(3, device=points.device), 1.0, torch.zeros_like(rows))]
        for k in reversed(range(len(self.edits))):
            found = [after for path in found for after in self._before(k, path)]
        return found

    def _before(self, k: int, path: _Path) -> list[_Path]:
        """The ways into the scene before edit ``k`` from the one after it."""
        edit = self.edits[k]
        chosen = self.chosen(k, path.points)
        if edit.verb == "recolor":
            return [replace(path, recolored=path.recolored | (chosen.long() << k))]
        if edit.verb in ("remove", "keep"):
            return [_only(path, chosen if edit.verb == "keep" else ~chosen)]
        source = edit.source(path.points)
        moved = _only(replace(path, points=source), self.chosen(k, source))
        back = source.new_tensor(edit.rotation).t()
        moved = replace(moved, rotation=back @ path.rotation, scale=path.scale * edit.scale)
        return [path if edit.verb == "duplicate" else _only(path, ~chosen), moved]

    def _known(self, points: Tensor) -> Tensor:
        """bool [P]: whether the base has learnt anything at world points [P,3]."""
        if self.occupied.numel() == 1:
            return torch.ones(len(points), dtype=torch.bool, device=points.device)
        if self._bits is None or self._bits.bits.device != points.device:
            cells = self.occupied.float().reshape(-1)
            self._bits = occupancy_from_density(cells, 0.5, self.box, len(self.occupied))
        return query_occupancy(self._bits, points)

    def to_world(self, x: Tensor) -> Tensor:
        """World points [P,3] of field coordinates."""
        inner = x.clamp(MARGIN, 1 - MARGIN) if self.config.unbounded else x
        return uncontract(inner, self.box, self.config.unbounded)

    def to_unit(self, points: Tensor) -> Tensor:
        """Field coordinates of world points."""
        return contract(points, self.box, self.config.unbounded)

    def param_groups(self) -> list[ParamGroup]:
        return self.base.param_groups()

    def resize_like(self, arrays: Mapping[str, Tensor]) -> None:
        self.base.resize_like(part(arrays, "base"))
        if "occupied" in arrays:
            self.occupied = torch.ones_like(arrays["occupied"], dtype=torch.bool, device=self.box.device)
            self._bits = None
        for k in range(len(self.edits)):
            if (region := self.region(k)) is not None and _region(k) in arrays:
                setattr(self, _region(k), region.new_empty(arrays[_region(k)].shape))


def _region(k: int) -> str:
    return f"region_{k}"


def _only(path: _Path, chosen: Tensor) -> _Path:
    return replace(path, rows=path.rows[chosen], points=path.points[chosen], recolored=path.recolored[chosen])


def tinted(rgb: Tensor, color: Tensor) -> Tensor:
    """Colors [S,3] of the hue and saturation of ``color`` [3], as bright as ``rgb`` [S,3] as far as values reach."""
    weights = rgb.new_tensor((0.2126, 0.7152, 0.0722))
    return (color * ((rgb @ weights) / (color @ weights).clamp_min(1e-3))[:, None]).clamp(0, 1)
