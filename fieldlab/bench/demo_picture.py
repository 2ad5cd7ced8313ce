"""One view of a run in every way that fieldlab can show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldlab.bench.meshes import drawable
from fieldlab.bench.photographs import sheet_row
from fieldlab.mesh.picture import mesh_picture
from fieldlab.mesh.read import read_mesh
from fieldlab.pictures.colormap import color_depth, color_normals, depth_range
from fieldlab.pictures.sheets import depth_legend, fitted, labeled, sheet, to_uint8
from fieldlab.runs.load import load_run
from fieldlab.runs.photographs import reload_views
from fieldlab.training.evaluate import ViewScore, target_picture

PICTURE_HEIGHT = 256


def summary_picture(run: Path, mesh: Path | None, scores: Sequence[dict[str, Any]]) -> np.ndarray:
    """Photograph, render and error above depth, normals and mesh, uint8 [H,W,3].

    Args:
        run: that was trained.
        mesh: that was exported from it; left out when there is none, or when a camera is not a perspective one.
        scores: of its test views, as ``fieldlab eval --json`` writes them; the view nearest to the middle of them is
            shown, which says what to expect.
    """
    known = [ViewScore(**{**score, "psnr": math.inf if score["psnr"] is None else score["psnr"]}) for score in scores]
    view = sorted(range(len(known)), key=lambda i: known[i].psnr)[len(known) // 2]
    model, info = load_run(run)
    views, white = reload_views(info, "test"), torch.ones(3)
    cameras, background = info.scene.cameras["test"], model.background(None)
    seen = model.render_image(cameras, view, background=white, channels=("depth", "opacity", "normal"))
    made = model.render_image(cameras, view, background=background)["rgb"].cpu()
    above = sheet_row(known[view], made, target_picture(views, view, background).cpu())
    depth, opacity = seen["depth"][..., 0], seen["opacity"][..., 0]
    shown = depth_range([depth], [opacity])
    below = [
        ("depth", to_uint8(color_depth(depth, opacity, shown, white))),
        ("normals", to_uint8(color_normals(seen["normal"], opacity, white))),
    ]
    if mesh is not None and drawable(views):
        surface = read_mesh(mesh)
        below.append((f"mesh, {len(surface.faces):,} faces", mesh_picture(surface, cameras, view)))
        below.append(("its shape", mesh_picture(surface, cameras, view, shaded=True)))
    height = min(depth.shape[0], PICTURE_HEIGHT)
    row = [labeled(fitted(picture, height), name) for name, picture in below]
    row.insert(1, depth_legend(height, shown))
    return sheet([above, row])
