"""Matching: pairs of photographs are chosen by how many there are, compared and verified."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from fieldlab.capture.pairs import (
    EXHAUSTIVE_TO,
    Pair,
    alike_pairs,
    all_pairs,
    neighbor_pairs,
    strongest_descriptors,
)
from fieldlab.capture.stages import Stage
from fieldlab.files import write_text

MATCHERS = ("auto", "exhaustive", "sequential", "retrieval")
BLOCK = 16  # photographs
MATCH_BATCH = BLOCK * BLOCK  # pairs
COSTLY = 2e10  # comparisons of features, about two minutes of one core


def chosen_matcher(matcher: str, count: int) -> str:
    """What 'auto' means for so many: every pair, or neighbors in order of name and those that look alike."""
    if matcher != "auto":
        return matcher
    return "exhaustive" if count <= EXHAUSTIVE_TO else "retrieval"


def candidate_pairs(database: Path, names: list[str], matcher: str) -> list[Pair]:
    """The pairs that may be compared, as indices of ``names``, sorted; ``matcher`` is one of MATCHERS."""
    matcher = chosen_matcher(matcher, len(names))
    if matcher == "exhaustive":
        return all_pairs(len(names))
    pairs = set(neighbor_pairs(len(names)))
    if matcher == "retrieval":
        pairs.update(alike_pairs(strongest_descriptors(database, names)))
    return sorted(pairs)


def costly(database: Path, names: list[str], pairs: list[Pair]) -> bool:
    """Whether comparing all features of all pairs takes minutes."""
    with contextlib.closing(sqlite3.connect(database)) as tables:
        counts = dict(tables.execute("SELECT name, rows FROM images JOIN keypoints USING (image_id)"))
    features = np.array([counts.get(name, 0) for name in names], np.float64)
    first, second = np.array(pairs).T
    return bool((features[first] * features[second]).sum() > COSTLY)


def match_pairs(database: Path, names: list[str], pairs: list[Pair], stage: Stage) -> None:
    """Compare pairs of photographs (indices of ``names``) and keep what agrees in ``database``. What is there already
    costs little, so that an interrupted call goes on."""
    import pycolmap

    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = database.with_name("pairs.txt")

    def match(batch: list[Pair], token: Any) -> None:
        write_text(pairing.match_list_path, "".join(f"{names[i]} {names[j]}\n" for i, j in batch))
        pycolmap.match_image_pairs(database, pairing_options=pairing, cancellation_token=token)

    # A batch of neighboring pairs reads few photographs' features, each once.
    pairs = sorted(pairs, key=lambda pair: (pair[0] // BLOCK, pair[1] // BLOCK, pair))
    size = max(MATCH_BATCH, len(pairs) // 100)
    for start in range(0, len(pairs), size):
        stage.run(functools.partial(match, pairs[start : start + size]), functools.partial(int, start))
