"""How well an exported mesh meets a true surface and the photographs that were held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from fieldlab.bench.photographs import SHEET_HEIGHT, shown_views
from fieldlab.bench.tables import finite, text_table
from fieldlab.data.cameras import CameraModel
from fieldlab.data.views import Views
from fieldlab.errors import ConfigError, DataError
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.metrics import SHARES, MeshScore, MeshShape, score_mesh, seen_points
from fieldlab.mesh.picture import mesh_colors, mesh_picture
from fieldlab.pictures.sheets import fitted, labeled, to_uint8
from fieldlab.render.model import RadianceModel
from fieldlab.runs.load import RunInfo
from fieldlab.training.evaluate import ViewScore, evaluate_views, mean_score
from fieldlab.training.metrics import psnr, ssim


@dataclass
class Pictures:
    """Scores of the mesh and of its field on the same views, and the rows of a sheet for some of them."""

    mesh: list[ViewScore]
    field: list[ViewScore]
    rows: list[list[np.ndarray]]


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


def drawable(views: Views) -> bool:
    """Whether meshes can be drawn from there: by perspective cameras only."""
    return views.cameras.models() == {int(CameraModel.PERSPECTIVE)}


def draw(
    mesh: Mesh, model: RadianceModel, views: Views, background: Tensor, *, n_rows: int = 0,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> Pictures:  # fmt: skip
    """Compare renders of the mesh and of the field with the photographs.

    Args:
        mesh: in world units.
        model: the field.
        views: the photographs, which are :func:`drawable`.
        background: [3] color behind everything.
        n_rows: how many views get a row of the sheet, evenly chosen.
        tick: called with how many views are done and how many there are.
    """
    shown, found = shown_views(len(views), n_rows), Pictures([], [], [])
    r, g, b = background.tolist()
    for i, (score, rendered, target) in enumerate(evaluate_views(model, views, background)):
        drawn = torch.from_numpy(mesh_colors(mesh, views.cameras, i, background=(r, g, b)))
        mask = views.mask(i)
        mask = None if mask is None else mask.cpu()
        found.field.append(score)
        found.mesh.append(ViewScore(score.name, psnr(drawn, target, mask), ssim(drawn, target, mask), None))
        if i in shown:
            clay = mesh_picture(mesh, views.cameras, i, shaded=True)
            found.rows.append(sheet_row(found.mesh[-1], score, (target, rendered, drawn), clay))
        tick(i + 1, len(views))
    return found


def sheet_row(
    mesh: ViewScore, field: ViewScore, pictures: tuple[Tensor, Tensor, Tensor], clay: np.ndarray
) -> list[np.ndarray]:
    """Photograph, field, mesh, and the mesh as clay."""
    height = min(clay.shape[0], SHEET_HEIGHT)
    shown = [fitted(picture, height) for picture in (*(to_uint8(picture) for picture in pictures), clay)]
    words = (f"photograph {Path(field.name).name}", f"field {field.psnr:.2f} dB", f"mesh {mesh.psnr:.2f} dB", "clay")
    return [labeled(picture, text) for picture, text in zip(shown, words, strict=True)]


def report(
    mesh_file: Path, shape: MeshShape, truth_file: Path | None, score: MeshScore | None, pictures: Pictures | None,
    split: str,
) -> dict[str, Any]:  # fmt: skip
    """The JSON of an evaluation of a mesh."""
    values: dict[str, Any] = {"mesh": str(mesh_file), **asdict(shape)}
    if score is not None:
        values.update({"truth": str(truth_file), **asdict(score)})
    if pictures is None:
        return values
    mesh, field = mean_score(pictures.mesh), mean_score(pictures.field)
    values.update({
        "psnr": finite(mesh.psnr), "ssim": mesh.ssim, "field_psnr": finite(field.psnr), "field_ssim": field.ssim,
        "psnr_difference": finite(mesh.psnr - field.psnr), "views": len(pictures.mesh), "split": split,
        "per_view": [
            {"name": a.name, "psnr": finite(a.psnr), "ssim": a.ssim, "field_psnr": finite(b.psnr),
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
    true = "" if score is None or score.truth_components is None else f" (truth {score.truth_components:,})"
    return text_table([
        ("mesh", ""),
        ("triangles", f"{shape.triangles:,}"),
        ("vertices", f"{shape.vertices:,}"),
        ("components", f"{shape.components:,}{true}"),
        ("watertight", "yes" if shape.watertight else "no"),
        ("manifold", "yes" if shape.manifold else "no"),
        ("volume", "-" if shape.volume is None else f"{shape.volume:.4g}"),
    ])  # fmt: skip


def surface_table(score: MeshScore) -> Table:
    """Distances between the surfaces, and how their normals agree."""
    back = "seen truth to mesh" if score.seen else "truth to mesh"
    distances = (("Chamfer", score.chamfer), ("mesh to truth", score.accuracy), (back, score.completeness))
    rows = [("distances", "world units", "of diagonal")]
    rows += [(name, f"{value:.4g}", f"{100 * value / score.diagonal:.3f} %") for name, value in distances]
    if score.normal_consistency is not None:
        rows.append(("normal consistency", f"{score.normal_consistency:.4f}", ""))
        rows.append(("the same with its sign", f"{score.normal_cosine:.4f}", ""))
    return text_table(rows)


def closeness_table(score: MeshScore) -> Table:
    """Precision, recall and F-score at all thresholds."""
    rows = [["within", "world units", "precision", "recall (seen)" if score.seen else "recall", "F-score"]]
    for found in score.closeness:
        cells = (f"{cell:.4f}" for cell in (found.precision, found.recall, found.f_score))
        rows.append([f"{100 * found.share:.3g} % of diagonal", f"{found.distance:.4g}", *cells])
    return text_table(rows)


def picture_table(pictures: Pictures) -> Table:
    """Means over views of the mesh beside those of the field."""
    mesh, field = mean_score(pictures.mesh), mean_score(pictures.field)
    return text_table([
        (f"mean of {len(pictures.mesh)} views", "mesh", "field", "difference"),
        ("PSNR dB", f"{mesh.psnr:.2f}", f"{field.psnr:.2f}", f"{mesh.psnr - field.psnr:+.2f}"),
        ("SSIM", f"{mesh.ssim:.4f}", f"{field.ssim:.4f}", f"{mesh.ssim - field.ssim:+.4f}"),
    ])  # fmt: skip
