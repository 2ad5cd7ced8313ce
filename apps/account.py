"""What a reconstruction came to: the summary picture, the page of the report, and a table on the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldlab.apps.material import Material
from fieldlab.apps.products import Products
from fieldlab.apps.stages import Stages, memory_in_words, scores_in_words, summary

if TYPE_CHECKING:
    from rich.console import Console


def give_account(material: Material, made: Products, stages: Stages, console: Console) -> None:
    """Write picture and report, unless they are of the same results already, and print the summary."""
    from rich.console import Console as Output

    if not _newer(made.report, stages.file):
        with console.status("writing the report"):
            _write(material, made, stages)
    Output().print()
    Output().print(summary(f"reconstruction of {material.name}", _rows(made, stages)), soft_wrap=True)


def _write(material: Material, made: Products, stages: Stages) -> None:
    from fieldlab.bench.demo_picture import summary_picture
    from fieldlab.export.web.report import write_report
    from fieldlab.pictures.sheets import write_picture

    scores, picture = _json(made.numbers), None
    if scores is not None:
        picture = summary_picture(made.run, _there(made.mesh), scores["per_view"])
        write_picture(made.picture, picture)
    else:
        made.picture.unlink(missing_ok=True)  # of an earlier state of the run
    write_report(made.report, _report(material, made, stages, scores, picture))


def _report(
    material: Material, made: Products, stages: Stages, scores: dict[str, Any] | None, picture: np.ndarray | None
) -> Any:
    """What the page shows."""
    from fieldlab import __version__
    from fieldlab.export.web.report import Report

    links = [
        (made.page, "the mesh in 3D, in any browser"),
        (made.mesh, "the textured mesh for other programs"),
        (made.video, "the video around the scene"),
        (made.picture, "the picture above"),
        (made.numbers, "all numbers"),
        (made.run, "the run: fieldlab view, render and export work on it"),
        (made.scene, "camera poses and undistorted photographs"),
    ]
    video, sheet, page = _there(made.video), _there(made.sheet), _there(made.page)
    return Report(
        title=material.name,
        about=f"Reconstructed by fieldlab {__version__} from {material.says} ({material.source})",
        figures=_figures(made, stages, scores),
        picture=picture,
        video=None if video is None else video.name,
        sheet=None if sheet is None else sheet.name,
        page=None if page is None else page.name,
        links=[(path.name + "/" * path.is_dir(), what) for path, what in links if _there(path) is not None],
        stages=[(name, in_words(record.seconds), record.command) for name, record in stages.records.items()],
        notes=[note for record in stages.records.values() for note in record.notes],
        missing=list(stages.failures().items()),
    )


def _figures(made: Products, stages: Stages, scores: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Values and what they are of."""
    from fieldlab.bench.tables import fixed
    from fieldlab.runs.load import load_run

    figures = []
    if scores is not None:
        figures.append((f"{fixed(scores['psnr'], 2)} dB", f"PSNR of {scores['views']} held-out views"))
        if scores["fitted_psnr"] is not None:
            figures.append((f"{scores['fitted_psnr']:.2f} dB", "PSNR with colors fitted"))
        figures.append((f"{scores['ssim']:.3f}", "SSIM"))
    placed = _json(made.capture)
    if placed is not None:
        figures.append((f"{placed['registered']} of {placed['total']}", "photographs placed"))
    _, info = load_run(made.run)
    if placed is None:
        figures.append((str(sum(map(len, info.scene.names.values()))), "photographs"))
    figures.append((f"{info.step:,}", f"training steps in {in_words(info.seconds)}"))
    figures.append((in_words(total(stages)), "in all"))
    return figures


def _rows(made: Products, stages: Stages) -> list[tuple[str, str]]:
    """The summary on the terminal."""
    placed, scores = _json(made.capture), _json(made.numbers)
    rows = []
    if placed is not None:
        rows.append(("photographs placed", f"{placed['registered']} of {placed['total']}"))
    if scores is not None:
        rows.append(("held-out views", scores_in_words(scores)))
    parts = ", ".join(f"{name} {in_words(record.seconds)}" for name, record in stages.records.items())
    rows += [("time", f"{in_words(total(stages))}: {parts}"), ("peak memory", memory_in_words())]
    files = (
        ("report", made.report),
        ("mesh in 3D", made.page),
        ("mesh", made.mesh),
        ("orbit video", made.video),
        ("summary picture", made.picture),
        ("photographs, renders, errors", made.sheet),
        ("run", made.run),
    )
    rows += [(label, str(path)) for label, path in files if _there(path) is not None]
    rows += [(f"no {name}", why.splitlines()[0]) for name, why in stages.failures().items()]
    return [*rows, ("next", f"fieldlab view {made.run}")]


def total(stages: Stages) -> float:
    """Seconds spent on all stages."""
    return sum(record.seconds for record in stages.records.values())


def in_words(seconds: float) -> str:
    """A time as people say it."""
    return f"{seconds:.0f} s" if seconds < 99.5 else f"{round(seconds) // 60} min {round(seconds) % 60} s"


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


def _newer(path: Path, other: Path) -> bool:
    return path.exists() and path.stat().st_mtime_ns >= other.stat().st_mtime_ns


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
