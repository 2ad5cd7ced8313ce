"""The figures of one measurement, in a file that is whole after each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldlab.bench.measure import Row
from fieldlab.errors import FieldlabError
from fieldlab.files import write_json


@dataclass(frozen=True)
class NotMeasured:
    """A comparison that another program could not give.

    Args:
        group, name: as of the row that is missing.
        against: the program.
        error: what it said.
    """

    group: str
    name: str
    against: str
    error: str


Figure = Row | NotMeasured


def beside(group: str, name: str, against: str, measure: Callable[[], Row]) -> Iterator[Figure]:
    """A row against another program, or what kept that program from working.

    Other programs compile themselves when they are first called and raise whatever their compilers do.
    """
    try:
        figure: Figure = measure()
    except FieldlabError as error:
        figure = NotMeasured(group, name, against, error.what)
    except Exception as error:  # noqa: BLE001 (of another program, and of any kind)
        lines = [line for line in str(error).splitlines() if line.strip()]
        figure = NotMeasured(group, name, against, f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": "))
    yield figure


class Record:
    """Keeps figures, and writes all of them after each one.

    Args:
        facts: what is the same for all of them, such as the machine.
        file: where they are written as JSON; nowhere when None.

    Raises:
        RunFolderError: the file cannot be written.
    """

    def __init__(self, facts: dict[str, Any], file: Path | None) -> None:
        self.facts, self.file = facts, file
        self.figures: list[Figure] = []
        self._write()

    def add(self, figure: Figure) -> None:
        """Keep one more figure."""
        self.figures.append(figure)
        self._write()

    def to_dict(self) -> dict[str, Any]:
        """Facts, ``rows``, and under ``not_measured`` what other programs failed to give."""
        rows = [{**asdict(row), "ratio": row.ratio} for row in self.figures if isinstance(row, Row)]
        missing = [asdict(figure) for figure in self.figures if isinstance(figure, NotMeasured)]
        return {**self.facts, "rows": rows, "not_measured": missing}

    def _write(self) -> None:
        if self.file is not None:
            write_json(self.file, self.to_dict())


def line(figure: Figure) -> str:
    """One figure for the terminal."""
    if isinstance(figure, NotMeasured):
        return f"{figure.name:<52} not measured against {figure.against}: {figure.error}"
    text = f"{figure.name:<52} {figure.value:>9.3g} {figure.unit}"
    if figure.reference is not None and figure.ratio is not None:
        text += f"   {figure.ratio:.1f}x the {figure.against} ({figure.reference:.3g})"
    return text
