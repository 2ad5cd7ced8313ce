"""Graphs of pixels and of points, whose edges join near neighbors."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from fieldlab.data.graph import components

MASK_CROSSING = 10.0
"""Added to the cost of an edge between pixels that a mask tells apart, so that paths within masks are preferred."""


def neighbor_edges(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Edges from every point [N,3] to its k nearest others, each once.

    Returns:
        int64 [E] and [E], the first below the second.
    """
    n = len(points)
    if n < 2:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    positions = points.detach().cpu().numpy()
    _, near = cKDTree(positions).query(positions, min(k + 1, n), workers=-1)
    a = np.repeat(np.arange(n), near.shape[1])
    b = near.ravel()
    low, high = np.minimum(a, b), np.maximum(a, b)
    keys = np.unique(low[low < high].astype(np.int64) * n + high[low < high])
    return torch.from_numpy(keys // n), torch.from_numpy(keys % n)


def largest_piece(n: int, first: Tensor, second: Tensor) -> int:
    """How many of n points the most that edges [E] connect are."""
    return int(np.bincount(components(n, torch.stack((first, second), dim=1).numpy())).max())


def edge_costs(features: Tensor, cells: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """float32 [E]: one minus the product of the unit features [N,D] at an edge's ends, and more where masks tell them
    apart, which are in different ``cells`` int64 [N] then."""
    similar = (features[first] * features[second]).sum(1)
    return 1 - similar + MASK_CROSSING * (cells[first] != cells[second])
