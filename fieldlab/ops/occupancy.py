"""Multi-level occupancy grids as bits: packing, asking, and the running densities behind them.

After Müller et al. 2022, appendix C. Where one number stands for a cell, cells are counted [level, x, y, z], z fastest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation

MAX_LEVELS = 16


@dataclass(frozen=True)
class OccupancyBits:
    """Which cells of ``levels`` nested grids are occupied. Level i is the box scaled 2^i about its centre.

    A word of ``bits`` holds 4x4x4 cells, bit ``x&3 | (y&3)<<2 | (z&3)<<4``; words are ordered with x fastest. A bit of
    ``coarse`` says that a word of ``bits`` is not zero, in the same order one tier up. The innermost level that
    contains a point decides about it.
    """

    bits: Tensor  # int64 [levels, (resolution/4)^3]
    coarse: Tensor  # int64 [levels, ceil(resolution/16)^3]
    aabb: Tensor  # float32 [2,3], the box of level 0, world units
    resolution: int
    levels: int

    def to(self, device: torch.device | str) -> OccupancyBits:
        """The same grid on another device."""
        return replace(self, bits=self.bits.to(device), coarse=self.coarse.to(device), aabb=self.aabb.to(device))

    @property
    def outer_aabb(self) -> Tensor:
        """The box of the outermost level, [2,3]."""
        return scaled_aabb(self.aabb, self.levels - 1)


def scaled_aabb(aabb: Tensor, level: int) -> Tensor:
    """The box of a level: ``aabb`` [2,3] scaled 2^level about its centre."""
    middle, half = (aabb[0] + aabb[1]) / 2, (aabb[1] - aabb[0]) / 2
    return torch.stack([middle - half * 2**level, middle + half * 2**level])


def pack_occupancy(mask: Tensor, aabb: Tensor) -> OccupancyBits:
    """Pack ``mask``, bool [levels, R, R, R] indexed [level, x, y, z], with R a multiple of 4.

    Raises:
        ConfigError: the mask's shape is not of that kind.
    """
    if mask.dim() != 4 or not mask.shape[1] == mask.shape[2] == mask.shape[3]:
        raise ConfigError("an occupancy mask has shape [levels, R, R, R]", found=tuple(mask.shape))
    return occupancy_from_density(mask.float().reshape(-1), 0.5, aabb, levels=mask.shape[0])


def occupancy_from_density(values: Tensor, threshold: float, aabb: Tensor, levels: int) -> OccupancyBits:
    """Pack the cells whose value is above a threshold (strictly).

    Args:
        values: float32 [levels * R^3].
        threshold: in the unit of the values.
        aabb: box of level 0, float32 [2,3].
        levels: how many nested grids ``values`` holds, 1 to 16.

    Raises:
        ConfigError: the values are not that many cubes, or R is not a multiple of 4.
    """
    resolution = round((values.numel() / max(levels, 1)) ** (1 / 3))
    if not 1 <= levels <= MAX_LEVELS or resolution < 4 or resolution % 4 or levels * resolution**3 != values.numel():
        raise ConfigError(
            "an occupancy grid is 1 to 16 levels of R x R x R cells, R a multiple of 4",
            found=f"{values.numel()} cells, {levels} levels",
        )
    op = _pack if native.active(values) else pack_reference
    bits, coarse = op(values, threshold, resolution, levels)
    return OccupancyBits(bits, coarse, aabb.to(values), resolution, levels)


def pack_reference(values: Tensor, threshold: float, resolution: int, levels: int) -> tuple[Tensor, Tensor]:
    """Bits and coarse bits in plain PyTorch."""
    mask = (values > threshold).view(levels, resolution, resolution, resolution)
    bits = _words(mask)
    side, coarse_side = resolution // 4, (resolution + 15) // 16
    used = torch.zeros((levels,) + (coarse_side * 4,) * 3, dtype=torch.bool, device=values.device)
    used[:, :side, :side, :side] = (bits != 0).view(levels, side, side, side).permute(0, 3, 2, 1)
    return bits, _words(used)


def _words(mask: Tensor) -> Tensor:
    levels, side = mask.shape[0], mask.shape[1] // 4
    blocks = mask.view(levels, side, 4, side, 4, side, 4).permute(0, 5, 3, 1, 6, 4, 2).reshape(levels, side**3, 64)
    return (blocks.long() << torch.arange(64, device=mask.device)).sum(-1)


@operation("occupancy_pack")
def _pack(values: Tensor, threshold: float, resolution: int, levels: int) -> tuple[Tensor, Tensor]:
    bits = torch.empty((levels, (resolution // 4) ** 3), dtype=torch.int64, device=values.device)
    coarse = torch.empty((levels, ((resolution + 15) // 16) ** 3), dtype=torch.int64, device=values.device)
    values = values.contiguous()
    native.library.occupancy_pack(
        native.target(values),
        values=native.pointer(values),
        threshold=threshold,
        resolution=resolution,
        levels=levels,
        blocks=native.pointer(bits, torch.int64),
        coarse=native.pointer(coarse, torch.int64),
    )
    return bits, coarse


@_pack.register_fake
def _(values: Tensor, threshold: float, resolution: int, levels: int) -> tuple[Tensor, Tensor]:
    bits = torch.empty((levels, (resolution // 4) ** 3), dtype=torch.int64, device=values.device)
    return bits, torch.empty((levels, ((resolution + 15) // 16) ** 3), dtype=torch.int64, device=values.device)


def unpack_occupancy(grid: OccupancyBits) -> Tensor:
    """The mask again: bool [levels, R, R, R] indexed [level, x, y, z]."""
    side = grid.resolution // 4
    bits = (grid.bits[..., None] >> torch.arange(64, device=grid.bits.device)) & 1
    blocks = bits.bool().view(grid.levels, side, side, side, 4, 4, 4)
    return blocks.permute(0, 3, 6, 2, 5, 1, 4).reshape(grid.levels, *(grid.resolution,) * 3)


def query_occupancy(grid: OccupancyBits, points: Tensor) -> Tensor:
    """Whether world points [P,3] lie in occupied cells: bool [P]; false outside the outermost level."""
    if native.active(points):
        return _query(points.detach(), *native_grid(grid))
    return query_mask(unpack_occupancy(grid), grid.aabb, points)


def query_mask(mask: Tensor, aabb: Tensor, points: Tensor) -> Tensor:
    """The same in plain PyTorch, from an unpacked mask [levels, R, R, R]; points [..., 3]."""
    levels, resolution = mask.shape[:2]
    offset = (points - aabb[0]) / (aabb[1] - aabb[0]) - 0.5  # of level 0's size
    inside = offset.abs().amax(-1) < 0.5 * 2 ** (levels - 1)
    level = torch.where(inside, innermost_level(points, aabb, levels), 0)
    cell = ((offset / 2.0 ** level[..., None] + 0.5) * resolution).nan_to_num().clamp(0, resolution - 1).long()
    return inside & mask[level, cell[..., 0], cell[..., 1], cell[..., 2]]


def innermost_level(points: Tensor, aabb: Tensor, levels: int) -> Tensor:
    """The innermost of ``levels`` nested grids about ``aabb`` [2,3] that contains each of points [...,3]: int64 [...],
    the outermost one for points outside of all."""
    reach = ((points - aabb[0]) / (aabb[1] - aabb[0]) - 0.5).abs().amax(-1)
    level = torch.zeros_like(reach, dtype=torch.int64)
    for i in range(levels - 1):
        level += reach >= 0.5 * 2**i
    return level


def native_grid(grid: OccupancyBits) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """A grid as custom operations take it."""
    return grid.bits, grid.coarse, grid.aabb, grid.resolution, grid.levels


def grid_fields(bits: Tensor, coarse: Tensor, aabb: Tensor, resolution: int, levels: int) -> dict[str, Any]:
    """A grid as the native module takes it."""
    side, coarse_side = resolution // 4, (resolution + 15) // 16
    if bits.numel() != levels * side**3 or coarse.numel() != levels * coarse_side**3 or aabb.shape != (2, 3):
        raise ConfigError(
            "the occupancy grid's arrays do not fit its resolution and levels", found=(resolution, levels)
        )
    return {
        "blocks": native.pointer(bits, torch.int64), "coarse": native.pointer(coarse, torch.int64),
        "aabb": native.pointer(aabb), "resolution": resolution, "levels": levels,
    }  # fmt: skip


@operation("occupancy_query")
def _query(points: Tensor, bits: Tensor, coarse: Tensor, aabb: Tensor, resolution: int, levels: int) -> Tensor:
    occupied = torch.empty(len(points), dtype=torch.bool, device=points.device)
    native.library.occupancy_query(
        native.target(points),
        n=len(points),
        grid=grid_fields(bits, coarse, aabb, resolution, levels),
        points=native.array(points),
        occupied=native.pointer(occupied, torch.bool),
    )
    return occupied


@_query.register_fake
def _(points: Tensor, bits: Tensor, coarse: Tensor, aabb: Tensor, resolution: int, levels: int) -> Tensor:
    return torch.empty(len(points), dtype=torch.bool, device=points.device)


def update_occupancy(values: Tensor, cell_indices: Tensor, new_values: Tensor, decay: float) -> None:
    """In place, for the given cells: the larger of ``decay`` times the value, and the new value.

    Args:
        values: float32 [levels * R^3], running maximum of each cell's density.
        cell_indices: int64 [K] into ``values``, each cell once.
        new_values: float32 [K]; NaN counts for nothing.
        decay: factor, 0 to 1.

    Raises:
        ConfigError: an index lies outside the grid, or the two arrays differ in length.
    """
    if cell_indices.shape != new_values.shape:
        raise ConfigError("each cell needs one value", found=(tuple(cell_indices.shape), tuple(new_values.shape)))
    if cell_indices.numel() and not 0 <= int(cell_indices.min()) <= int(cell_indices.max()) < values.numel():
        raise ConfigError("a cell index lies outside the occupancy grid", expected=f"0 to {values.numel() - 1}")
    if native.active(values):
        _update(values, cell_indices, new_values.detach(), decay)
    else:
        update_reference(values, cell_indices, new_values.detach(), decay)


def update_reference(values: Tensor, cell_indices: Tensor, new_values: Tensor, decay: float) -> None:
    """The same in plain PyTorch."""
    values[cell_indices] = torch.fmax(values[cell_indices] * decay, new_values)


@operation("occupancy_update", mutates=("values",))
def _update(values: Tensor, cell_indices: Tensor, new_values: Tensor, decay: float) -> None:
    cells, raised = cell_indices.contiguous(), new_values.contiguous()
    native.library.occupancy_update(
        native.target(values), n=len(cells), values=native.pointer(values), cells=native.pointer(cells, torch.int64),
        raised=native.pointer(raised), decay=decay,
    )  # fmt: skip


@_update.register_fake
def _(values: Tensor, cell_indices: Tensor, new_values: Tensor, decay: float) -> None:
    return None


def cell_points(cell_indices: Tensor, resolution: int, aabb: Tensor, jitter: Tensor | None = None) -> Tensor:
    """World points in cells, one each.

    Args:
        cell_indices: int64 [K], counted over all levels.
        resolution: cells along a side.
        aabb: box of level 0 [2,3].
        jitter: where in the cell, [K,3] in [0,1]; the middle if not given.

    Returns:
        float32 [K,3].
    """
    if native.active(cell_indices):
        return _cell_points(cell_indices, aabb, resolution, jitter)
    return cell_points_reference(cell_indices, resolution, aabb, jitter)


def cell_points_reference(cell_indices: Tensor, resolution: int, aabb: Tensor, jitter: Tensor | None = None) -> Tensor:
    """The same in plain PyTorch."""
    place = torch.stack([cell_indices // resolution**i % resolution for i in (2, 1, 0)], -1)
    inside = torch.full_like(aabb[:1], 0.5) if jitter is None else jitter
    size = 2.0 ** (cell_indices // resolution**3)[:, None].to(aabb.dtype)
    return (aabb[0] + aabb[1]) / 2 + ((place + inside) / resolution - 0.5) * size * (aabb[1] - aabb[0])


@operation("occupancy_points")
def _cell_points(cell_indices: Tensor, aabb: Tensor, resolution: int, jitter: Tensor | None) -> Tensor:
    points = native.empty_samples(aabb, len(cell_indices), 3)
    cells, aabb = cell_indices.contiguous(), aabb.contiguous()
    native.library.occupancy_points(
        native.target(points),
        n=len(cells),
        cells=native.pointer(cells, torch.int64),
        aabb=native.pointer(aabb),
        resolution=resolution,
        jitter=native.array(jitter),
        points=native.array(points),
    )
    return points


@_cell_points.register_fake
def _(cell_indices: Tensor, aabb: Tensor, resolution: int, jitter: Tensor | None) -> Tensor:
    return native.empty_samples(aabb, len(cell_indices), 3)
