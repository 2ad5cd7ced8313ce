"""The names of representations, for help texts and messages: nothing is imported to find them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fieldlab.errors import BackendError
from fieldlab.plugins import entries, load

FIELDS = "fieldlab.fields"
"""Entry points of representations: the name that is asked for, and the class of the field."""
MADE_FIELDS = "fieldlab.fields.made"
"""Those of representations that are made of others, and not asked for by name."""


def kinds() -> list[str]:
    """Representations that can be asked for by name: fieldlab's own, then those of other packages."""
    return list(entries(FIELDS))


def made_kinds() -> list[str]:
    """Representations that are made of others."""
    return list(entries(MADE_FIELDS))


def kinds_in_words() -> str:
    """All of :func:`kinds` as a sentence has them: ``hashgrid, vm or cp``."""
    *others, last = kinds()
    return f"{', '.join(others)} or {last}"


def kinds_that(holds: Callable[[Any], bool]) -> str:
    """Which of :func:`kinds` have a default configuration that ``holds``, as messages list them. Imports all of them,
    and passes over those that cannot be imported."""
    found = []
    for kind in kinds():
        try:
            if holds(load(FIELDS, kind).config_type()):
                found.append(kind)
        except BackendError:
            continue
    return " | ".join(found)
