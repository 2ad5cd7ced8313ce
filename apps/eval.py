"""fieldlab eval: how well a run predicts photographs that were held out."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldlab.apps.options import Device, OptionalBackground, OptionalFile, OptionalText, RunFolder

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console
    from torch import Tensor

    from fieldlab.data.views import Views
    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.load import RunInfo
    from fieldlab.train.evaluate import ViewScore

SHEET_HEIGHT = 320
SEGMENT_THRESHOLDS = 50
TABLE_ROWS = 40


@dataclass
class Eval:
    """Measure PSNR, SSIM and LPIPS on held-out views, how well parts agree with exact labels, or an exported mesh."""

    run: RunFolder
    """The folder that fieldlab train made."""
    split: str = "test"
    """Which views: test, val or train."""
    json: OptionalFile = None
    """Write the numbers to this file."""
    sheet: OptionalFile = None
    """Write photographs, renders and error maps side by side to this picture (.png, .jpg); with --mesh photographs,
    renders, the mesh and its shape."""
    sheet_views: int = 8
    """How many views the sheet shows, evenly chosen."""
    data: OptionalFile = None
    """Where the scene is now, when it has moved since training."""
    background: OptionalBackground = None
    """What transparent photographs are put on; the scene's own by default (white for NeRF-Synthetic)."""
    segments: OptionalFile = None
    """Measure the parts of a segmented run instead, against exact labels in this folder: NAME.npz with ids [L,H,W] and
    depth [H,W], or pictures of labels in a folder per level."""
    mesh: OptionalFile = None
    """Measure this mesh of the run instead (.glb, .obj, .ply, .stl): triangles, components, watertightness, and its
    PSNR beside that of the field."""
    truth: OptionalFile = None
    """The true surface for --mesh, a mesh or points in world units: Chamfer distance, F-score, normal consistency."""
    truth_depth: OptionalFile = None
    """Folder of NAME.npz with depth [H,W] along the rays of the training views: recall counts only the surface that
    they see."""
    thresholds: OptionalText = None
    """With --mesh the distances of the F-score as shares of the diagonal of the truth (default: 0.005,0.01); with
    --segments the number of thresholds at which parts are looked at, spread over all different cuts (default: 50)."""
    lpips_weights: OptionalFile = None
    """Safetensors file with LPIPS weights (AlexNet); the variable FIELDLAB_LPIPS names one too. LPIPS is left out
    without it."""
    device: Device = "auto"
    """Where to render."""


@dataclass
class Evaluation:
    """The scores of all views, and by view number a row of the sheet for some of them."""

    scores: list[ViewScore]
    rows: dict[int, list[np.ndarray]]


def run(args: Eval) -> object:
    """Evaluate, print a table, and write what was asked for."""
    from fieldlab.errors import ConfigError

    if args.sheet_views < 1:
        raise ConfigError("a sheet shows one view at least", field="--sheet-views", found=args.sheet_views)
    if args.segments is not None and args.mesh is not None:
        raise ConfigError("parts and a mesh are measured one after the other", field="--segments, --mesh")
    if args.mesh is None and (args.truth is not None or args.truth_depth is not None):
        raise ConfigError("there is no mesh to compare with the true surface", field="--truth", hint="give --mesh too")
    if args.segments is not None:
        return eval_segments(args)
    if args.mesh is not None:
        from fieldlab.apps.eval_mesh import eval_mesh

        return eval_mesh(args)
    return eval_pictures(args)


def eval_segments(args: Eval) -> dict[str, Any]:
    """Measure parts against exact labels."""
    from rich.console import Console

    from fieldlab.apps.progress import progress_bar
    from fieldlab.errors import ConfigError, DataError
    from fieldlab.files import write_json
    from fieldlab.ops.device import choose_device
    from fieldlab.segment.evaluate import evaluate as evaluate_segments
    from fieldlab.segment.segmentation import Segmentation

    count = SEGMENT_THRESHOLDS if args.thresholds is None else args.thresholds
    if not str(count).isdecimal() or int(count) < 1:
        raise ConfigError("parts are looked at at one threshold at least", field="--thresholds", found=count)
    assert args.segments is not None
    if not args.segments.is_dir():
        raise DataError("there are no labels", file=args.segments, expected="a folder of NAME.npz")
    console = Console(stderr=True)
    segmentation, info = Segmentation.load(args.run, choose_device(args.device))
    if args.split not in info.scene.cameras:
        raise DataError("the run has no such split of views", file=info.run.path, field="--split", found=args.split,
                        expected=", ".join(info.scene.cameras))  # fmt: skip
    cameras, names = info.scene.cameras[args.split], info.scene.names[args.split]
    thresholds = segmentation.hierarchy.thresholds(int(count))
    with progress_bar(console) as bar:
        found = evaluate_segments(
            lambda i: segmentation.labels(cameras, i, thresholds).numpy(), cameras, names, args.segments,
            tick=lambda done, total: bar.show("views", done, total),
        )  # fmt: skip
    values = {name: asdict(measured) for name, measured in found.items()}
    if args.json is not None:
        write_json(args.json, {**values, "views": len(names), "thresholds": thresholds.tolist(), "split": args.split})
    Console().print(segments_table(values))
    return values


