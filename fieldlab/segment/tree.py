"""From features on the surface to the tree of parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import normalize

from fieldlab.errors import ConfigError
from fieldlab.ops.linkage import single_linkage
from fieldlab.segment.condense import condense, merged_below
from fieldlab.segment.graph import neighbor_edges
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.merge import merge_parts
from fieldlab.segment.segmenter import Segmenter

MOST_POINTS = 200_000
NEIGHBORS = 16
OPAQUE = 0.9  # of pixels whose points are on the surface
ROUNDS, ALIKE = 3, 0.2  # of smoothing: how often, and the distance of features that are still alike
NOISE = 0.1  # cost of a boundary, as a share of the highest, below which nothing is told apart
CHUNK = 1 << 16  # edges at a time
LEAST_SHARE = 1 / 2000  # of all points, of the smallest part
LEAST_POINTS = 12


def surface(segmenter: Segmenter, most: int = MOST_POINTS) -> tuple[Tensor, Tensor]:
    """Points on the surface, evenly spread: world float32 [N,3] and unit features [N,D], as pixels see them.

    Raises:
        ConfigError: nothing is opaque.
    """
    masked_views = segmenter.masked_views
    solid = [(view.seen.opacity > OPAQUE).nonzero()[:, 0] for view in masked_views]
    candidates = [view.seen.points[pixels] for view, pixels in zip(masked_views, solid, strict=True)]
    if not sum(map(len, candidates)):
        raise ConfigError("the field has no surface", field="opacity", expected=f"pixels above {OPAQUE}")
    points, features = [], []
    for view, pixels, chosen in zip(masked_views, solid, spread(candidates, most), strict=True):
        pixels = pixels[chosen]
        points.append(view.seen.points[pixels])
        with torch.no_grad():
            features += [segmenter.features(view.seen, part)[1] for part in pixels.split(1 << 13)]
    return torch.cat(points).cpu(), torch.cat(features).cpu()


def spread(candidates: Sequence[Tensor], most: int) -> list[Tensor]:
    """Which of the points [P,3] of several sets to keep, so that they are about evenly spread, at most ``most``: the
    first in each cell of a lattice that is as fine as that allows. int64 per set."""
    every = torch.cat(list(candidates)).cpu()
    low = every.amin(0)
    extent = float((every.amax(0) - low).max().clamp_min(1e-9))
    fine, coarse = 1 << 12, 1
    while fine - coarse > max(coarse // 50, 1):  # cells a side
        middle = (fine + coarse) // 2
        if len(_cells(every, low, extent / middle).unique()) > most:
            fine = middle
        else:
            coarse = middle
    _, first = np.unique(_cells(every, low, extent / coarse).numpy(), return_index=True)
    chosen = torch.zeros(len(every), dtype=torch.bool)
    chosen[torch.from_numpy(first)] = True
    return [part.nonzero()[:, 0] for part in chosen.split([len(c) for c in candidates])]


def _cells(points: Tensor, low: Tensor, size: float) -> Tensor:
    cell = ((points - low) / size).long()
    return (cell[:, 0] << 40) + (cell[:, 1] << 20) + cell[:, 2]


def build_hierarchy(points: Tensor, features: Tensor, least: int | None = None, k: int = NEIGHBORS) -> Hierarchy:
    """The tree of points [N,3] by their unit features [N,D], which are made smooth first: the smallest parts are those
    of single linkage, and come together by their boundaries (:func:`merge_parts`).

    An edge weighs as much as its ends differ, but no less than features change around either end: between two parts
    they change gradually over several points, and steps from one to the next would be small all the way across.

    Args:
        least: points of the smallest part; a share of all by default.

    Raises:
        ConfigError: fewer points than the smallest part has.
    """
    least = max(round(len(points) * LEAST_SHARE), LEAST_POINTS) if least is None else least
    first, second = neighbor_edges(points, k)
    features = smoothed(features, first, second)
    length = distances(features, first, second)
    change = local_change(len(points), first, second, length)
    weight = torch.maximum(length, torch.maximum(change[first], change[second]))
    condensed = condense(single_linkage(len(points), first, second, weight), first, second, weight, least)
    leaf = condensed.leaf
    if bool((leaf < 0).any()):  # pieces apart from everything, too small to be parts: of the nearest point's
        known = leaf >= 0
        _, nearest = cKDTree(points[known].numpy()).query(points[~known].numpy(), workers=-1)
        leaf = leaf.clone()
        leaf[~known] = leaf[known][torch.from_numpy(np.asarray(nearest))]
    _, leaf = leaf.unique(return_inverse=True)
    merged = merge_parts(leaf, features, first, second, weight)
    return Hierarchy.of(merged_below(merged, NOISE * float(merged.birth.max())), points)


def local_change(n: int, first: Tensor, second: Tensor, length: Tensor) -> Tensor:
    """float32 [N]: root mean square of the lengths [E] of the edges at each point."""
    count = torch.zeros(n).index_add(0, torch.cat((first, second)), torch.ones(2 * len(first)))
    total = torch.zeros(n).index_add(0, torch.cat((first, second)), torch.cat((length, length)).square())
    return (total / count.clamp_min(1)).sqrt()


def smoothed(features: Tensor, first: Tensor, second: Tensor, rounds: int = ROUNDS, alike: float = ALIKE) -> Tensor:
    """Unit features [N,D], each replaced by the mean of itself and its neighbors along the edges [E], several times. A
    neighbor counts as much as it is alike, exp(-(distance / alike)^2 / 2) (a bilateral filter, Tomasi & Manduchi 1998,
    on a graph): noise within a part goes, which single linkage would follow, and steps between parts stay."""
    n = len(features)
    itself = torch.arange(n)
    ends = (torch.cat((first, second, itself)).numpy(), torch.cat((second, first, itself)).numpy())
    for _ in range(rounds):
        near = torch.exp(-0.5 * (distances(features, first, second) / alike).square())
        weights = torch.cat((near, near, near.new_ones(n))).numpy()
        mean = csr_matrix((weights, ends), shape=(n, n)) @ features.numpy()
        features = normalize(torch.from_numpy(mean), dim=1)
    return features


def distances(features: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """float32 [E]: how far apart the features at the ends of edges are."""
    parts = zip(first.split(CHUNK), second.split(CHUNK), strict=True)
    return torch.cat([(features[a] - features[b]).norm(dim=1) for a, b in parts]) if len(first) else torch.empty(0)
