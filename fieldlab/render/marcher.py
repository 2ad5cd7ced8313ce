"""Who finds the samples along rays: our own marching, or nerfacc's on CUDA where it is installed."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from fieldlab.errors import BackendError
from fieldlab.ops.march import march
from fieldlab.ops.occupancy import OccupancyBits, unpack_occupancy
from fieldlab.ops.samples import Samples, offsets_of

MARCHERS = ("native", "nerfacc")


class Marcher(Protocol):
    """Samples in occupied cells: see :func:`fieldlab.ops.march.march` for the arguments."""

    def __call__(
        self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, grid: OccupancyBits, step: float,
        cone_angle: float = 0.0, jitter: Tensor | None = None,
    ) -> Samples: ...  # fmt: skip


def choose_marcher(name: str, device: torch.device) -> Marcher:
    """The marcher of a name.

    Raises:
        BackendError: the name is unknown, or nerfacc was asked for without CUDA or is not installed.
    """
    if name not in MARCHERS:
        raise BackendError("there is no such marcher", found=name, expected=" | ".join(MARCHERS))
    if name == "native":
        return march
    if device.type != "cuda":
        raise BackendError("nerfacc marches on CUDA only", found=device.type, hint="use the native marcher")
    try:
        from nerfacc import OccGridEstimator
    except (ImportError, OSError) as error:  # OSError is how its half-built extension shows
        raise BackendError(
            "nerfacc cannot be imported", found=error, hint="pip install 'fieldlab[nerfacc]', or use the native marcher"
        ) from error
    return NerfaccMarcher(OccGridEstimator)


class NerfaccMarcher:
    """Marching by nerfacc's ``OccGridEstimator``, whose grid follows ours.

    With a cone angle its lattice differs from ours: it holds the step fixed while it crosses empty space.

    Args:
        estimator_type: nerfacc's class.
    """

    def __init__(self, estimator_type: Any) -> None:
        self._type = estimator_type
        self._estimator: Any = None
        self._grid: OccupancyBits | None = None

    def __call__(
        self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, grid: OccupancyBits, step: float,
        cone_angle: float = 0.0, jitter: Tensor | None = None,
    ) -> Samples:  # fmt: skip
        if grid is not self._grid:
            self._follow(grid)
        start = near if jitter is None else near + jitter * step
        ray_indices, t_starts, t_ends = self._estimator.sampling(
            origins, directions, t_min=start, t_max=far, render_step_size=step, cone_angle=cone_angle
        )
        ray_indices = ray_indices.long()
        counts = torch.bincount(ray_indices, minlength=len(origins))
        return Samples(offsets_of(counts), t_starts.contiguous(), t_ends.contiguous(), ray_indices)

    def _follow(self, grid: OccupancyBits) -> None:
        known = self._grid
        if known is None or (known.resolution, known.levels) != (grid.resolution, grid.levels):
            estimator = self._type(roi_aabb=grid.aabb.flatten(), resolution=grid.resolution, levels=grid.levels)
            self._estimator = estimator.to(grid.aabb.device)
        self._estimator.binaries = unpack_occupancy(grid)
        self._grid = grid
