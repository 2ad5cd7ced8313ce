"""What features learn from: comparisons across the edges by which pixels come together (He et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fieldlab.ops.linkage import single_linkage
from fieldlab.segment.graph import edge_costs
from fieldlab.segment.pairs import Comparisons

TEMPERATURE = 0.1


def euclidean_similarity(features: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Product [P] of the unit features [N,D] of pixels ``a`` and ``b``."""
    return (features[a] * features[b]).sum(1)


class Ultrametric:
    """Similarity of two pixels across the heaviest edge on the path between them that has the lightest such one. The
    gradient reaches the features at the ends of that edge alone.

    Args:
        features: unit [N,D].
        cells: int64 [N], pixels in one cell are told apart by no mask.
        first, second: int64 [E], the graph's edges.
    """

    def __init__(self, features: Tensor, cells: Tensor, first: Tensor, second: Tensor) -> None:
        self.features, self.first, self.second = features, first, second
        with torch.no_grad():
            cost = edge_costs(features.detach(), cells, first, second)
        self.linkage = single_linkage(len(features), first, second, cost)

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """[P] of pixels int64 [P]: 1 for a pixel with itself; of their own features where nothing connects them."""
        edge = self.linkage.bottleneck(a, b).to(a.device)
        joined = edge >= 0
        u = torch.where(joined, self.first[edge.clamp_min(0)], a)
        v = torch.where(joined, self.second[edge.clamp_min(0)], b)
        return euclidean_similarity(self.features, u, v)


def contrast(near: Tensor, far: Tensor) -> Tensor:
    """Mean cross-entropy of telling which couple is nearer; similarities [C] of those that shall be, and of others."""
    return softplus((far - near) / TEMPERATURE).mean() if len(near) else near.sum()


def comparison_loss(similarity: Callable[[Tensor, Tensor], Tensor], comparisons: Comparisons) -> Tensor:
    """:func:`contrast` of comparisons under a similarity of pixels."""
    return contrast(
        similarity(comparisons.near_a, comparisons.near_b), similarity(comparisons.far_a, comparisons.far_b)
    )


def norm_loss(raw: Tensor) -> Tensor:
    """Mean squared difference of the norms of features [N,D] from one."""
    return (raw.norm(dim=1) - 1).square().mean()


def continuity_loss(features: Tensor, depth: Tensor) -> Tensor:
    """How much features change between pixels side by side on one surface.

    Args:
        features: unit [R,4,D], of runs of four pixels side by side in one smallest mask.
        depth: [R,4]; runs across a step in depth do not count: |d0 - 3 d1 + 3 d2 - d3| above a hundredth of the depth.
    """
    third = (depth[:, 0] - 3 * depth[:, 1] + 3 * depth[:, 2] - depth[:, 3]).abs()
    smooth = third < 0.01 * depth.amax(1).clamp_min(1e-6)
    change = (features[:, 1:] - features[:, :-1]).square().sum(2).mean(1)
    return change[smooth].mean() if bool(smooth.any()) else change.sum() * 0
