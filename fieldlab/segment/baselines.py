"""What a hierarchy is held against: the masks by themselves, and features that are only compared directly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from torch import Tensor

from fieldlab.segment.masks import ImageMasks
from fieldlab.segment.metrics import Labels

CLUSTERED = 8192  # points that HDBSCAN sees; the others follow the most similar of them
SHARES = (1 / 20, 1 / 50, 1 / 120, 1 / 300, 1 / 800)  # of them, in the smallest cluster, one scale each


def masks_alone(masks: ImageMasks) -> Labels:
    """int32 [T,H,W]: a photograph's own masks as parts, with as many thresholds as masks lie in each other: at each a
    pixel belongs to the mask so many steps below the outermost one that holds it, or to the smallest; -1 where no mask
    is. What any method could reach that had these masks for the very view."""
    parents = masks.parents()
    depth = np.zeros(len(masks), np.int64)
    for i in np.argsort(-masks.areas):
        depth[i] = 0 if parents[i] < 0 else depth[parents[i]] + 1
    layers = []
    for level in range(int(depth.max(initial=0)) + 1):
        found = np.full(masks.size, -1, np.int32)
        for i in np.argsort(-masks.areas, kind="stable"):
            if depth[i] <= level:
                found[masks.dense(int(i))] = i
        layers.append(found)
    return np.stack(layers)


def cluster_at_scales(features: Tensor, shares: Sequence[float] = SHARES, seed: int = 0) -> NDArray[np.int64]:
    """int64 [S,N]: clusters of unit features [N,D] by HDBSCAN (Campello et al. 2013) at several sizes of the smallest
    cluster; points of none go to the cluster of the most similar point that has one. Clusters of different scales have
    different numbers."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(features), generator=generator)[:CLUSTERED]
    some = features[chosen]
    nearest = torch.cat([(part @ some.t()).argmax(1) for part in features.split(1 << 13)])
    made, first = [], 0
    for share in shares:
        least = max(round(share * len(some)), 5)
        found = HDBSCAN(min_cluster_size=least, min_samples=5, copy=True).fit_predict(some.numpy())
        if (found < 0).all():
            found[:] = 0
        known = torch.from_numpy(found >= 0).nonzero()[:, 0]
        filled = torch.from_numpy(found)[known][(some @ some[known].t()).argmax(1)]
        made.append((filled[nearest] + first).numpy())
        first += int(found.max()) + 1
    return np.stack(made)
