"""Attempts at placing photographs: the usual one, and others where that places few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fieldlab.capture.features import FeatureSettings, extract_features, forget_poor
from fieldlab.capture.mapping import Model, map_photographs, models_in
from fieldlab.capture.matching import choose_pairs, chosen_matcher, match_pairs
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
        vote: pairs whose strongest features do not agree are left out.
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
    thorough = replace(features, most=2 * features.most, doubled=True)
    return [
        usual,
        replace(usual, says="the global mapper", mapper="global"),
        Attempt("more features, compared without votes", thorough, matcher, False, "patient", "thorough"),
    ]


def attempt_placing(
    attempt: Attempt, photographs: Sequence[Photograph], photos: Path, seed: int, stages: Stages
) -> list[Model]:
    """The models of one attempt, the largest first; none where nothing could be placed.

    Args:
        photos: the folder that holds the photographs under their names.
    """
    again = "" if attempt.database == "usual" else " again"
    database = database_of(attempt, stages)
    database.parent.mkdir(parents=True, exist_ok=True)
    _find_features(attempt.features, photographs, photos, database, stages, again)
    _match(attempt, photographs, database, stages, again)
    again = "" if attempt.mapper == "incremental" else f" again ({attempt.mapper})"
    out = database.with_name(attempt.mapper)
    with stages.stage("mapping", len(photographs), again) as stage:
        if not stage.done:
            map_photographs(database, photos, out, attempt.mapper, seed, stage)
    return models_in(out)


def database_of(attempt: Attempt, stages: Stages) -> Path:
    """The file of an attempt's features and matches."""
    return stages.folder / attempt.database / "database.db"


def _find_features(
    settings: FeatureSettings,
    photographs: Sequence[Photograph],
    photos: Path,
    database: Path,
    stages: Stages,
    again: str,
) -> None:
    with stages.stage("features", len(photographs), again) as stage:
        if not stage.done:
            extract_features(database, photos, photographs, settings, stage)
    if settings.doubled:
        return
    poor = stages.kept("poor")
    if poor is None:
        poor = forget_poor(database)
        stages.keep("poor", poor)
    if poor:
        chosen = [photograph for photograph in photographs if photograph.name in set(poor)]
        with stages.stage("more features", len(chosen)) as stage:
            if not stage.done:
                extract_features(database, photos, chosen, replace(settings, doubled=True), stage)


def _match(attempt: Attempt, photographs: Sequence[Photograph], database: Path, stages: Stages, again: str) -> None:
    names = [photograph.name for photograph in photographs]
    matcher = chosen_matcher(attempt.matcher, len(names))
    pairs = choose_pairs(database, names, matcher, attempt.vote, stages, again)
    with stages.stage("matching", len(pairs), again) as stage:
        if not stage.done:
            match_pairs(database, names, pairs, stage)