def segments_table(values: dict[str, Any]) -> Any:
    """Metrics down, levels across, as a rich table."""
    from rich.box import SIMPLE
    from rich.table import Table

    made = Table(box=SIMPLE)
    levels = max(len(value["levels"]) for value in values.values())
    for heading in ("", "mean", *(f"level {i}" for i in range(levels))):
        made.add_column(heading, justify="right" if heading else "left")
    for name, value in values.items():
        cells = [value["mean"], *value["levels"]]
        made.add_row(name, *("-" if cell is None else f"{cell:.3f}" for cell in cells))
    return made


def eval_pictures(args: Eval) -> Evaluation:
    """Compare renders with photographs."""
    from rich.console import Console

    from fieldlab.files import write_json
    from fieldlab.ops.device import choose_device
    from fieldlab.pictures.sheets import check_picture_path, sheet, write_picture
    from fieldlab.runs.load import load_run
    from fieldlab.runs.photographs import reload_views

    if args.sheet is not None:
        check_picture_path(args.sheet)
    console = Console(stderr=True)
    model, info = load_run(args.run, choose_device(args.device))
    with console.status("reading the photographs"):
        views = reload_views(info, args.split, args.data)
    background = model.background(args.background)
    found = evaluate(model, views, background, args, console)
    if args.json is not None:
        write_json(args.json, report(found.scores, info, model, args.split))
    if args.sheet is not None:
        write_picture(args.sheet, sheet(list(found.rows.values())))
    Console().print(table(found.scores, f"{args.split} views of {info.scene.name}"))
    for label, path in (("numbers", args.json), ("sheet", args.sheet)):
        if path is not None:
            console.print(f"{label}: {path}", highlight=False, soft_wrap=True)
    return found


def evaluate(model: RadianceModel, views: Views, background: Tensor, args: Eval, console: Console) -> Evaluation:
    """Scores of all views, with progress; rows for the sheet only when one is wanted."""
    from fieldlab.apps.progress import progress_bar
    from fieldlab.train.evaluate import evaluate_views
    from fieldlab.train.lpips import load_lpips

    weights = args.lpips_weights or os.environ.get("FIELDLAB_LPIPS")
    network = load_lpips(weights) if weights else None
    shown = shown_views(len(views), args.sheet_views) if args.sheet is not None else set()
    found = Evaluation([], {})
    with progress_bar(console) as bar:
        for i, (score, made, target) in enumerate(evaluate_views(model, views, background, network)):
            found.scores.append(score)
            if i in shown:
                found.rows[i] = sheet_row(score, made, target)
            bar.show("rendering views", i + 1, len(views))
    return found


def shown_views(count: int, most: int) -> set[int]:
    """The numbers of at most ``most`` of ``count`` views, evenly chosen."""
    shown = min(most, count)
    return {round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)}


def sheet_row(score: ViewScore, made: Tensor, target: Tensor) -> list[np.ndarray]:
    """Photograph, render and error map with its scale."""
    from fieldlab.pictures.sheets import error_legend, error_picture, fitted, labeled, to_uint8

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


def report(scores: list[ViewScore], info: RunInfo, model: RadianceModel, split: str) -> dict[str, Any]:
    """The JSON of an evaluation; the first seven keys stay as they are for programs that read them."""
    from fieldlab.train.evaluate import mean_score

    mean = mean_score(scores)
    return {
        "psnr": _finite(mean.psnr),
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
        "per_view": [{**asdict(score), "psnr": _finite(score.psnr)} for score in scores],
    }


def table(scores: list[ViewScore], title: str) -> Any:
    """A rich table of the scores: all of them, or the worst when they are many, and their mean."""
    from rich.table import Table

    from fieldlab.train.evaluate import mean_score

    made = Table(title=title, title_justify="left")
    made.add_column("view")
    for name in ("PSNR dB", "SSIM", "LPIPS"):
        made.add_column(name, justify="right")
    listed = scores
    if len(scores) > TABLE_ROWS:
        listed = sorted(scores, key=lambda score: score.psnr)[:10]
        made.caption = f"the 10 worst of {len(scores)} views and the mean of all"
    for score in listed:
        made.add_row(*_cells(score))
    made.add_section()
    made.add_row(*_cells(mean_score(scores)), style="bold")
    return made


def _cells(score: ViewScore) -> tuple[str, str, str, str]:
    return score.name, f"{score.psnr:.2f}", f"{score.ssim:.4f}", "-" if score.lpips is None else f"{score.lpips:.4f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
