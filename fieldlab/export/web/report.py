"""What a reconstruction came to as one HTML page: pictures, numbers, how long it took, and what to do better."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np

from fieldlab.export.web.page import jpeg
from fieldlab.files import write_text

PICTURE_SIDE = 1800  # most pixels along the longer side of the summary picture


@dataclass
class Report:
    """What the page shows; all texts are plain.

    Args:
        title: of the page.
        about: a line below the title.
        figures: what was measured: value and label.
        picture: uint8 [H,W,3], held in the page.
        video, sheet: files beside the page, by name.
        page: file beside the page that shows the mesh, by name.
        links: to files beside the page: name, and what it is.
        stages: name, time in words, and the command line that repeats it.
        notes: what a person should know.
        missing: what could not be made: its name, and why.
    """

    title: str
    about: str
    figures: Sequence[tuple[str, str]] = ()
    picture: np.ndarray | None = None
    video: str | None = None
    sheet: str | None = None
    page: str | None = None
    links: Sequence[tuple[str, str]] = ()
    stages: Sequence[tuple[str, str, str]] = ()
    notes: Sequence[str] = ()
    missing: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_report(path: str | Path, report: Report) -> None:
    """Write the page.

    Raises:
        RunFolderError: the file cannot be written.
    """
    parts = (
        _warnings(report.missing),
        "" if report.page is None else f'<a class="open" href="{quote(report.page)}">Look at the mesh in 3D</a>',
        _figures(report.figures),
        _looks(report),
        _section("Files", _list(f'<a href="{quote(name)}">{_text(name)}</a> <span>{_text(what)}</span>'
                                for name, what in report.links), "files"),
        _section("Good to know", _list(_text(note) for note in report.notes), "notes"),
        _section("How it was made", _stages(report.stages), "stages"),
    )  # fmt: skip
    template = Template((files(__package__) / "report.html").read_text(encoding="utf-8"))
    page = template.substitute(title=_text(report.title), about=_text(report.about), content="\n".join(parts))
    write_text(path, page)


def _warnings(missing: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<div class="missing" role="alert"><b>{_text(name)} could not be made</b><pre>{_text(why)}</pre></div>'
        for name, why in missing
    )


def _figures(figures: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<div><dd>{_text(value)}</dd><dt>{_text(label)}</dt></div>" for value, label in figures)
    return f'<dl class="figures">{cells}</dl>' if cells else ""


def _looks(report: Report) -> str:
    video = picture = sheet = ""
    if report.video is not None:
        video = (f'<figure class="video"><video src="{quote(report.video)}" autoplay loop muted playsinline controls>'
                 "</video><figcaption>Around the scene</figcaption></figure>")  # fmt: skip
    if report.picture is not None:
        says = "A photograph that was held out of training, and the same view of what was learnt"
        picture = (f'<figure class="paper"><img src="{jpeg(report.picture, PICTURE_SIDE)}" alt="{says}">'
                   f"<figcaption>{says}</figcaption></figure>")  # fmt: skip
    if report.sheet is not None:
        image = f'<img src="{quote(report.sheet)}" loading="lazy" alt="Photographs, renders and errors">'
        sheet = f"<details><summary>More held-out photographs beside their renders</summary>{image}</details>"
    return video + picture + sheet


def _stages(stages: Iterable[tuple[str, str, str]]) -> str:
    rows = "".join(
        f"<tr><th>{_text(name)}</th><td>{_text(time)}</td><td><code>{_text(command)}</code></td></tr>"
        for name, time, command in stages
    )
    return f"<table>{rows}</table>" if rows else ""


def _list(items: Iterable[str]) -> str:
    content = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{content}</ul>" if content else ""


def _section(title: str, content: str, kind: str) -> str:
    return f'<section class="{kind}"><h2>{title}</h2>{content}</section>' if content else ""


def _text(text: str) -> str:
    """Plain text as HTML; names of files can hold what is no text."""
    return html.escape(text.encode(errors="replace").decode())
