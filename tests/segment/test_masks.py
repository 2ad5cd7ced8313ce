"""Masks of one photograph: run lengths, cells, containment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.segment.masks import ImageMasks

SIZE = (12, 17)


def rectangle(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def random_masks(seed: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (count, 4))
    return [rectangle(min(a, b), min(c, d), max(a, b) + 1, max(c, d) + 3) for a, b, c, d in corners.tolist()]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 9))
def test_cells_are_what_no_mask_tells_apart(seed, count):
    dense = random_masks(seed, count)
    masks = ImageMasks.of(dense, SIZE)
    assert len(masks) == count
    cells, member = masks.overlay
    stack = np.stack([*dense, np.ones(SIZE, bool)]).reshape(count + 1, -1)  # the last one tells nothing apart
    for i, mask in enumerate(dense):
        assert (masks.dense(i) == mask).all()
        assert (member[cells, i] == mask).all()
        assert masks.areas[i] == mask.sum()
    flat = cells.ravel()
    same = (stack[:, :, None] == stack[:, None]).all(0)
    assert ((flat[:, None] == flat[None]) == same).all()
    for i, a in enumerate(dense):
        for j, b in enumerate(dense):
            assert masks.meets[i, j] == (a & b).sum()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 12))
def test_lying_inside_is_an_order(seed, count):
    inside = ImageMasks.of(random_masks(seed, count), SIZE).inside
    assert not (inside & inside.T).any()
    assert not inside.diagonal().any()
    through = (inside.astype(int) @ inside.astype(int)) > 0
    assert not (through & ~inside).any()


def test_parents_are_the_smallest_that_hold_a_mask():
    outer, middle, inner = rectangle(0, 0, 10, 10), rectangle(1, 1, 8, 8), rectangle(2, 2, 4, 4)
    crossing = rectangle(5, 6, 12, 14)
    masks = ImageMasks.of([inner, outer, crossing, middle], SIZE)
    assert masks.parents().tolist() == [3, -1, -1, 1]
    assert masks.conflicts == 2  # the crossing one with two others
    assert ImageMasks.of([inner, outer], SIZE).conflicts == 0


def test_a_few_pixels_outside_do_not_matter():
    inner = rectangle(1, 1, 7, 8)  # 42 pixels
    inner[7, 1:3] = True  # two of 44 outside
    masks = ImageMasks.of([inner, rectangle(0, 0, 7, 12)], SIZE)
    assert masks.parents().tolist() == [1, -1]


def test_doubles_and_empty_masks_go():
    a = rectangle(1, 1, 9, 9)
    almost = a.copy()
    almost[1, 1] = False
    masks = ImageMasks.of([a, almost, np.zeros(SIZE, bool), rectangle(0, 0, 3, 3), a], SIZE).without_doubles()
    assert len(masks) == 2
    assert (masks.dense(0) == a).all()


def test_no_masks_at_all():
    masks = ImageMasks.of([], SIZE)
    assert masks.conflicts == 0
    assert masks.parents().tolist() == []
    assert masks.overlay[1].shape == (1, 0)


def test_more_masks_than_a_byte_counts():
    """SAM finds hundreds in a busy photograph."""
    size = (20, 30)
    masks = [np.zeros(size, bool) for _ in range(300)]
    for i, mask in enumerate(masks):
        mask.flat[2 * i : 2 * i + 1 + i % 2] = True
    made = ImageMasks.of(masks, size)
    assert made.areas.tolist() == [1 + i % 2 for i in range(300)]
    assert len(made.without_doubles()) == 300
