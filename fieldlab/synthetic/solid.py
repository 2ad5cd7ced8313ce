"""The exact solid behind a procedural scene: its signed distance and a mesh of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.synthetic.load import scene_model
from fieldlab.synthetic.parallel import workers

_POINTS_PER_BATCH = 1 << 17


def ground_truth_sdf(name: str) -> Callable[[Tensor], Tensor]:
    """The scene's signed distance: float32 points [P,3] in world units to [P], negative inside.

    The zero set is exact; elsewhere the value never exceeds the true distance in size outside of solids.
    """
    model = scene_model(name)

    def distance(points: Tensor) -> Tensor:
        if points.shape[0] == 0:
            return points.new_zeros(0)
        parts = []
        for batch in points.split(_POINTS_PER_BATCH):
            x, y, z = batch.T.contiguous().unbind(0)
            parts.append(model.distance((x, y, z)))
        return torch.cat(parts)

    return distance


@torch.no_grad()
def true_mesh(name: str, resolution: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes over the scene's box: vertices float32 [V,3] in world units, faces int64 [F,3], outward.

    Args:
        resolution: cells along the longest side of the box, 8 to 1024.

    The surface is closed where solids leave the box.

    Raises:
        ConfigError: the resolution is out of range.
    """
    if not 8 <= resolution <= 1024:
        raise ConfigError("a mesh cannot be made so", field="resolution", found=resolution, expected="8 to 1024")
    low, high = np.asarray(scene_model(name).aabb, dtype=np.float64)
    cell = float((high - low).max()) / resolution
    counts = np.ceil((high - low) / cell - 1e-9).astype(int) + 1
    x, y, z = (torch.from_numpy(low[k] + cell * np.arange(counts[k])).float() for k in range(3))
    plane_y, plane_z = (v.reshape(-1) for v in torch.meshgrid(y, z, indexing="ij"))
    distance = ground_truth_sdf(name)
    values = np.full(tuple(counts + 2), cell, dtype=np.float32)  # a layer of air all around closes the surface

    def fill(i: int) -> None:
        points = torch.stack([x[i].expand_as(plane_y), plane_y, plane_z], dim=1)
        values[i + 1, 1:-1, 1:-1] = distance(points).view(int(counts[1]), int(counts[2])).numpy()

    with workers() as pool:
        list(pool.map(fill, range(counts[0])))
    vertices, faces, _, _ = marching_cubes(values, 0.0, spacing=(cell,) * 3, gradient_direction="descent")
    return (vertices + (low - cell)).astype(np.float32), faces.astype(np.int64)
