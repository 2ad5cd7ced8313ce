"""fieldlab eval --mesh: how well an exported mesh meets a true surface and the photographs that were held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fieldlab.apps.eval import SHEET_HEIGHT, Eval, shown_views
from fieldlab.apps.progress import progress_bar
from fieldlab.data.cameras import CameraModel
from fieldlab.data.views import Views
from fieldlab.errors import ConfigError, DataError
from fieldlab.files import write_json
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.metrics import SHARES, MeshScore, MeshShape, mesh_shape, score_mesh, seen_points
from fieldlab.mesh.picture import mesh_colors, mesh_picture
from fieldlab.mesh.read import read_mesh
from fieldlab.ops.device import choose_device
from fieldlab.pictures.sheets import check_picture_path, fitted, labeled, sheet, to_uint8, write_picture
from fieldlab.render.model import RadianceModel
from fieldlab.runs.load import RunInfo, load_run
from fieldlab.runs.photographs import reload_views
from fieldlab.train.evaluate import ViewScore, evaluate_views, mean_score
from fieldlab.train.metrics import psnr, ssim


@dataclass
class Pictures:
    """Scores of the mesh and of its field on the same views, and the rows of a sheet for some of them."""

    mesh: list[ViewScore]
    field: list[ViewScore]
    rows: list[list[np.ndarray]]


def eval_mesh(args: Eval) -> dict[str, Any]:
    """Measure a mesh of a run: by itself, against a true surface, and drawn from where photographs were taken.

    Returns:
        what is written as JSON.

    Raises:
        ConfigError: options that do not go together, or a threshold that is none.
        DataError: a mesh, the depths or the photographs cannot be read.
    """
    assert args.mesh is not None
    if args.sheet is not None:
        check_picture_path(args.sheet)
    shares = threshold_shares(args.thresholds)
    if args.truth_depth is not None and args.truth is None:
        raise ConfigError("depths say what is seen of a true surface", field="--truth-depth", hint="give --truth too")
    console = Console(stderr=True)
    with console.status("reading the mesh"):
        mesh = read_mesh(args.mesh)
        truth = None if args.truth is None else read_mesh(args.truth, points=True)
    model, info = load_run(args.run, choose_device(args.device))
    with console.status("reading the photographs"):
        views = reload_views(info, args.split, args.data)
    with console.status("measuring the surface"):
        shape = mesh_shape(mesh)
        score = None if truth is None else score_truth(mesh, truth, info, args.truth_depth, shares)
    pictures = draw(mesh, model, views, args, console)
    values = report(shape, score, pictures, args)
    if args.json is not None:
        write_json(args.json, values)
    if args.sheet is not None and pictures is not None:
        write_picture(args.sheet, sheet(pictures.rows))
    for table in tables(shape, score, pictures):
        Console().print(table)
    for label, path in (("numbers", args.json), ("sheet", args.sheet if pictures else None)):
        if path is not None:
            console.print(f"{label}: {path}", highlight=False, soft_wrap=True)
    return values


def threshold_shares(text: str | None) -> tuple[float, ...]:
    """Shares of the diagonal such as ``0.005,0.01``.

    Raises:
        ConfigError: one is no number above zero.
    """
    try:
        shares = SHARES if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share < 1 for share in shares):
        raise ConfigError("thresholds are shares of the diagonal", field="--thresholds", found=text,
                          expected="numbers between 0 and 1, such as 0.005,0.01")  # fmt: skip
    return shares


def score_truth(mesh: Mesh, truth: Mesh, info: RunInfo, depths: Path | None, shares: Sequence[float]) -> MeshScore:
    """Compare with the true surface: all of it, or what the training cameras see according to a folder of depths."""
    seen = None
    if depths is not None:
        if "train" not in info.scene.cameras:
            raise DataError("the run has no training views", file=info.run.path, field="--truth-depth")
        seen = seen_points(depths, info.scene.cameras["train"], info.scene.names["train"])
    return score_mesh(mesh, truth, shares=shares, seen=seen)


def draw(mesh: Mesh, model: RadianceModel, views: Views, args: Eval, console: Console) -> Pictures | None:
    """Compare renders of the mesh and of the field with the photographs; None where no camera can draw a mesh."""
    if views.cameras.models() != {int(CameraModel.PERSPECTIVE)}:
        console.print("the mesh is not compared with photographs: meshes are drawn by perspective cameras only")
        return None
    background = model.background(args.background)
    shown = shown_views(len(views), args.sheet_views) if args.sheet is not None else set()
    found = Pictures([], [], [])
    with progress_bar(console) as bar:
        for i, (score, rendered, target) in enumerate(evaluate_views(model, views, background)):
            r, g, b = background.tolist()
            drawn = torch.from_numpy(mesh_colors(mesh, views.cameras, i, background=(r, g, b)))
            mask = views.mask(i)
            mask = None if mask is None else mask.cpu()
            found.field.append(score)
            found.mesh.append(ViewScore(score.name, psnr(drawn, target, mask), ssim(drawn, target, mask), None))
            if i in shown:
                clay = mesh_picture(mesh, views.cameras, i, shaded=True)
                found.rows.append(sheet_row(found.mesh[-1], score, (target, rendered, drawn), clay))
            bar.show("rendering views", i + 1, len(views))
    return found


def sheet_row(
    mesh: ViewScore, field: ViewScore, pictures: tuple[Tensor, Tensor, Tensor], clay: np.ndarray
) -> list[np.ndarray]:
    """Photograph, field, mesh, and the mesh as clay."""
    height = min(clay.shape[0], SHEET_HEIGHT)
    shown = [fitted(picture, height) for picture in (*(to_uint8(picture) for picture in pictures), clay)]
    words = (f"photograph {Path(field.name).name}", f"field {field.psnr:.2f} dB", f"mesh {mesh.psnr:.2f} dB", "clay")
    return [labeled(picture, text) for picture, text in zip(shown, words, strict=True)]


def report(shape: MeshShape, score: MeshScore | None, pictures: Pictures | None, args: Eval) -> dict[str, Any]:
    """The JSON of an evaluation of a mesh."""
    values: dict[str, Any] = {"mesh": str(args.mesh), **asdict(shape)}
    if score is not None:
        values.update({"truth": str(args.truth), **asdict(score)})
    if pictures is None:
        return values
    mesh, field = mean_score(pictures.mesh), mean_score(pictures.field)
    values.update({
        "psnr": _finite(mesh.psnr), "ssim": mesh.ssim, "field_psnr": _finite(field.psnr), "field_ssim": field.ssim,
        "psnr_difference": _finite(mesh.psnr - field.psnr), "views": len(pictures.mesh), "split": args.split,
        "per_view": [
            {"name": a.name, "psnr": _finite(a.psnr), "ssim": a.ssim, "field_psnr": _finite(b.psnr),
             "field_ssim": b.ssim}
            for a, b in zip(pictures.mesh, pictures.field, strict=True)
        ],
    })  # fmt: skip
    return values


def tables(shape: MeshShape, score: MeshScore | None, pictures: Pictures | None) -> list[Table]:
    """What was measured, as rich tables."""
    made = [shape_table(shape, score)]
    made += [] if score is None else [surface_table(score), closeness_table(score)]
    return made if pictures is None else [*made, picture_table(pictures)]


def shape_table(shape: MeshShape, score: MeshScore | None) -> Table:
    """The mesh by itself."""
    made = _table("mesh", "")
    made.add_row("triangles", f"{shape.triangles:,}")
    made.add_row("vertices", f"{shape.vertices:,}")
    true = None if score is None else score.truth_components
    made.add_row("components", f"{shape.components:,}" + ("" if true is None else f" (truth {true:,})"))
    made.add_row("watertight", "yes" if shape.watertight else "no")
    made.add_row("manifold", "yes" if shape.manifold else "no")
    made.add_row("volume", "-" if shape.volume is None else f"{shape.volume:.4g}")
    return made


def surface_table(score: MeshScore) -> Table:
    """Distances between the surfaces, and how their normals agree."""
    made = _table("distances", "world units", "of diagonal")
    for name, value in (("Chamfer", score.chamfer), ("mesh to truth", score.accuracy),
                        ("seen truth to mesh" if score.seen else "truth to mesh", score.completeness)):  # fmt: skip
        made.add_row(name, f"{value:.4g}", f"{100 * value / score.diagonal:.3f} %")
    if score.normal_consistency is not None:
        made.add_row("normal consistency", f"{score.normal_consistency:.4f}", "")
        made.add_row("the same with its sign", f"{score.normal_cosine:.4f}", "")
    return made


def closeness_table(score: MeshScore) -> Table:
    """Precision, recall and F-score at all thresholds."""
    made = _table("within", "world units", "precision", "recall (seen)" if score.seen else "recall", "F-score")
    for found in score.closeness:
        cells = (f"{cell:.4f}" for cell in (found.precision, found.recall, found.f_score))
        made.add_row(f"{100 * found.share:.3g} % of diagonal", f"{found.distance:.4g}", *cells)
    return made


def picture_table(pictures: Pictures) -> Table:
    """Means over views of the mesh beside those of the field."""
    mesh, field = mean_score(pictures.mesh), mean_score(pictures.field)
    made = _table(f"mean of {len(pictures.mesh)} views", "mesh", "field", "difference")
    made.add_row("PSNR dB", f"{mesh.psnr:.2f}", f"{field.psnr:.2f}", f"{mesh.psnr - field.psnr:+.2f}")
    made.add_row("SSIM", f"{mesh.ssim:.4f}", f"{field.ssim:.4f}", f"{mesh.ssim - field.ssim:+.4f}")
    return made


def _table(*headings: str) -> Table:
    made = Table(box=SIMPLE)
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="right" if i else "left")
    return made


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
