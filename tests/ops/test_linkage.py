"""Single linkage against brute force: minimax paths, components at every threshold, the ultrametric inequality."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.linkage import Linkage, single_linkage


def graph(seed: int, n: int, e: int, steps: int = 1000):
    g = torch.Generator().manual_seed(seed)
    first, second = torch.randint(n, (2, e), generator=g)
    return first, second, torch.randint(steps, (e,), generator=g).float()


def minimax(n: int, first, second, weight) -> torch.Tensor:
    """Lightest heaviest edge between all pairs, by Floyd and Warshall."""
    d = torch.full((n, n), torch.inf)
    for a, b, w in zip(first.tolist(), second.tolist(), weight.tolist(), strict=True):
        d[a, b] = d[b, a] = min(float(d[a, b]), w)
    d.fill_diagonal_(0)
    for k in range(n):
        d = torch.minimum(d, torch.maximum(d[:, k : k + 1], d[k : k + 1]))
    return d


def distances(linkage: Linkage, n: int, weight) -> torch.Tensor:
    a, b = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    edge = linkage.bottleneck(a.flatten(), b.flatten()).view(n, n)
    found = torch.where(edge >= 0, weight[edge.clamp_min(0)] if len(weight) else torch.zeros(n, n), torch.inf)
    return found.fill_diagonal_(0)


@pytest.mark.parametrize("backend", ["native", "reference"])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 14), st.integers(0, 40), st.sampled_from([2, 1000]))
def test_bottlenecks_are_minimax_paths(backend, seed, n, e, steps):
    first, second, weight = graph(seed, n, e, steps)
    with native.use_backend(backend):
        found = distances(single_linkage(n, first, second, weight), n, weight)
    assert torch.equal(found, minimax(n, first, second, weight))
    through = torch.maximum(found[:, :, None], found[None])  # from i over k to j
    assert bool((found[:, None, :] <= through).all())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 120))
def test_native_and_reference_join_alike(seed, n, e):
    first, second, weight = graph(seed, n, e, 20)
    fast = single_linkage(n, first, second, weight)
    with native.use_backend("reference"):
        slow = single_linkage(n, first, second, weight)
    for name in ("order", "parent", "time", "joined", "joined_by"):
        assert torch.equal(getattr(fast, name), getattr(slow, name)), name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 120), st.integers(0, 20))
def test_joins_up_to_a_threshold_are_the_components_of_its_edges(seed, n, e, threshold):
    first, second, weight = graph(seed, n, e, 20)
    linkage = single_linkage(n, first, second, weight)
    label = list(range(n + len(linkage.joined)))
    for k, ((a, b), edge) in enumerate(zip(linkage.joined.tolist(), linkage.joined_by.tolist(), strict=True)):
        if float(weight[edge]) < threshold:
            label[a] = label[b] = n + k

    def top(i: int) -> int:
        while label[i] != i:
            i = label[i]
        return i

    kept = weight < threshold
    ones = torch.ones(int(kept.sum()))
    wanted = connected_components(coo_array((ones, (first[kept], second[kept])), (n, n)), directed=False)[1]
    tops = torch.tensor([top(i) for i in range(n)])
    wanted = torch.from_numpy(wanted)
    assert torch.equal(tops[:, None] == tops[None], wanted[:, None] == wanted[None])


def test_paths_in_the_forest_are_short():
    n = 4096
    chain = torch.arange(n - 1)
    linkage = single_linkage(n, chain, chain + 1, torch.arange(n - 1).float())
    depth, at = torch.zeros(n), torch.arange(n)
    while bool((linkage.parent[at] != at).any()):
        depth += linkage.parent[at] != at
        at = linkage.parent[at]
    assert float(depth.max()) <= 12
    assert linkage.bottleneck(torch.tensor([0]), torch.tensor([n - 1])).tolist() == [n - 2]


def test_edges_to_nowhere_are_refused():
    one = torch.ones(1, dtype=torch.int64)
    with pytest.raises(ConfigError, match="not there"):
        single_linkage(1, one * 0, one, torch.zeros(1))
    with pytest.raises(ConfigError, match="two points"):
        single_linkage(2, one, one, torch.zeros(2))
