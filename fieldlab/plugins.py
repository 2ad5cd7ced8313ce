"""What packages add to fieldlab, fieldlab itself among them: objects by name in entry-point groups."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fieldlab.errors import BackendError


@cache
def entries(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name; fieldlab's own go before those of other packages, the first of a name counts."""
    found = sorted(entry_points(group=group), key=lambda entry: not entry.value.startswith("fieldlab."))
    named: dict[str, EntryPoint] = {}
    for entry in found:
        named.setdefault(entry.name, entry)
    return named


def load(group: str, name: str) -> Any:
    """The object that an entry point names.

    Raises:
        KeyError: the group has no such entry.
        BackendError: its package cannot be imported.
    """
    entry = entries(group)[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise BackendError("a plug-in cannot be imported", field=f"{group}.{name}", found=f"{entry.value}: {error}",
                           hint="install its package again, or remove it") from error  # fmt: skip
