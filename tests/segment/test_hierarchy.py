"""The tree: cuts nest, joining thresholds are an ultrametric, small pieces go where they touch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.errors import ConfigError
from fieldlab.ops.linkage import single_linkage
from fieldlab.segment.condense import Condensed, condense, merged_below
from fieldlab.segment.hierarchy import APART, Hierarchy, palette


def random_graph(seed: int, n: int, e: int):
    g = torch.Generator().manual_seed(seed)
    first, second = torch.randint(n, (2, e), generator=g)
    return first, second, torch.rand(e, generator=g)


def tree(seed: int, n: int = 40, e: int = 200, least: int = 3) -> Hierarchy | None:
    first, second, weight = random_graph(seed, n, e)
    try:
        condensed = condense(single_linkage(n, first, second, weight), first, second, weight, least)
    except ConfigError:
        return None
    kept = condensed.leaf >= 0
    points = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))
    return Hierarchy.of(replace(condensed, leaf=condensed.leaf[kept]), points[kept])


trees = st.builds(tree, st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 120), st.integers(1, 6))


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(trees, st.floats(0, 1.2), st.floats(0, 1.2))
def test_cuts_nest(made, a, b):
    if made is None:
        return
    fine, coarse = made.labels(min(a, b)), made.labels(max(a, b))
    for label in fine.unique():
        assert len(coarse[fine == label].unique()) == 1


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(trees)
def test_joining_thresholds_are_an_ultrametric(made):
    if made is None:
        return
    n = len(made.points)
    a, b = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    d = made.joined_at(a.flatten(), b.flatten()).view(n, n)
    assert torch.equal(d, d.t())
    assert bool((d.diagonal() == 0).all())
    assert bool((d[:, None, :] <= torch.maximum(d[:, :, None], d[None])).all())
    for threshold in (0.2, 0.5, 0.8):
        labels = made.labels(threshold)
        assert torch.equal(labels[:, None] == labels[None], d < threshold)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(0, 120))
def test_with_parts_of_one_point_cuts_are_components(seed, n, e):
    first, second, weight = random_graph(seed, n, e)
    linkage = single_linkage(n, first, second, weight)
    made = Hierarchy.of(condense(linkage, first, second, weight, 1), torch.rand(n, 3))
    a, b = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    edge = linkage.bottleneck(a.flatten(), b.flatten()).view(n, n)
    for threshold in (0.1, 0.5, 2.0):
        together = (a == b) | ((edge >= 0) & (weight[edge.clamp_min(0)] < threshold if e else False))
        labels = made.labels(threshold)
        assert torch.equal(labels[:, None] == labels[None], together)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(trees)
def test_every_part_is_large_enough_and_sizes_add_up(made):
    if made is None:
        return
    sizes = made.sizes
    roots = (made.parent < 0).nonzero()[:, 0]
    assert len(roots) == 1  # one tree
    assert int(sizes[roots[0]]) == len(made.points)
    for row in range(len(made.ids)):
        below = made.children(row)
        own = int((made.leaf == row).sum())
        assert int(sizes[row]) == own + sum(int(sizes[c]) for c in below)
        assert bool(own) != bool(below)  # points are in leaves
        assert bool((made.birth[below] <= made.birth[row]).all())
    assert made.ids.tolist() == list(range(len(made.ids)))
    assert int(roots[0]) == 0


def test_small_pieces_belong_to_the_part_they_touch():
    # Two rows of points, 0-4 and 5-9, joined at 0.9; point 10 hangs on 7 at 0.5, and 11 on 10 at 0.95.
    first = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8, 4, 10, 11])
    second = torch.tensor([1, 2, 3, 4, 6, 7, 8, 9, 5, 7, 10])
    weight = torch.tensor([0.1] * 8 + [0.9, 0.5, 0.95])
    condensed = condense(single_linkage(12, first, second, weight), first, second, weight, 4)
    made = Hierarchy.of(condensed, torch.rand(12, 3))
    assert len(made.ids) == 3
    for threshold in (0.01, 0.3, 0.8):
        labels = made.labels(threshold)
        assert len(labels.unique()) == 2
        assert len(labels[5:].unique()) == 1
    assert len(made.labels(0.92).unique()) == 1
    assert made.birth.sort(descending=True).values.tolist() == pytest.approx([0.9, 0.1, 0.1])


def test_what_nothing_connects_has_one_root():
    first, second = torch.tensor([0, 1, 3, 4]), torch.tensor([1, 2, 4, 5])
    weight = torch.full((4,), 0.2)
    made = Hierarchy.of(condense(single_linkage(6, first, second, weight), first, second, weight, 3), torch.rand(6, 3))
    assert len(made.labels(2.1).unique()) == 2
    assert float(made.birth[0]) == APART
    with pytest.raises(ConfigError, match="as large"):
        condense(single_linkage(6, first, second, weight), first, second, weight, 4)


def test_trees_that_are_none():
    made = tree(1)
    assert made is not None
    loop = made.parent.clone()
    loop[0] = int((made.parent == 0).nonzero()[0])
    with pytest.raises(ConfigError, match="above themselves"):
        replace(made, parent=loop, birth=torch.zeros_like(made.birth))
    with pytest.raises(ConfigError, match="born after"):
        replace(made, birth=torch.where(made.parent < 0, 0.0, 1.0))
    with pytest.raises(ConfigError, match="one id"):
        replace(made, ids=torch.zeros_like(made.ids))
    with pytest.raises(ConfigError, match="of no node"):
        replace(made, leaf=made.leaf + 100)
    with pytest.raises(ConfigError, match="no such segment"):
        made.row_of(10_000)


def test_parts_are_found_by_their_id_and_else_by_their_name():
    made = tree(1)
    assert made is not None
    last = len(made.ids) - 1
    made.names[last], made.names[last - 1], made.names[0] = "12000", "lid", "1"
    assert made.called("12000") == made.called(str(last)) == last
    assert made.called("lid") == last - 1
    assert made.called("1") == 1  # an id before a name
    for word, said in (
        ("12001", "no such segment"),
        ("9" * 5000, "no such segment"),
        ("handle", "no segment has this name"),
    ):
        with pytest.raises(ConfigError, match=said):
            made.called(word)
    made.names[0] = "lid"
    with pytest.raises(ConfigError, match="several segments"):
        made.called("lid")


def test_thresholds_reach_from_the_finest_cut_to_the_coarsest():
    made = tree(3)
    assert made is not None
    cuts = made.thresholds(12)
    assert bool((cuts[1:] >= cuts[:-1]).all())
    assert len(made.labels(float(cuts[0])).unique()) == len(made.leaf.unique())
    assert len(made.labels(float(cuts[-1])).unique()) == 1
    assert len({tuple(made.labels(float(t)).tolist()) for t in cuts}) > 2


def test_colors_are_distinct():
    colors = palette(torch.arange(60))
    assert colors.dtype == torch.uint8
    assert len({tuple(c) for c in colors.tolist()}) == 60


def test_merging_below_takes_out_what_comes_together_there():
    """Nodes 4 = (0, 1) at 0.01, 5 = (2, 4) at 0.015, 6 = (3, 5) at 0.5; point 4 is of none."""
    parent = torch.tensor([4, 4, 5, 6, 5, 6, -1])
    birth = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.01, 0.015, 0.5])
    made = merged_below(Condensed(parent, birth, torch.tensor([0, 1, 2, 3, -1])), 0.02)
    assert made.parent.tolist() == [2, 2, -1]  # 3, 5 and 6
    assert made.birth.tolist() == [0.0, 0.0, 0.5]
    assert made.leaf.tolist() == [1, 1, 1, 0, -1]
    same = Condensed(parent, birth, torch.tensor([0, 1, 2, 3, -1]))
    assert torch.equal(merged_below(same, 0.0).leaf, same.leaf)
