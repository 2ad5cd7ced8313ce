"""Measuring a segmentation against exact labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from fieldlab.data.cameras import Cameras
from fieldlab.errors import DataError
from fieldlab.segment.metrics import Coded, Labels, Pair, PartIou, Scores, add_view, mean_of
from fieldlab.segment.truth import Truth, partners, read_truth, same_points, short_name


@dataclass(frozen=True)
class Measured:
    """Means over levels and values per level of one metric; None where nothing could be measured."""

    mean: float | None
    levels: list[float | None]

    @staticmethod
    def of(levels: Sequence[float | None]) -> Measured:
        """The mean over the levels that have a value."""
        known = [value for value in levels if value is not None]
        return Measured(float(np.mean(known)) if known else None, list(levels))


def evaluate(
    predict: Callable[[int], Labels], cameras: Cameras, names: Sequence[str], folder: Path, seed: int = 0,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Measured]:  # fmt: skip
    """All metrics over the views that have labels.

    Args:
        predict: from the number of a view to int32 [T,H,W], the same T thresholds for all views.
        cameras: of the views.
        names: of the views.
        folder: with exact labels, see :func:`fieldlab.segment.truth.read_truth`.
        seed: of the pixels that are drawn.
        tick: called with how many views are done and how many there are.

    Returns:
        ``nc`` (normalized covering), ``dense_nc``, ``vc`` (view consistency, each view with the one nearest to it),
        ``vc_skipped`` (share of its draws that had nothing to compare) and ``miou`` (class-agnostic).

    Raises:
        DataError: no view has labels, or they are of another size.
    """
    cameras = cameras.to("cpu")
    truths = {i: truth for i, name in enumerate(names) if (truth := read_truth(folder, name)) is not None}
    if not truths:
        raise DataError("no view has labels", file=folder, expected=f"{short_name(names[0])}.npz" if names else None,
                        hint="labels are files with the views' names")  # fmt: skip
    n_levels = _levels(truths, cameras, names, folder)
    known = list(truths)
    nearest: dict[int, int] = {}
    if len(known) > 1:
        nearest = {i: known[j] for i, j in zip(known, partners(cameras[torch.tensor(known)]), strict=True)}

    @lru_cache(maxsize=4)  # a view and the one beside it, and some more
    def found_in(view: int) -> list[Coded]:
        return [Coded.of(labels) for labels in predict(view)]

    scores, ious = [Scores() for _ in range(n_levels)], [PartIou() for _ in range(n_levels)]
    for done, (i, truth) in enumerate(truths.items()):
        found, pair = found_in(i), _pair(truths, cameras, i, nearest.get(i), found_in)
        for level in range(n_levels):
            rng, ids = np.random.default_rng((seed, i, level)), Coded.of(truth.ids[level])
            add_view(scores[level], ids, found, rng, pair)
            ious[level].add(ids, found)
        tick(done + 1, len(truths))
    return {
        "nc": Measured.of([mean_of(s.covering) for s in scores]),
        "vc": Measured.of([mean_of(s.consistency) for s in scores]),
        "vc_skipped": Measured.of([s.skipped / s.draws if s.draws else None for s in scores]),
        "dense_nc": Measured.of([mean_of(s.dense) for s in scores]),
        "miou": Measured.of([found.mean() for found in ious]),
    }


def _pair(
    truths: dict[int, Truth], cameras: Cameras, i: int, j: int | None, found_in: Callable[[int], list[Coded]]
) -> Pair | None:
    """What view j sees of the points of view i; None without depth or another view."""
    if j is None or truths[i].depth is None or truths[j].depth is None:
        return None
    mine, other = truths[i].depth, truths[j].depth
    assert mine is not None
    assert other is not None
    return Pair(found_in(j), same_points(cameras, i, j, mine, other))


def _levels(truths: dict[int, Truth], cameras: Cameras, names: Sequence[str], folder: Path) -> int:
    counts = {len(truth.ids) for truth in truths.values()}
    if len(counts) > 1:
        raise DataError("views have different numbers of levels", file=folder, found=sorted(counts))
    for i, truth in truths.items():
        width, height = cameras.size[i].tolist()
        if truth.ids.shape[1:] != (height, width):
            found = f"{truth.ids.shape[2]} x {truth.ids.shape[1]}"
            raise DataError("labels are of another size than their view", file=folder, field=names[i], found=found,
                            expected=f"{width} x {height}")  # fmt: skip
    return counts.pop()
