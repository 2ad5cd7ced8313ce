"""A comparison of representations as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fieldlab.bench.compare import Measured, Row
from fieldlab.pictures.sheets import error_legend, error_picture, fitted, labeled, sheet, to_uint8

SHEET_HEIGHT = 256


def rows_as_text(rows: Sequence[Row]) -> list[list[str]]:
    """A heading and a line for each row; LPIPS only where its weights were there."""
    lines = [_cells(row) for row in rows]
    return [list(lines[0]), *(list(line.values()) for line in lines)]


def _cells(row: Row) -> dict[str, str]:
    return {
        "field": row.field,
        "PSNR": f"{row.psnr:.2f}",
        "SSIM": f"{row.ssim:.4f}",
        **({} if row.lpips is None else {"LPIPS": f"{row.lpips:.4f}"}),
        "seconds": f"{row.seconds:.0f}",
        "steps": f"{row.steps}",
        "trainable": f"{row.trainable:,}",
        "fixed": f"{row.fixed:,}",
        "MB": f"{row.bytes / 1e6:.2f}",
        "ms/frame": f"{row.frame_ms:.0f}",
    }


def picture(measured: Sequence[Measured]) -> np.ndarray:
    """Per view a row of the photograph and all renders, and below it their errors; uint8 [H,W,3]."""
    rows = []
    for i in sorted(measured[0].shown):
        _, made, target = measured[0].shown[i]
        height = min(made.shape[0], SHEET_HEIGHT)
        photo = labeled(fitted(to_uint8(target), height), "photograph")
        renders, errors = [photo], [np.full_like(photo, 255)]
        for m in measured:
            score, made, target = m.shown[i]
            text = f"{m.row.field} {score.psnr:.2f} dB"
            renders.append(labeled(fitted(to_uint8(made), height), text))
            errors.append(labeled(fitted(error_picture(made, target), height), "error"))
        rows += [renders, [*errors, error_legend(height)]]
    return sheet(rows)
