"""Tables for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.table import Table


def text_table(rows: Sequence[Iterable[str]], title: str | None = None) -> Table:
    """A heading and rows below it, the first column on the left, as a rich table that never breaks a cell."""
    made = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for i, heading in enumerate(rows[0]):
        made.add_column(heading, justify="right" if i else "left", no_wrap=True)
    for row in rows[1:]:
        made.add_row(*row)
    return made


def markdown_table(rows: Sequence[Iterable[str]]) -> str:
    """The same in Markdown."""
    head, *others = (list(row) for row in rows)
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ruler, *others))


def fixed(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point, a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def finite(value: float | None) -> float | None:
    """A number as JSON can hold it: None for infinity, such as the PSNR of equal pictures."""
    return value if value is not None and math.isfinite(value) else None
