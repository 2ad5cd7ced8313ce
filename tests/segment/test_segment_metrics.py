"""Metrics of segmentations on cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fieldlab.segment.metrics import Coded, Overlap, PartIou, Scores, add_view, mean_of
from fieldlab.segment.metrics import Pair as CodedPair

H, W = 10, 20
LEFT = np.arange(W)[None].repeat(H, 0) < 10  # half of the picture
TRUTH = np.where(LEFT, 0, 1).astype(np.int32)


def seeded():
    return np.random.default_rng(0)


def score(truth, labels, pair=None) -> Scores:
    scores = Scores()
    add_view(scores, Coded.of(truth), coded(labels), seeded(), pair)
    return scores


def coded(labels):
    return [Coded.of(np.asarray(found, dtype=np.int32)) for found in labels]


def Pair(labels, target):
    return CodedPair(coded(labels), target)


def columns(*edges) -> np.ndarray:
    """A map whose label changes at these columns."""
    return np.searchsorted(np.array(edges), np.arange(W), side="right")[None].repeat(H, 0).astype(np.int32)


def test_overlaps_by_counting():
    rng = seeded()
    a, b = rng.integers(-1, 4, (H, W)), rng.integers(-1, 5, (H, W))
    coded_a, coded_b = Coded.of(a), Coded.of(b)
    found = Overlap.of(coded_a, coded_b)
    for i, x in enumerate(coded_a.values):
        for j, y in enumerate(coded_b.values):
            wanted = ((a == x) & (b == y)).sum() / ((a == x) | (b == y)).sum()
            assert found.iou[i, j] == pytest.approx(wanted)


@pytest.mark.parametrize("spread", [1, 1 << 24])
def test_codes_say_the_same_as_labels(spread):
    labels = seeded().integers(-1, 6, (H, W)) * spread
    found = Coded.of(labels)
    values, counts = np.unique(labels, return_counts=True)
    assert (found.values == values).all()
    assert (found.counts == counts).all()
    assert (found.values[found.codes] == labels.ravel()).all()


def test_what_is_right_covers_wholly():
    scores = score(TRUTH, [TRUTH + 7])
    assert mean_of(scores.covering) == mean_of(scores.dense) == 1


def test_the_best_threshold_counts_for_every_pixel():
    # One threshold has all in one, another is right on the left and cuts the right in two: 5 and 5 columns.
    labels = [np.zeros_like(TRUTH), columns(10, 15)]
    scores = score(TRUTH, labels)
    assert scores.covering == [[1.0, 0.5]]  # on the right: 1/2 by either
    assert scores.dense == [[1.0, 0.5]]


def test_normalized_covering_is_a_mean_over_pixels_and_the_dense_one_is_the_best():
    labels = [columns(10, 18)]  # the right part cut in 8 and 2 columns
    scores = score(TRUTH, labels)
    assert scores.dense[0] == [1.0, 0.8]
    expected = 0.8 * 0.8 + 0.2 * 0.2
    assert scores.covering[0][1] == pytest.approx(expected, abs=0.12)  # of 100 random pixels


def test_small_parts_and_background_do_not_count():
    truth = np.full((H, W), -1, dtype=np.int32)
    truth[:2, :9] = 0  # 18 pixels
    truth[5:, :] = 1
    scores = score(truth, [truth])
    assert scores.covering == [[1.0]]
    assert mean_of(score(np.full((H, W), -1, dtype=np.int32), [truth]).covering) is None


def test_nothing_is_a_part_like_any_other():
    labels = np.where(LEFT, -1, 3)
    assert mean_of(score(TRUTH, [labels]).covering) == 1


def test_views_that_agree_and_views_that_do_not():
    same = np.arange(H * W)
    labels = columns(10)[None]
    agrees = score(TRUTH, labels, Pair(labels + 40, same))
    assert mean_of(agrees.consistency) == 1  # ids need not be the same
    assert (agrees.draws, agrees.skipped) == (200, 0)
    # The other view cuts at 15: its left part covers 15 columns, of which 10 are the first view's.
    other = score(TRUTH, labels, Pair(columns(15)[None], same))
    left, right = other.consistency[0]
    assert left == pytest.approx(10 / 15)
    low, high = 5 / 10, 5 / 20  # a pixel right of 15, or one left of it
    assert right == pytest.approx((low + high) / 2, abs=0.05)


def test_only_what_both_views_see_is_compared():
    target = np.arange(H * W)
    target[~LEFT.ravel()] = -1
    labels = columns(10)[None]
    scores = score(TRUTH, labels, Pair(columns(15)[None], target))
    assert scores.consistency == [[1.0]]
    assert scores.skipped == 100  # all of the right part
    hidden = score(TRUTH, labels, Pair(np.full_like(labels, -1), np.arange(H * W)))
    assert mean_of(hidden.consistency) is None
    assert hidden.skipped == hidden.draws == 200


def test_class_agnostic_iou_counts_all_views_together():
    found = PartIou()
    found.add(Coded.of(TRUTH), coded([columns(10)]))
    found.add(Coded.of(TRUTH), coded([columns(5)]))  # the same labels, cut elsewhere
    left, right = (100 + 50) / 200, 200 / 250
    assert found.mean() == pytest.approx((left + right) / 2)
    best = PartIou()
    best.add(Coded.of(TRUTH), coded((columns(5), columns(10))))
    assert best.mean() == 1
    assert PartIou().mean() is None


def test_nothing_predicted_is_no_part_for_class_agnostic_iou():
    found = PartIou()
    found.add(Coded.of(TRUTH), coded(np.full((1, H, W), -1, dtype=np.int32)))
    assert found.mean() == 0
