"""Sparse points from a PLY file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fieldlab.errors import DataError


def read_ply_points(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Points float64 [P,3] and colors uint8 [P,3] (None when there are none), without those not finite.

    Raises:
        DataError: the file is not a PLY file with vertices.
    """
    import trimesh  # takes a while to import and few scenes need it

    try:
        with path.open("rb") as file:
            loaded: Any = trimesh.load(file, file_type="ply", process=False)
        points = np.asarray(loaded.vertices, dtype=np.float64)
    except Exception as error:  # the parser raises whatever its position in a damaged file leads to
        raise DataError(
            "the sparse points cannot be read",
            file=path,
            found=str(error) or type(error).__name__,
            expected="a PLY file",
        ) from error
    colors = getattr(loaded.visual, "vertex_colors", None) if hasattr(loaded, "visual") else None
    finite = np.isfinite(points).all(axis=1)
    if colors is None or len(colors) != len(points):
        return points[finite], None
    return points[finite], np.asarray(colors, dtype=np.uint8)[finite, :3]
