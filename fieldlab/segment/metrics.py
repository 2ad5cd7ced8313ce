"""How well a hierarchy of parts agrees with exact labels (He et al. 2024, and their evaluation code).

Truth is one map of ids per level, a prediction one map of labels per threshold; -1 is background, or nothing. In a
prediction nothing counts as a part like any other, as in the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LEAST_PIXELS = 20  # of a true part that counts
DRAWS = 100  # pixels per part

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Overlap:
    """Which labels of two maps meet: ``rows`` and ``columns``, and the intersection over union of each pair."""

    rows: Labels
    columns: Labels
    iou: NDArray[np.float64]  # [len(rows), len(columns)]

    @staticmethod
    def of(truth: Labels, found: Labels) -> Overlap:
        """Of two maps of the same shape."""
        rows, a = np.unique(truth, return_inverse=True)
        columns, b = np.unique(found, return_inverse=True)
        count = np.bincount(a.ravel() * len(columns) + b.ravel(), minlength=len(rows) * len(columns))
        both = count.reshape(len(rows), len(columns)).astype(np.float64)
        either = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
        return Overlap(rows, columns, both / np.maximum(either, 1))


@dataclass
class Scores:
    """Mean scores of parts, gathered part by part: ``covering``, ``dense`` and ``consistency`` hold a list per view."""

    covering: list[list[float]] = field(default_factory=list)
    dense: list[list[float]] = field(default_factory=list)
    consistency: list[list[float]] = field(default_factory=list)
    draws: int = 0
    skipped: int = 0


def parts_of(truth: Labels) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Every true part that is large enough, with its pixels as places in the flattened map."""
    for part in np.unique(truth):
        pixels = np.flatnonzero(truth == part)
        if part >= 0 and len(pixels) >= LEAST_PIXELS:
            yield int(part), pixels


def best_covers(truth: Labels, labels: Labels) -> NDArray[np.float64]:
    """float64 [T,H*W]: for every threshold and pixel, the intersection over union of the predicted part and the true
    part that hold it."""
    covers = np.empty((len(labels), truth.size))
    for t, found in enumerate(labels):
        overlap = Overlap.of(truth, found)
        row, column = np.searchsorted(overlap.rows, truth.ravel()), np.searchsorted(overlap.columns, found.ravel())
        covers[t] = overlap.iou[row, column]
    return covers


def add_view(scores: Scores, truth: Labels, labels: Labels, rng: np.random.Generator, pair: Pair | None = None) -> None:
    """Score one view at one level.

    Args:
        scores: what is added to.
        truth: int [H,W].
        labels: int [T,H,W].
        rng: chooses pixels.
        pair: the same thresholds seen from another view, for view consistency.
    """
    covers = best_covers(truth, labels)
    dense: dict[int, float] = {}
    for found in labels:
        overlap = Overlap.of(truth, found)
        for part, best in zip(overlap.rows.tolist(), overlap.iou.max(1).tolist(), strict=True):
            dense[part] = max(dense.get(part, 0.0), best)
    covering: list[float] = []
    dense_here: list[float] = []
    consistency: list[float] = []
    for part, pixels in parts_of(truth):
        drawn = rng.choice(pixels, DRAWS)
        best = covers[:, drawn].argmax(0)
        covering.append(float(covers[best, drawn].mean()))
        dense_here.append(dense[part])
        if pair is None:
            continue
        seen = [pair.agreement(labels, int(t), int(p), pixels, rng) for t, p in zip(best, drawn, strict=True)]
        scored = [s for s in seen if s is not None]
        scores.draws += len(seen)
        scores.skipped += len(seen) - len(scored)
        if scored:
            consistency.append(float(np.mean(scored)))
    gathered = (scores.covering, covering), (scores.dense, dense_here), (scores.consistency, consistency)
    for per_view, here in gathered:
        if here:
            per_view.append(here)


@dataclass
class Pair:
    """Another view of the same scene.

    Args:
        labels: its int [T,H',W'].
        target: int64 [H*W], for every pixel of the first view the place in the flattened other map where the same
            point is seen, -1 where it is not.
    """

    labels: Labels
    target: NDArray[np.int64]
    _known: dict[tuple[int, int, int], float] = field(default_factory=dict)

    def agreement(
        self, labels: Labels, t: int, pixel: int, part: NDArray[np.int64], rng: np.random.Generator
    ) -> float | None:
        """Intersection over union, where both views see the same, of the predicted part of the first view that holds
        ``pixel`` and that of the other view that holds a random pixel of the true part; both at threshold ``t``. None
        where no pixel of the true part is seen in both and has a label in the other."""
        there = self.target[part]
        other = self.labels[t].ravel()
        common = there[there >= 0]
        common = common[other[common] >= 0]
        if not len(common):
            return None
        mine, theirs = int(labels[t].ravel()[pixel]), int(other[rng.choice(common)])
        key = (t, mine, theirs)
        if key not in self._known:
            both = self.target >= 0
            a = labels[t].ravel()[both] == mine
            b = other[self.target[both]] == theirs
            self._known[key] = float((a & b).sum() / max((a | b).sum(), 1))
        return self._known[key]


def mean_of(per_view: Sequence[Sequence[float]]) -> float | None:
    """Over the parts of a view, then over views; None where there is nothing."""
    return float(np.mean([np.mean(view) for view in per_view])) if per_view else None


class PartIou:
    """Class-agnostic mean IoU: of every true part, over the pixels of all views together, the best intersection over
    union with any predicted part at any threshold, averaged over parts. Labels mean the same in all views."""

    def __init__(self) -> None:
        self._both: dict[tuple[int, int, int], int] = {}
        self._truth: dict[int, int] = {}
        self._found: dict[tuple[int, int], int] = {}

    def add(self, truth: Labels, labels: Labels) -> None:
        """Count one view: int [H,W] and int [T,H,W]."""
        for part, count in zip(*np.unique(truth, return_counts=True), strict=True):
            self._truth[int(part)] = self._truth.get(int(part), 0) + int(count)
        for t, found in enumerate(labels):
            for label, count in zip(*np.unique(found, return_counts=True), strict=True):
                self._found[t, int(label)] = self._found.get((t, int(label)), 0) + int(count)
            pairs, counts = np.unique(np.stack((truth.ravel(), found.ravel())), axis=1, return_counts=True)
            for part, label, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
                key = (part, t, label)
                self._both[key] = self._both.get(key, 0) + count

    def mean(self) -> float | None:
        """The mean over true parts that are large enough."""
        best = {part: 0.0 for part, count in self._truth.items() if part >= 0 and count >= LEAST_PIXELS}
        for (part, t, label), both in self._both.items():
            if part in best and label >= 0:
                either = self._truth[part] + self._found[t, label] - both
                best[part] = max(best[part], both / either)
        return float(np.mean(list(best.values()))) if best else None
