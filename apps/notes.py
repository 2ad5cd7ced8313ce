"""What commands say besides their results: told at once, and heard by commands that are made of others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_listeners: list[list[str]] = []


def tell(console: Console, text: str, style: str = "dim") -> None:
    """Print something that a person should know, and let those who listen hear it."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
    for heard in _listeners:
        heard.append(text.removeprefix("note: "))


@contextmanager
def heard() -> Iterator[list[str]]:
    """Yields a list of everything that is told meanwhile."""
    told: list[str] = []
    _listeners.append(told)
    try:
        yield told
    finally:
        _listeners.remove(told)
