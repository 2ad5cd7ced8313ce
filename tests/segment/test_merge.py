"""Parts that come together by their whole boundary, against the same done slowly."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from fieldlab.segment.graph import neighbor_edges
from fieldlab.segment.merge import merge_parts


def slowly(leaf, features, first, second, weight) -> list[tuple[float, set[int]]]:
    """(birth, points) of every join, looking at all pairs of regions again before each."""
    regions = [set((leaf == i).nonzero()[:, 0].tolist()) for i in range(int(leaf.max()) + 1)]
    made, highest = [], 0.0
    while True:
        best = None
        for i, a in enumerate(regions):
            for b in regions[:i]:
                edges = [
                    float(w) for p, q, w in zip(first.tolist(), second.tolist(), weight, strict=True)
                    if (p in a and q in b) or (p in b and q in a)
                ]  # fmt: skip
                if edges:
                    u, v = (normalize(features[sorted(r)].sum(0), dim=0) for r in (a, b))
                    cost = (sum(edges) / len(edges) * float((u - v).norm())) ** 0.5
                    best = min(best or (cost, a, b), (cost, a, b), key=lambda found: found[0])
        if best is None:
            return made
        highest = max(highest, best[0])
        regions = [r for r in regions if r not in best[1:]] + [best[1] | best[2]]
        made.append((highest, best[1] | best[2]))


@pytest.mark.parametrize("seed", range(6))
def test_the_cheapest_neighbors_come_together_first(seed):
    g = torch.Generator().manual_seed(seed)
    points, features = torch.rand(40, 3, generator=g), normalize(torch.randn(40, 3, generator=g), dim=1)
    first, second = neighbor_edges(points, 3)
    weight = (features[first] - features[second]).norm(dim=1)
    leaf = (points[:, 0] * 3).long() * 3 + (points[:, 1] * 3).long()
    _, leaf = leaf.unique(return_inverse=True)
    made = merge_parts(leaf, features, first, second, weight)
    m = int(leaf.max()) + 1
    assert torch.equal(made.leaf, leaf)
    assert made.birth[:m].tolist() == [0.0] * m
    members = [set((leaf == i).nonzero()[:, 0].tolist()) for i in range(m)]
    for k in range(m, len(made.parent)):
        members.append(set().union(*(members[i] for i in (made.parent == k).nonzero()[:, 0].tolist())))
    want = slowly(leaf, features, first, second, weight)
    assert len(want) == len(made.parent) - m
    for k, (birth, points_of) in enumerate(want, m):
        assert float(made.birth[k]) == pytest.approx(birth, abs=1e-5)
        assert members[k] == points_of
    inner = made.parent >= 0
    assert bool((made.birth[inner] <= made.birth[made.parent[inner]]).all())


def test_a_gap_in_a_boundary_does_not_join_what_it_parts():
    """Two squares with a steep boundary, but for one easy edge: single linkage would begin there."""
    side = 12
    y, x = torch.meshgrid(torch.arange(side), torch.arange(2 * side), indexing="ij")
    points = torch.stack((x.flatten(), y.flatten(), torch.zeros(2 * side * side)), dim=1).float()
    right = points[:, 0] >= side
    upper = points[:, 1] >= side // 2
    features = torch.where(right[:, None], torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
    features = normalize(features + 0.1 * upper[:, None] * torch.tensor([1.0, 1.0]).flip(0) * right[:, None], dim=1)
    first, second = neighbor_edges(points, 4)
    weight = (features[first] - features[second]).norm(dim=1)
    weight[(right[first] != right[second]).nonzero()[0, 0]] = 0.0
    leaf = right.long() * 2 + upper.long()
    made = merge_parts(leaf, features, first, second, weight)
    together = made.parent[:4].tolist()
    assert together[0] == together[1] != together[2] == together[3]
