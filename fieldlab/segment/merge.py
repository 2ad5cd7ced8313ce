"""From the smallest parts up: parts come together by their whole common boundary, not by its weakest spot.

Single linkage follows the one easiest way from part to part, which a single gap in a boundary opens. Over the parts
that it finds, two neighbors cost the geometric mean of how much features change across all of their common boundary
(as in the ultrametric contour maps of Arbelaez 2006) and of how far apart their mean features are. The cheapest pair
comes together first, again and again; a node is born at the highest cost so far, so that births never fall on the way
up and cuts nest.
"""

from __future__ import annotations

import heapq

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldlab.segment.condense import Condensed


def merge_parts(leaf: Tensor, features: Tensor, first: Tensor, second: Tensor, weight: Tensor) -> Condensed:
    """The forest over M parts of N points.

    Args:
        leaf: int64 [N], part of each point, 0 to M - 1, each with a point.
        features: unit [N,D].
        first, second: int64 [E], edges between points.
        weight: [E], how much features change there.

    Returns:
        Nodes 0 to M - 1 are the parts, born at 0.
    """
    regions = _Regions(leaf, features, first, second, weight)
    m = len(regions.sums)
    parent, birth, highest = [-1] * m, [0.0] * m, 0.0
    waiting = [(regions.cost(a, b), a, b) for a in range(m) for b in regions.border[a] if a < b]
    heapq.heapify(waiting)
    while waiting:
        cost, a, b = heapq.heappop(waiting)
        if parent[a] >= 0 or parent[b] >= 0:
            continue
        highest = max(highest, cost)
        parent[a] = parent[b] = made = regions.join(a, b)
        parent.append(-1)
        birth.append(highest)
        for c in regions.border[made]:
            heapq.heappush(waiting, (regions.cost(made, c), made, c))
    return Condensed(torch.tensor(parent), torch.tensor(birth), leaf)


class _Regions:
    """Regions of points: the sums of their features, and per neighbor the sum and number of the edges between."""

    def __init__(self, leaf: Tensor, features: Tensor, first: Tensor, second: Tensor, weight: Tensor) -> None:
        m = int(leaf.max()) + 1
        sums = torch.zeros(m, features.shape[1]).index_add(0, leaf, features)
        self.sums: list[NDArray[np.float32]] = list(sums.numpy())
        self.border: list[dict[int, tuple[float, int]]] = [{} for _ in range(m)]
        a, b = leaf[first], leaf[second]
        across = a != b
        pairs = torch.minimum(a, b)[across] * m + torch.maximum(a, b)[across]
        keys, pair, count = pairs.unique(return_inverse=True, return_counts=True)
        total = torch.zeros(len(keys)).index_add(0, pair, weight[across])
        for key, t, n in zip(keys.tolist(), total.tolist(), count.tolist(), strict=True):
            i, j = divmod(key, m)
            self.border[i][j] = self.border[j][i] = t, n

    def cost(self, a: int, b: int) -> float:
        """Of two neighbors."""
        total, count = self.border[a][b]
        apart = self.mean(a) - self.mean(b)
        return float(np.sqrt(total / count * np.linalg.norm(apart)))

    def mean(self, a: int) -> NDArray[np.float32]:
        """Unit mean feature."""
        found: NDArray[np.float32] = self.sums[a] / max(float(np.linalg.norm(self.sums[a])), 1e-12)
        return found

    def join(self, a: int, b: int) -> int:
        """A new region of both, which take no part any more."""
        made = len(self.sums)
        self.sums.append(self.sums[a] + self.sums[b])
        border: dict[int, tuple[float, int]] = {}
        for old in (a, b):
            for c, (total, count) in self.border[old].items():
                if c not in (a, b):
                    before = border.get(c, (0.0, 0))
                    border[c] = before[0] + total, before[1] + count
                del self.border[c][old]
        self.border[a], self.border[b] = {}, {}
        self.border.append(border)
        for c, edge in border.items():
            self.border[c][made] = edge
        return made
