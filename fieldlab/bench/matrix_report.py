"""What fieldlab matrix found, as tables and one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from fieldlab.bench.matrix import MatrixSettings, folder_of
from fieldlab.bench.matrix_measure import Result
from fieldlab.bench.tables import fixed, markdown_table
from fieldlab.pictures.sheets import fitted, labeled, sheet, to_uint8
from fieldlab.runs.load import load_run

SHEET_HEIGHT = 160
KINDS = {"teacher": "teacher", "scratch": "from scratch", "same": "from scratch, same time", "pair": "distilled"}


def grid(names: Sequence[str], results: Sequence[Result]) -> list[list[str]]:
    """Teachers down, students across: PSNR against the photographs, below a heading."""
    pairs = {(r.teacher, r.student): r.psnr for r in results if r.kind == "pair"}
    own = {r.student: r.psnr for r in results if r.kind == "teacher"}
    rows = [["teacher", "its own", *names]]
    for teacher in names:
        cells = [f"{pairs[teacher, s]:.2f}" if (teacher, s) in pairs else "-" for s in names]
        rows.append([teacher, f"{own[teacher]:.2f}", *cells])
    if same := {r.student: r for r in results if r.kind == "same"}:
        rows.append(["from scratch, same time", "", *(f"{same[s].psnr:.2f}" for s in names)])
    for asked in sorted({r.asked for r in results if r.kind == "scratch"}):
        alone = {r.student: r.psnr for r in results if r.kind == "scratch" and r.asked == asked}
        rows.append([f"from scratch, {asked:g} s", "", *(f"{alone[s]:.2f}" for s in names)])
    return rows


def behind(results: Sequence[Result]) -> list[tuple[float, Result]]:
    """How far each student is below what can be expected of it, the largest first: the lesser of its teacher and of
    its own representation trained from scratch for the longest time."""
    longest: dict[str, Result] = {}
    for r in results:
        if r.kind != "pair" and (r.student not in longest or r.asked > longest[r.student].asked):
            longest[r.student] = r
    teachers = {r.student: r.psnr for r in results if r.kind == "teacher"}
    gaps = [(min(teachers[r.teacher], longest[r.student].psnr) - r.psnr, r) for r in results if r.teacher is not None]
    return sorted(gaps, key=lambda gap: -gap[0])


def markdown(names: Sequence[str], results: Sequence[Result]) -> str:
    """The grid, how far the worst student is behind, and everything of every run."""
    gap, worst = behind(results)[0]
    note = (f"Behind the lesser of its teacher and its own representation trained longest from scratch: at most "
            f"{gap:.2f} dB ({worst.teacher} to {worst.student}).\n")  # fmt: skip
    head = ["", "teacher", "student", "PSNR", "behind", "SSIM", "to teacher", "seconds", "steps", "trainable", "MB"]
    below = {(r.teacher, r.student): f"{value:.2f}" for value, r in behind(results)}
    rows = [head]
    for r in results:
        rows.append([
            KINDS[r.kind], r.teacher or "-", r.student, f"{r.psnr:.2f}", below.get((r.teacher, r.student), "-"),
            f"{r.ssim:.4f}", fixed(r.psnr_to_teacher, 2), f"{r.seconds:.0f}",
            f"{r.steps}", f"{r.trainable:,}", f"{r.bytes / 1e6:.2f}",
        ])  # fmt: skip
    return "\n".join([markdown_table(grid(names, results)), note, markdown_table(rows)])


def picture(settings: MatrixSettings, view: int, device: torch.device) -> np.ndarray:
    """A row per teacher: its render of a test view, then every student's; uint8 [H,W,3]."""

    def one(teacher: str | None, student: str) -> np.ndarray:
        model, info = load_run(folder_of(settings, teacher, student), device)
        made = model.render_image(info.scene.cameras["test"], view)["rgb"].cpu()
        return fitted(to_uint8(made), min(SHEET_HEIGHT, made.shape[0]))

    def row(teacher: str) -> Iterator[np.ndarray]:
        own = one(None, teacher)
        yield labeled(own, f"{teacher}, trained")
        for student in settings.fields:
            yield labeled(own, "the same") if student == teacher else labeled(one(teacher, student), f"to {student}")

    return sheet([list(row(teacher)) for teacher in settings.fields])
