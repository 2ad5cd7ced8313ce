"""Attempts at placing photographs: the usual one, and others where that places few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fieldlab.capture.features import FeatureSettings, extract_features, forget_poor
from fieldlab.capture.mapping import Model, map_photographs, models_in
from fieldlab.capture.matching import candidate_pairs, costly, match_pairs
from fieldlab.capture.pairs import promising, strongest_descriptors
from fieldlab.capture.photographs import Photograph
from fieldlab.capture.stages import Stages

ENOUGH = 0.8  # share of placed photographs from which on no further attempt is made


@dataclass(frozen=True)
class Attempt:
    """One way to place photographs.

    Args:
        says: what is told about it.
        features: how features are found.
        matcher: which pairs are compared, one of MATCHERS.
        vote: where there is much to compare, pairs whose strongest features do not agree are left out.
        mapper: one of MAPPERS.
        database: folder of its features and matches, which attempts may share.
    """

    says: str
    features: FeatureSettings
    matcher: str
    vote: bool
    mapper: str
    database: str


def attempts(features: FeatureSettings, matcher: str) -> list[Attempt]:
    """What is tried, in this order, until enough photographs are placed."""
    usual = Attempt("the usual settings", features, matcher, True, "incremental", "usual")
    whole = replace(usual, says="pairs that were left out, too", vote=False)
    thorough = replace(features, most=2 * features.most, doubled=True)
    return [
        usual,
        whole,
        replace(whole, says="the global mapper", mapper="global"),
        replace(whole, says="more features", features=thorough, mapper="patient", database="thorough"),
    ]


def repeats_the_usual(attempt: Attempt, stages: Stages) -> bool:
    """Whether an attempt only compares pairs that the usual one left out, and that one left none out."""
    same = attempt.database == "usual" and attempt.mapper == "incremental" and not attempt.vote
    return same and stages.kept(_pairs_key(attempt)) is None and stages.kept("left out") == 0


def attempt_placing(
    attempt: Attempt, photographs: Sequence[Photograph], photos: Path, seed: int, stages: Stages
) -> list[Model]:
    """The models of one attempt, the largest first; none where nothing could be placed.

    Args:
        photos: the folder that holds the photographs under their names.
    """
    database = database_of(attempt, stages)
    database.parent.mkdir(parents=True, exist_ok=True)
    _find_features(attempt, photographs, photos, database, stages)
    _match(attempt, [photograph.name for photograph in photographs], database, stages)
    out = database.with_name(f"{attempt.mapper}{'' if attempt.vote else '-whole'}")
    with stages.stage("mapping", len(photographs), f"{attempt.database}/{out.name}") as stage:
        if not stage.done:
            map_photographs(database, photos, out, attempt.mapper, seed, stage)
    return models_in(out)


def database_of(attempt: Attempt, stages: Stages) -> Path:
    """The file of an attempt's features and matches."""
    return stages.folder / attempt.database / "database.db"


def _find_features(
    attempt: Attempt, photographs: Sequence[Photograph], photos: Path, database: Path, stages: Stages
) -> None:
    with stages.stage("features", len(photographs), attempt.database) as stage:
        if not stage.done:
            extract_features(database, photos, photographs, attempt.features, stage)
    if attempt.features.doubled:
        return
    poor = stages.kept("poor")
    if poor is None:
        poor = forget_poor(database)
        stages.keep("poor", poor)
    if poor:
        chosen = [photograph for photograph in photographs if photograph.name in set(poor)]
        with stages.stage("more features", len(chosen), attempt.database) as stage:
            if not stage.done:
                extract_features(database, photos, chosen, replace(attempt.features, doubled=True), stage)


def _match(attempt: Attempt, names: list[str], database: Path, stages: Stages) -> None:
    key = _pairs_key(attempt)
    pairs = stages.kept(key)
    if pairs is None:
        candidates = candidate_pairs(database, names, attempt.matcher)
        pairs = candidates
        if attempt.vote and costly(database, names, candidates):
            with stages.stage("choosing pairs", len(candidates)) as stage:
                pairs = promising(candidates, strongest_descriptors(database, names), stage.tick)
        if attempt.vote:
            stages.keep("left out", len(candidates) - len(pairs))
        stages.keep(key, pairs)
    with stages.stage("matching", len(pairs), key) as stage:
        if not stage.done:
            match_pairs(database, names, pairs, stage)


def _pairs_key(attempt: Attempt) -> str:
    return f"pairs {attempt.database}{'' if attempt.vote else ' whole'}"
