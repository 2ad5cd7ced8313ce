"""How well a hierarchy of parts agrees with exact labels (He et al. 2024, and their evaluation code).

Truth is one map of ids per level, a prediction one map of labels per threshold; -1 is background, or nothing. In a
prediction nothing counts as a part like any other, as in the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LEAST_PIXELS = 20  # of a true part that counts
DRAWS = 100  # pixels per part
LARGEST_TABLE = 1 << 22  # values between the least and the largest label that are counted in a table

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Coded:
    """A map of P labels, flattened: the different ``values`` [K] in order, which of them each pixel has, ``codes``
    int64 [P], and how many pixels have each, ``counts`` [K]."""

    values: NDArray[np.int64]
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @staticmethod
    def of(labels: Labels) -> Coded:
        """Of a map of any shape."""
        flat = labels.ravel().astype(np.int64)
        low = int(flat.min(initial=0))
        if int(flat.max(initial=0)) - low > LARGEST_TABLE:
            return Coded(*np.unique(flat, return_inverse=True, return_counts=True))
        table = np.bincount(flat - low)
        values = np.flatnonzero(table)
        place = np.empty(len(table), dtype=np.int64)
        place[values] = np.arange(len(values))
        return Coded(values + low, place[flat - low], table[values])


@dataclass(frozen=True)
class Overlap:
    """Pixels that labels of two maps have in common, and the intersection over union of each pair: both [K,L]."""

    both: NDArray[np.int64]
    iou: NDArray[np.float64]

    @staticmethod
    def of(a: Coded, b: Coded, where: NDArray[np.bool_] | None = None) -> Overlap:
        """Of two maps of the same pixels; ``where`` [P] chooses those that count."""
        shape = len(a.values), len(b.values)
        pairs = a.codes * shape[1] + b.codes
        both = np.bincount(pairs if where is None else pairs[where], minlength=shape[0] * shape[1]).reshape(shape)
        either = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
        return Overlap(both, both / np.maximum(either, 1))


@dataclass
class Scores:
    """Mean scores of parts, gathered part by part: ``covering``, ``dense`` and ``consistency`` hold a list per view."""

    covering: list[list[float]] = field(default_factory=list)
    dense: list[list[float]] = field(default_factory=list)
    consistency: list[list[float]] = field(default_factory=list)
    draws: int = 0
    skipped: int = 0


def add_view(
    scores: Scores, truth: Coded, found: Sequence[Coded], rng: np.random.Generator, pair: Pair | None = None
) -> None:
    """Score one view at one level.

    Args:
        scores: what is added to.
        truth: of P pixels.
        found: what is predicted at each of T thresholds.
        rng: chooses pixels.
        pair: the same thresholds seen from another view, for view consistency.
    """
    overlaps = [Overlap.of(truth, labels) for labels in found]
    dense = np.max([overlap.iou.max(1) for overlap in overlaps], axis=0)
    order = truth.codes.argsort(kind="stable")
    pixels_of = np.split(order, truth.counts.cumsum()[:-1])
    covering: list[float] = []
    dense_here: list[float] = []
    consistency: list[float] = []
    for row, part in enumerate(truth.values):
        pixels = pixels_of[row]
        if part < 0 or len(pixels) < LEAST_PIXELS:
            continue
        drawn = rng.choice(pixels, DRAWS)
        covers = np.stack([o.iou[row, labels.codes[drawn]] for o, labels in zip(overlaps, found, strict=True)])
        best = covers.argmax(0)
        covering.append(float(covers.max(0).mean()))
        dense_here.append(float(dense[row]))
        if pair is None:
            continue
        seen = [pair.agreement(found, int(t), int(p), pixels, rng) for t, p in zip(best, drawn, strict=True)]
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
        found: its map of P' pixels at each threshold.
        target: int64 [P], for every pixel of the first view the place in the other map where the same point is seen,
            -1 where it is not.
    """

    found: Sequence[Coded]
    target: NDArray[np.int64]
    _known: dict[int, Overlap] = field(default_factory=dict)

    def agreement(
        self, found: Sequence[Coded], t: int, pixel: int, part: NDArray[np.int64], rng: np.random.Generator
    ) -> float | None:
        """Intersection over union, where both views see the same, of the predicted part of the first view that holds
        ``pixel`` and that of the other view that holds a random pixel of the true part; both at threshold ``t``. None
        where no pixel of the true part is seen in both and has a label in the other."""
        other = self.found[t]
        there = self.target[part]
        common = other.codes[there[there >= 0]]
        common = common[other.values[common] >= 0]
        if not len(common):
            return None
        theirs = rng.choice(common)
        return float(self._overlap(found, t).iou[found[t].codes[pixel], theirs])

    def _overlap(self, found: Sequence[Coded], t: int) -> Overlap:
        if t not in self._known:
            seen, other = self.target >= 0, self.found[t]
            there = Coded(other.values, other.codes[np.maximum(self.target, 0)], other.counts)
            self._known[t] = Overlap.of(found[t], there, seen)
        return self._known[t]


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

    def add(self, truth: Coded, found: Sequence[Coded]) -> None:
        """Count one view, with its map at each threshold."""
        for part, count in zip(truth.values.tolist(), truth.counts.tolist(), strict=True):
            self._truth[part] = self._truth.get(part, 0) + count
        for t, labels in enumerate(found):
            for label, count in zip(labels.values.tolist(), labels.counts.tolist(), strict=True):
                self._found[t, label] = self._found.get((t, label), 0) + count
            both = Overlap.of(truth, labels).both
            for row, column in zip(*both.nonzero(), strict=True):
                key = (int(truth.values[row]), t, int(labels.values[column]))
                self._both[key] = self._both.get(key, 0) + int(both[row, column])

    def mean(self) -> float | None:
        """The mean over true parts that are large enough."""
        best = {part: 0.0 for part, count in self._truth.items() if part >= 0 and count >= LEAST_PIXELS}
        for (part, t, label), both in self._both.items():
            if part in best and label >= 0:
                either = self._truth[part] + self._found[t, label] - both
                best[part] = max(best[part], both / either)
        return float(np.mean(list(best.values()))) if best else None
