"""The signed distance to a mesh as a signal over [-1,1]^3: its points, loss and surface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.fit.fitting import Task
from fieldlab.fit.signal import Signal
from fieldlab.fit.solid import Solid
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.queries import sample_surface

SHARES = (4, 3, 1)  # of points on the surface, beside it, anywhere
BESIDE = 0.01  # standard deviation of the points beside the surface
LEAST = 0.01  # added to the true distance that errors are relative to
BLOCK = 16  # cells along a side of the blocks that are skipped away from the surface
SLACK = 0.02  # by which a fitted distance may be off


def to_unit(points: Tensor) -> Tensor:
    """[-1,1]^3 -> [0,1]^3."""
    return points * 0.5 + 0.5


class SdfTask(Task):
    """Fits distances at a pool of points made beforehand: 4 parts on the surface, 3 beside it, 1 anywhere.

    Args:
        solid: the mesh.
        pool: how many points.
        seed: of their random places; the same seed makes the same pool.
        on_share: called with the share of the pool that is done.
    """

    dims = 3

    def __init__(self, solid: Solid, pool: int, seed: int, on_share: Callable[[float], object] | None = None) -> None:
        self.solid = solid
        rng = np.random.default_rng(seed)
        x, distance = np.empty((pool, 3), np.float32), np.empty((pool, 1), np.float32)
        order = rng.permutation(pool)
        step = 1 << 17
        for start in range(0, pool, step):
            where = order[start : start + step]
            points, values = training_points(solid, len(where), rng)
            x[where], distance[where, 0] = points, values
            if on_share is not None:
                on_share(min(1.0, (start + step) / pool))
        super().__init__(to_unit(torch.from_numpy(x)), torch.from_numpy(distance))

    def batch(self, step: int, size: int, generator: torch.Generator) -> Tensor | slice:
        """The next points of the pool, which is in random order, around and around."""
        n = len(self.x)
        start = step * size % n
        if start + size <= n:
            return slice(start, start + size)
        return torch.arange(start, start + size) % n

    def loss(self, made: Tensor, wanted: Tensor) -> Tensor:
        """The mean of |made - wanted| / (|wanted| + 0.01) (Chen et al. 2023, section 4.2)."""
        return ((made - wanted).abs() / (wanted.abs() + LEAST)).mean()

    def importance(self) -> Tensor:
        """One over distance (Chen et al. 2023, section 3.4)."""
        return 1 / (self.wanted[:, 0].abs() + 1e-9)

    def describe(self, loss: float) -> str:
        return f"relative error {loss:.4f}"


def training_points(solid: Solid, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points float64 [count,3] of the three kinds and their signed distances [count]."""
    beside, anywhere = (count * share // sum(SHARES) for share in SHARES[1:])
    surface, _ = sample_surface(solid.mesh, count - anywhere, rng)
    surface[:beside] += rng.normal(0, BESIDE, (beside, 3))
    points = np.concatenate((surface, rng.uniform(-1, 1, (anywhere, 3))))
    distance = np.zeros(count)
    off = np.r_[0:beside, count - anywhere : count]
    distance[off] = solid.signed_distance(points[off])
    return points, distance


def sdf_values(signal: Signal, points: np.ndarray) -> np.ndarray:
    """Fitted distances float32 [P] at points [P,3] of [-1,1]^3."""
    return signal.evaluate(to_unit(torch.from_numpy(np.asarray(points, np.float32))))[:, 0].numpy()


def extract_surface(signal: Signal, resolution: int, on_share: Callable[[float], object] | None = None) -> Mesh:
    """The surface where the fitted distance is zero, by marching cubes (Lewiner et al. 2003), in [-1,1]^3.

    Only blocks whose middle is near the surface are evaluated; the others get the sign of their middle.

    Args:
        resolution: cells along a side of the cube, rounded up to whole blocks.

    Raises:
        ConfigError: the distance is zero nowhere.
    """
    blocks = -(-resolution // BLOCK)
    cells = blocks * BLOCK
    cell = 2 / cells
    reach = 0.5 * np.sqrt(3) * BLOCK * cell
    grid = np.stack(np.meshgrid(*[np.arange(blocks)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    middle = sdf_values(signal, (grid + 0.5) * BLOCK * cell - 1)
    far = np.repeat(np.repeat(np.repeat(middle.reshape((blocks,) * 3), BLOCK, 0), BLOCK, 1), BLOCK, 2)
    values = np.pad(far, ((0, 1),) * 3, mode="edge")
    near = grid[np.abs(middle) < 1.5 * reach + SLACK]
    corner = np.stack(np.meshgrid(*[np.arange(BLOCK + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for i, block in enumerate(near):
        at = block * BLOCK
        found = sdf_values(signal, (at + corner) * cell - 1).reshape((BLOCK + 1,) * 3)
        values[tuple(slice(a, a + BLOCK + 1) for a in at)] = found
        if on_share is not None and i % 16 == 0:
            on_share((i + 1) / len(near))
    if not values.min() < 0 < values.max():
        raise ConfigError(
            "no surface: the fitted distance is zero nowhere", found=f"{values.min():.3g} to {values.max():.3g}",
            hint="fit it longer",
        )  # fmt: skip
    vertices, faces, _, _ = marching_cubes(values, level=0.0, gradient_direction="descent")
    return Mesh(vertices.astype(np.float64) * cell - 1, faces.astype(np.int64))
