"""Which photographs to compare: all, neighbors, or those that look alike; and of these only where a few features agree.

Comparing all features of all pairs takes most of the time of a capture, and most pairs of a large one share nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

EXHAUSTIVE_TO = 200  # photographs; from here on those that look alike are found first
NEIGHBORS = 10  # photographs before and after, in order of name
ALIKE = 30  # photographs that look most alike
STRONGEST = 400  # features of a photograph that have a vote
LEAST_VOTES = 3  # agreeing features of a pair that is worth comparing in full
SURE_NEIGHBORS = 2  # compared without votes
WORDS = 64  # of the small vocabulary that is learnt from the photographs themselves
_RATIO = 0.7  # of the nearest to the second nearest descriptor's distance
_AT_ONCE = 32  # photographs compared with one; bounds memory

Pair = tuple[int, int]


def all_pairs(count: int) -> list[Pair]:
    """Every pair of ``count`` photographs."""
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def neighbor_pairs(count: int) -> list[Pair]:
    """Each photograph with the next ten and those 16, 32, 64, ... further on.

    The powers of two let a video that comes back to a place find it again at moderate cost.
    """
    steps = list(range(1, NEIGHBORS + 1))
    power = 16
    while power < count:
        steps.append(power)
        power *= 2
    return [(i, i + step) for i in range(count) for step in steps if i + step < count]


def alike_pairs(strongest: np.ndarray) -> list[Pair]:
    """Each photograph with those that look most alike, by the strongest descriptors of each, uint8 [N,STRONGEST,128].

    Photographs are described by VLAD (Jegou et al., 2010): to which of 64 words, learnt here by k-means, descriptors
    belong, and how they differ from them. For 2000 photographs this takes 64 MB.
    """
    if not strongest.any():
        return []
    words = _words(strongest)
    described = np.stack([_vlad(_unit(descriptors[descriptors.any(axis=1)]), words) for descriptors in strongest])
    found: set[Pair] = set()
    for i, row in enumerate(described):
        likeness = described @ row
        likeness[i] = -np.inf
        for j in np.argsort(-likeness)[: min(ALIKE, len(described) - 1)]:
            found.add((min(i, int(j)), max(i, int(j))))
    return sorted(found)


def promising(pairs: list[Pair], strongest: np.ndarray, tick: Callable[[int], None]) -> list[Pair]:
    """The pairs worth comparing in full: those whose strongest features agree a few times (preemptive matching, Wu
    2013), and next neighbors, which overlap in most captures.

    Args:
        pairs: sorted.
        strongest: descriptors, uint8 [N,STRONGEST,128].
        tick: is told how many were looked at.
    """
    found, done = [], 0
    for i, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        others = [j for _, j in group]
        for start in range(0, len(others), _AT_ONCE):
            chunk = others[start : start + _AT_ONCE]
            agreeing = votes(strongest[i], strongest[chunk])
            found += [
                (i, j)
                for j, count in zip(chunk, agreeing, strict=True)
                if count >= LEAST_VOTES or j - i <= SURE_NEIGHBORS
            ]
            done += len(chunk)
            tick(done)
    return found


def votes(first: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many descriptors of one photograph, uint8 [A,128], and of each of K others, uint8 [K,B,128], are each other's
    nearest and clearly so, int64 [K]. Descriptors of zeros are none.

    One product for many photographs keeps the threads of the library for matrices from waiting for each other.
    """
    count, size, width = others.shape
    likeness = (_unit(first) @ _unit(others.reshape(-1, width)).T).reshape(len(first), count, size)
    nearest = likeness.argmax(axis=2)
    rows, columns = np.ogrid[: len(first), :count]
    best = likeness[rows, columns, nearest]
    mutual = likeness.argmax(axis=0)[columns, nearest] == rows
    likeness[rows, columns, nearest] = -1
    # Squared distances of unit vectors are 2 - 2 times their product.
    clear = (1 - best) < _RATIO**2 * (1 - likeness.max(axis=2))
    agreeing: np.ndarray = (mutual & clear & (best > 0)).sum(axis=0)
    return agreeing


def strongest_descriptors(database: Path, names: list[str]) -> np.ndarray:
    """Descriptors of the largest features of each photograph, uint8 [N,STRONGEST,128]; zeros where there are fewer."""
    import pycolmap

    found = np.zeros((len(names), STRONGEST, 128), np.uint8)
    with pycolmap.Database.open(database) as tables:
        for row, name in zip(found, names, strict=True):
            image = tables.read_image_with_name(name)
            if image is None or not tables.exists_keypoints(image.image_id):
                continue
            shapes = tables.read_keypoints(image.image_id)[:, 2:6]
            size = np.abs(shapes[:, 0] * shapes[:, 3] - shapes[:, 1] * shapes[:, 2])
            chosen = np.argsort(-size, kind="stable")[:STRONGEST]
            row[: len(chosen)] = tables.read_descriptors(image.image_id).data[chosen]
    return found


def _unit(descriptors: np.ndarray) -> np.ndarray:
    """float32 [*,128] of unit length."""
    values = descriptors.astype(np.float32)
    unit: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return unit


def _words(strongest: np.ndarray) -> np.ndarray:
    """float32 [W,128]: k-means over a part of all descriptors, the same every time."""
    generator = np.random.default_rng(0)
    sample = strongest[:, :: max(1, len(strongest) // 100)].reshape(-1, strongest.shape[2])
    sample = _unit(sample[sample.any(axis=1)])
    count = min(WORDS, len(sample))
    words = sample[generator.choice(len(sample), count, replace=False)]
    for _ in range(10):
        nearest = _nearest(sample, words)
        for k in range(count):
            if (mine := nearest == k).any():
                words[k] = sample[mine].mean(axis=0)
    return words


def _nearest(descriptors: np.ndarray, words: np.ndarray) -> np.ndarray:
    index: np.ndarray = (descriptors @ words.T - 0.5 * (words**2).sum(axis=1)).argmax(axis=1)
    return index


def _vlad(descriptors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """float32 [W*128] of unit length: sums of differences to the nearest word, each sum of unit length."""
    sums = np.zeros_like(words)
    if len(descriptors):
        nearest = _nearest(descriptors, words)
        np.add.at(sums, nearest, descriptors - words[nearest])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    flat: np.ndarray = sums.ravel() / max(np.linalg.norm(sums), 1e-9)
    return flat
