"""Exact labels of views, for evaluation alone: nothing is ever learnt from them."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fieldlab.data.cameras import Cameras
from fieldlab.errors import DataError
from fieldlab.segment.metrics import Labels
from fieldlab.segment.picture_files import read_picture

DEPTH_TOLERANCE = 0.02  # relative, within which two views see the same point
MOST_BYTES = 1 << 30  # of one file's arrays


PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".exr")


def short_name(view: str) -> str:
    """The name of a view without folders and without its picture's suffix."""
    path = Path(view)
    return path.stem if path.suffix.lower() in PICTURES else path.name


@dataclass(frozen=True)
class Truth:
    """Labels int32 [L,H,W] of one view, -1 for background, and depth float32 [H,W] along the rays, 0 where nothing is,
    or None."""

    ids: Labels
    depth: NDArray[np.float32] | None


def read_truth(folder: Path, name: str) -> Truth | None:
    """Labels of one view: ``NAME.npz`` with ``ids`` and perhaps ``depth``, or a picture of labels per level, 0 for
    background, in folders of their own: ``LEVEL/NAME.png``, levels in the order of their names. None when there are
    none.

    Raises:
        DataError: damaged, or levels of different sizes.
    """
    file = folder / f"{short_name(name)}.npz"
    if file.is_file():
        return _read_arrays(file)
    pictures = [p for level in sorted(folder.iterdir()) if level.is_dir() for p in [level / f"{short_name(name)}.png"]]
    levels = [_read_picture(p) for p in pictures if p.is_file()]
    if not levels:
        return None
    if len({level.shape for level in levels}) > 1:
        raise DataError("levels have different sizes", file=folder, field=name, found=[lv.shape for lv in levels])
    return Truth(np.stack(levels), None)


def _read_arrays(file: Path) -> Truth:
    try:
        with zipfile.ZipFile(file) as archive:
            if (size := sum(info.file_size for info in archive.infolist())) > MOST_BYTES:
                raise DataError("a file of labels is too large", file=file, found=size, expected=MOST_BYTES)
        with np.load(file, allow_pickle=False) as arrays:
            ids = np.asarray(arrays["ids"]).astype(np.int32)
            depth = np.asarray(arrays["depth"], dtype=np.float32) if "depth" in arrays else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError("labels cannot be read", file=file, found=error) from error
    if ids.ndim != 3 or (depth is not None and depth.shape != ids.shape[1:]):
        raise DataError("labels have the wrong shape", file=file, found=ids.shape, expected="ids [L,H,W], depth [H,W]")
    return Truth(ids, depth)


def _read_picture(file: Path) -> Labels:
    picture = read_picture(file, "labels")
    if picture.ndim != 2:
        raise DataError("a picture of labels has one channel", file=file, found=picture.shape)
    return picture.astype(np.int32) - 1


def partners(cameras: Cameras) -> list[int]:
    """For every view the other one that looks from nearest by."""
    apart = torch.cdist(cameras.origins, cameras.origins) + torch.diag(torch.full((len(cameras),), torch.inf))
    return apart.argmin(1).tolist()


def same_points(
    cameras: Cameras, i: int, j: int, depth: NDArray[np.float32], other: NDArray[np.float32]
) -> NDArray[np.int64]:
    """int64 [H*W]: for every pixel of view i the place in the flattened picture of view j where the same point is seen,
    -1 where it is hidden, outside or background."""
    rays = cameras.image_rays(i)
    distance = torch.from_numpy(depth).flatten()
    points = rays.origins + rays.directions * distance[:, None]
    pixels, _, valid = cameras.project(j, points)
    width, height = cameras.size[j].tolist()
    column, row = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
    inside = valid & (distance > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = torch.where(inside, row * width + column, 0)
    expected = (points - cameras.origins[j]).norm(dim=1)
    found = torch.from_numpy(other).flatten()[place]
    same = inside & (found > 0) & ((found - expected).abs() <= DEPTH_TOLERANCE * expected)
    return torch.where(same, place, -1).numpy()
