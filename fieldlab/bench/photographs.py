"""How well a run predicts photographs that were held out: scores, a sheet of pictures, a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from torch import Tensor

from fieldlab.bench.tables import finite, fixed
from fieldlab.data.views import Views
from fieldlab.pictures.sheets import error_legend, error_picture, fitted, labeled, to_uint8
from fieldlab.render.model import RadianceModel
from fieldlab.runs.load import RunInfo
from fieldlab.training.evaluate import ViewScore, evaluate_views, mean_score
from fieldlab.training.lpips import Lpips

SHEET_HEIGHT = 320
TABLE_ROWS = 40


@dataclass
class Evaluation:
    """The scores of all views, and by view number a row of the sheet for some of them."""

    scores: list[ViewScore]
    rows: dict[int, list[np.ndarray]]


def evaluate(
    model: RadianceModel, views: Views, background: Tensor, *, n_rows: int = 0, network: Lpips | None = None,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> Evaluation:  # fmt: skip
    """Compare renders with photographs.

    Args:
        model: what predicts them.
        views: the photographs.
        background: [3] color behind the model and behind transparent photographs.
        n_rows: how many views get a row of the sheet, evenly chosen.
        network: for LPIPS, None to leave it out.
        tick: called with how many views are done and how many there are.
    """
    shown, found = shown_views(len(views), n_rows), Evaluation([], {})
    for i, (score, made, target) in enumerate(evaluate_views(model, views, background, network)):
        found.scores.append(score)
        if i in shown:
            found.rows[i] = sheet_row(score, made, target)
        tick(i + 1, len(views))
    return found


def shown_views(count: int, most: int) -> set[int]:
    """The numbers of at most ``most`` of ``count`` views, evenly chosen."""
    shown = min(most, count)
    return {round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)}


def sheet_row(score: ViewScore, made: Tensor, target: Tensor) -> list[np.ndarray]:
    """Photograph, render and error map with its scale."""
    height = min(made.shape[0], SHEET_HEIGHT)
    photo, render, error = (
        fitted(picture, height) for picture in (to_uint8(target), to_uint8(made), error_picture(made, target))
    )
    return [
        labeled(photo, f"photograph {Path(score.name).name}"),
        labeled(render, f"render {score.psnr:.2f} dB, SSIM {score.ssim:.3f}"),
        labeled(error, "error, RMS of channels"),
        error_legend(height),
    ]


def report(scores: Sequence[ViewScore], info: RunInfo, model: RadianceModel, split: str) -> dict[str, Any]:
    """The JSON of an evaluation; the first seven keys stay as they are for programs that read them."""
    mean = mean_score(scores)
    return {
        "psnr": finite(mean.psnr),
        "ssim": mean.ssim,
        "lpips": mean.lpips,
        "views": len(scores),
        "seconds_training": info.seconds,
        "parameters": model.field.n_parameters,
        "bytes": model.field.n_bytes,
        "fixed": model.field.n_fixed,
        "split": split,
        "scene": info.scene.name,
        "field": model.field.kind,
        "steps": info.step,
        "fitted_psnr": finite(mean.fitted_psnr),
        "per_view": [
            {**asdict(score), "psnr": finite(score.psnr), "fitted_psnr": finite(score.fitted_psnr)} for score in scores
        ],
    }


def table(scores: Sequence[ViewScore], title: str) -> Any:
    """A rich table of the scores: all of them, or the worst when they are many, and their mean."""
    made = Table(title=title, title_justify="left")
    made.add_column("view")
    for name in ("PSNR dB", "colors fitted", "SSIM", "LPIPS"):
        made.add_column(name, justify="right")
    listed = list(scores)
    if len(scores) > TABLE_ROWS:
        listed = sorted(scores, key=lambda score: score.psnr)[:10]
        made.caption = f"the 10 worst of {len(scores)} views and the mean of all"
    for score in listed:
        made.add_row(*_cells(score))
    made.add_section()
    made.add_row(*_cells(mean_score(scores)), style="bold")
    return made


def _cells(score: ViewScore) -> tuple[str, ...]:
    return score.name, f"{score.psnr:.2f}", fixed(score.fitted_psnr, 2), f"{score.ssim:.4f}", fixed(score.lpips, 4)
