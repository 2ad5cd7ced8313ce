"""What packages add to fieldlab, fieldlab itself among them: objects by name in entry-point groups."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fieldlab.errors import BackendError


@cache
def entries(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name, in the order in which packages list them. fieldlab's own go before those of
    other packages, and the first of a name counts: nothing can replace what fieldlab comes with.

    Raises:
        BackendError: fieldlab itself has none there: it was installed by an older version of its pyproject.toml.
    """
    found = sorted(entry_points(group=group), key=lambda entry: not _own(entry))
    if not any(map(_own, found)):
        raise BackendError("fieldlab's installation is older than its source", field=group,
                           hint="install it again: pip install -e .")  # fmt: skip
    named: dict[str, EntryPoint] = {}
    for entry in found:
        named.setdefault(entry.name, entry)
    return named


def load(group: str, name: str) -> Any:
    """The object that an entry point names; imports its module, and no other of the group.

    Raises:
        KeyError: the group has no such entry.
        BackendError: its package cannot be imported.
    """
    entry = entries(group)[name]
    try:
        return entry.load()
    except Exception as error:  # a plug-in's module may fail in any way
        raise BackendError("a plug-in cannot be imported", field=f"{group}: {name}", file=_package(entry),
                           found=f"{entry.value}: {type(error).__name__}: {error}",
                           hint="install its package again, or remove it")  from error  # fmt: skip


def _own(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == "fieldlab"


def _package(entry: EntryPoint) -> str | None:
    return None if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
