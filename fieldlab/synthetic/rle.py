"""Run-length encoding of masks as in COCO: column-major, uncompressed counts, the first run is zeros."""

from __future__ import annotations

from typing import Any

import numpy as np

from fieldlab.errors import DataError


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encode a bool mask [H,W] as ``{"size": [H, W], "counts": [...]}``."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(starts).tolist()
    if flat.size and flat[0]:
        counts = [0, *counts]
    return {"size": list(mask.shape), "counts": counts}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """The bool mask [H,W] of an uncompressed encoding.

    Raises:
        DataError: the counts do not add up to the size.
    """
    height, width = (int(v) for v in rle["size"])
    counts = np.asarray(rle["counts"], dtype=np.int64)
    if (counts < 0).any() or counts.sum() != height * width:
        raise DataError(
            "a mask's run lengths do not fit its size",
            field="segmentation.counts",
            found=f"sum {int(counts.sum())}",
            expected=f"{height * width} pixels",
        )
    values = np.arange(counts.size) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")
