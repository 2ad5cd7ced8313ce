"""The page of a run: its mesh, seen as the first photograph was taken, with a rendering to show before it is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fieldlab.data.cameras import Cameras
from fieldlab.export.web.page import write_page
from fieldlab.mesh.mesh import Mesh
from fieldlab.pictures.camera_path import focus_point, up_direction
from fieldlab.pictures.sheets import to_uint8
from fieldlab.render.model import RadianceModel
from fieldlab.segment.hierarchy import Hierarchy

FACES = 200_000  # of a page's mesh, unless another number is asked for
POSTER_SIDE = 900  # most pixels along a side of the rendering


def write_run_page(
    path: str | Path, model: RadianceModel, cameras: Cameras, mesh: Mesh, *, title: str,
    leaf: np.ndarray | None = None, tree: Hierarchy | None = None,
) -> None:  # fmt: skip
    """Write the page of a model's mesh.

    Args:
        path: .html or .htm.
        cameras: of the photographs; the page begins at the first one.
        mesh: F faces.
        title: above the mesh, as plain text.
        leaf: int64 [F], row in ``tree`` of the finest segment of each face; both or neither.
        tree: the hierarchy of the segments.

    Raises:
        ConfigError, RunFolderError: see :func:`fieldlab.export.web.page.write_page`.
    """
    cameras = cameras.to("cpu")
    first = cameras[:1].scaled(min(1.0, POSTER_SIDE / int(cameras.size[0].max())))
    eye, target, up = (_point(v) for v in (cameras.origins[0], focus_point(cameras, model.aabb), up_direction(cameras)))
    poster = to_uint8(model.render_image(first, 0)["rgb"])
    write_page(path, mesh, title=title, leaf=leaf, tree=tree, poster=poster, up=up, view=(eye, target))


def _point(vector: torch.Tensor) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z
