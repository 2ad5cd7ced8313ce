"""Density on a regular grid over the box, evaluated only where the occupancy grid has something."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fieldlab.data.images import available_memory
from fieldlab.errors import ConfigError
from fieldlab.render.model import RadianceModel

BYTES_PER_VERTEX = 16  # density, its logarithm, the padded copy marching cubes reads, and the mask
OnShare = Callable[[float], object]


@dataclass(frozen=True)
class DensityGrid:
    """Densities at grid vertices.

    Args:
        values: float32 [X,Y,Z] density per world unit; 0 where the occupancy grid is empty.
        origin: float64 [3] world position of vertex 0,0,0.
        spacing: float64 [3] distance of neighboring vertices along each axis in world units.
        box: float64 [2,3] the whole box, of which the grid covers the part with something in it.
    """

    values: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    box: np.ndarray

    def density_range(self) -> tuple[float, float]:
        """Lowest and highest density of what is not empty; zeros when everything is."""
        filled = self.values[self.values > 0]
        return (float(filled.min()), float(filled.max())) if filled.size else (0.0, 0.0)


@torch.no_grad()
def sample_density(
    model: RadianceModel, resolution: int, on_share: OnShare | None = None, chunk: int = 1 << 18
) -> DensityGrid:
    """Evaluate the density of ``model`` on a grid over its box with ``resolution`` cells along the longest side.

    Vertices in cells that rendering skips count as empty, since whatever the field holds there was never seen.

    Args:
        on_share: called with the share of the work done so far, up to 1.
        chunk: positions evaluated at a time.

    Raises:
        ConfigError: the resolution is impossible or the grid does not fit in memory.
    """
    if not 4 <= resolution <= 4096:
        raise ConfigError("the resolution of the mesh is impossible", found=resolution, expected="4 to 4096")
    box = model.aabb.double().cpu()
    extent = box[1] - box[0]
    cells = (extent / extent.max() * resolution).round().long().clamp_min(1)
    low, high = torch.zeros(3, dtype=torch.long), cells.clone()
    axes = [torch.arange(int(n) + 1) for n in cells]
    occupied = _occupied_cells(model)
    if occupied is not None:
        reached = [_reach(axis, int(n), occupied.shape[0]) for axis, n in zip(axes, cells, strict=True)]
        low, high = _filled_span(occupied, reached)
        axes = [axis[int(a) : int(b) + 1] for axis, a, b in zip(axes, low, high, strict=True)]
        reached = [pair[:, int(a) : int(b) + 1] for pair, a, b in zip(reached, low, high, strict=True)]
    shape = tuple(len(axis) for axis in axes)
    _check_memory(shape, resolution)
    spacing = extent / cells
    values = torch.zeros(shape)
    layers = max(1, chunk // max(shape[1] * shape[2], 1))
    for start in range(0, shape[0], layers):
        rows = slice(start, min(start + layers, shape[0]))
        size = (rows.stop - rows.start, *shape[1:])
        wanted = torch.ones(size, dtype=torch.bool)
        if occupied is not None:
            wanted = _vertices_reached(occupied, [reached[0][:, rows], reached[1], reached[2]])
        index = wanted.nonzero() + torch.tensor([start, 0, 0])
        slab = values[rows]
        found = [
            model.density((box[0] + (part + low) * spacing).float().to(model.aabb.device)).float().cpu()
            for part in index.split(chunk)
        ]
        slab[wanted] = torch.cat([torch.zeros(0), *found])
        if on_share is not None:
            on_share(rows.stop / shape[0])
    return DensityGrid(values.numpy(), (box[0] + low * spacing).numpy(), spacing.numpy(), box.numpy())


def _occupied_cells(model: RadianceModel) -> Tensor | None:
    """bool [R,R,R] of the box itself, or None where the model skips nothing."""
    grid = getattr(model, "occupancy", None)
    return None if grid is None else grid.occupied()[0].cpu()


def _reach(axis: Tensor, cells: int, resolution: int) -> Tensor:
    """int64 [2,N]: the occupancy cells below and above every vertex of an axis (the same one inside a cell)."""
    at = axis.double() / cells * resolution
    both = torch.stack(((at - 1e-6).floor(), (at + 1e-6).floor()))
    return both.long().clamp(0, resolution - 1)


def _vertices_reached(occupied: Tensor, reached: list[Tensor]) -> Tensor:
    """bool [X,Y,Z]: vertices that touch an occupied cell."""
    x, y, z = reached
    found = occupied[x[0]] | occupied[x[1]]
    found = found[:, y[0]] | found[:, y[1]]
    return found[:, :, z[0]] | found[:, :, z[1]]


def _filled_span(occupied: Tensor, reached: list[Tensor]) -> tuple[Tensor, Tensor]:
    """First and last vertex [3] of every axis that can be filled, widened by one; the first cell when none can."""
    low, high = torch.zeros(3, dtype=torch.long), torch.ones(3, dtype=torch.long)
    for axis, pair in enumerate(reached):
        others = [d for d in range(3) if d != axis]
        line = occupied.any(dim=others[1]).any(dim=others[0])
        at = (line[pair[0]] | line[pair[1]]).nonzero()[:, 0]
        if len(at):
            low[axis], high[axis] = max(int(at[0]) - 1, 0), min(int(at[-1]) + 1, pair.shape[1] - 1)
    return low, high


def _check_memory(shape: tuple[int, ...], resolution: int) -> None:
    needed, free = math.prod(shape) * BYTES_PER_VERTEX, available_memory()
    if free is not None and needed > 0.8 * free:
        raise ConfigError(
            "the density grid for the mesh does not fit in memory",
            field="resolution",
            found=f"{resolution} needs {needed / 1e9:.1f} GB",
            expected=f"at most {0.8 * free / 1e9:.1f} GB",
            hint=f"use a resolution of {max(4, int((resolution + 1) * (0.8 * free / needed) ** (1 / 3)) - 2)} or less",
        )
