"""Which photographs are compared."""

from __future__ import annotations

import numpy as np
import pytest

from fieldlab.capture import pairs
from fieldlab.capture.matching import chosen_matcher
from fieldlab.capture.pairs import alike_pairs, all_pairs, neighbor_pairs, promising, votes


def test_all_and_neighbors():
    everything = all_pairs(50)
    assert len(set(everything)) == 50 * 49 / 2
    near = neighbor_pairs(50)
    assert len(set(near)) == len(near)
    assert {j - i for i, j in near} == {*range(1, 11), 16, 32}
    assert {(0, 1), (48, 49)} <= set(near) < set(everything)


@pytest.mark.parametrize(("count", "expected"), [(3, "exhaustive"), (200, "exhaustive"), (201, "retrieval")])
def test_the_matcher_for_so_many(count, expected):
    assert chosen_matcher("auto", count) == expected
    assert chosen_matcher("sequential", count) == "sequential"


def places(count: int, each: int, features: int = 60, shared: int = 30) -> np.ndarray:
    """Descriptors of ``each`` photographs at ``count`` places, uint8 [count*each,features,128]: those of one place
    share some, a little disturbed."""
    generator = np.random.default_rng(0)
    photographs = generator.gamma(0.5, 40, (count * each, features, 128))
    for place in range(count):
        common = generator.gamma(0.5, 40, (shared, 128))
        for k in range(each):
            photographs[place * each + k, generator.permutation(features)[:shared]] = common
    return np.clip(photographs + generator.normal(0, 4, photographs.shape), 0, 255).astype(np.uint8)


def test_votes_against_a_plain_loop():
    described = places(2, 2, features=20, shared=8)
    difference = np.abs(described[0, :, None].astype(int) - described[1]).sum(axis=2).min(axis=1)
    described[0, difference.argmax()] = described[0, difference.argmin()]  # one feature is the nearest of two
    first, others = described[0], described[1:]
    unit = [d.astype(float) / np.linalg.norm(d.astype(float), axis=1, keepdims=True) for d in described]
    expected = []
    for other in unit[1:]:
        distance = ((unit[0][:, None] - other[None]) ** 2).sum(axis=2)
        count = 0
        for a in range(20):
            order = np.argsort(distance[a])
            clear = distance[a, order[0]] < 0.7**2 * distance[a, order[1]]
            count += clear and distance[:, order[0]].argmin() == a
        expected.append(count)
    assert votes(first, others).tolist() == expected
    assert expected[0] >= 7 > expected[1]


@pytest.mark.parametrize(("second", "expected"), [((200, 0, 130), 0), ((100, 0, 200), 1)])
def test_only_clear_votes_count(second, expected):
    """Squared distances of 0.65 and 0.19 times that to the second nearest; 0.49 is asked for."""
    described = np.zeros((2, 2, 128), np.uint8)
    described[0, :, :4] = [[200, 0, 0, 0], [0, 0, 0, 200]]
    described[1, :, :3] = [[200, 100, 0], second]
    assert votes(described[0], described[1:]).tolist() == [expected]


def test_photographs_with_few_features_get_no_votes_for_what_is_not_there():
    described = places(1, 2)
    described[:, 1:] = 0
    described[1, 0] = 0
    assert votes(described[0], described[1:]).tolist() == [0]


def test_only_promising_pairs_are_left():
    described = places(4, 5)
    told = []
    found = promising(all_pairs(20), described, told.append)
    assert told[-1] == 190
    expected = {(i, j) for i, j in all_pairs(20) if i // 5 == j // 5 or j - i <= pairs.SURE_NEIGHBORS}
    assert set(found) == expected


def test_what_looks_alike_is_found(monkeypatch):
    """Places are visited in turn, so that photographs of one place are no neighbors."""
    monkeypatch.setattr(pairs, "ALIKE", 5)
    described = places(12, 5).reshape(12, 5, 60, 128).transpose(1, 0, 2, 3).reshape(60, 60, 128)
    found = set(alike_pairs(described))
    same = {(i, j) for i, j in all_pairs(60) if i % 12 == j % 12}
    assert len(found & same) > 0.9 * len(same)
    assert len(found) < 0.25 * len(all_pairs(60))


def test_photographs_without_features_look_like_nothing():
    described = places(2, 3)
    described[1] = 0
    assert all(i < j for i, j in alike_pairs(described))
    assert alike_pairs(np.zeros((3, 10, 128), np.uint8)) == []
