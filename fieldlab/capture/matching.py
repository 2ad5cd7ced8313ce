"""Matching: the pairs of photographs are chosen by how many there are, compared, and verified by pycolmap."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from fieldlab.capture.pairs import (
    EXHAUSTIVE_TO,
    Pair,
    alike_pairs,
    all_pairs,
    neighbor_pairs,
    promising,
    strongest_descriptors,
)
from fieldlab.capture.stages import Stage, Stages
from fieldlab.files import write_text

MATCHERS = ("auto", "exhaustive", "sequential", "retrieval")
MATCH_BATCH = 60  # pairs
VOTES_FROM = 24  # photographs; with fewer every pair is compared in full


def chosen_matcher(matcher: str, count: int) -> str:
    """What 'auto' means for so many: every pair, or neighbors in order of name and those that look alike."""
    if matcher != "auto":
        return matcher
    return "exhaustive" if count <= EXHAUSTIVE_TO else "retrieval"


def choose_pairs(database: Path, names: list[str], matcher: str, vote: bool, stages: Stages, again: str) -> list[Pair]:
    """The pairs to compare in full, kept for an interrupted capture to go on with.

    Args:
        matcher: one of MATCHERS but 'auto'.
        vote: leave out pairs whose strongest features do not agree.
        again: tells attempts apart.
    """
    if (kept := stages.kept(f"pairs{again}")) is not None:
        return [(i, j) for i, j in kept]
    pairs = neighbor_pairs(len(names)) if matcher != "exhaustive" else all_pairs(len(names))
    vote = vote and matcher != "sequential" and len(names) >= VOTES_FROM
    if matcher == "retrieval" or vote:
        strongest = strongest_descriptors(database, names)
    if matcher == "retrieval":
        pairs = sorted({*pairs, *alike_pairs(strongest)})
    if vote:
        with stages.stage("choosing pairs", len(pairs), again) as stage:
            pairs = promising(pairs, strongest, stage.tick)
    stages.keep(f"pairs{again}", pairs)
    return pairs


def match_pairs(database: Path, names: list[str], pairs: list[Pair], stage: Stage) -> None:
    """Compare pairs of photographs (indices of ``names``) and keep what agrees in ``database``. What is there already
    costs little, so that an interrupted call goes on."""
    import pycolmap

    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = database.with_name("pairs.txt")

    def match(batch: list[Pair], token: Any) -> None:
        write_text(pairing.match_list_path, "".join(f"{names[i]} {names[j]}\n" for i, j in batch))
        pycolmap.match_image_pairs(database, pairing_options=pairing, cancellation_token=token)

    size = max(MATCH_BATCH, len(pairs) // 100)
    for start in range(0, len(pairs), size):
        stage.run(functools.partial(match, pairs[start : start + size]), functools.partial(int, start))
