"""A simulated zero-shot segmenter: what an automatic mask generator might say about one picture.

It sees exact labels and spoils them the way such models do: each object is cut at one granularity (or two), drawn
anew for every picture; masks go missing, neighbors are merged and outlines are ragged. Pictures therefore disagree, and
only what many pictures say together reveals the hierarchy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from fieldlab.synthetic.rle import encode_rle


@dataclass(frozen=True)
class SegmenterOptions:
    """How badly the segmenter does."""

    level_weights: tuple[float, float, float] = (0.35, 0.3, 0.35)
    """Chance of cutting an object as a whole, into groups, or into parts."""
    second_level: float = 0.35
    """Chance of cutting an object at another granularity too."""
    drop: float = 0.12
    """Chance that a mask is missing."""
    merge: float = 0.10
    """Chance that a mask swallows a neighbor."""
    ragged: float = 1.2
    """Typical shift of outlines in pixels."""
    least_area: int = 12
    """Smaller masks are not reported, in pixels."""


_DEFAULT = SegmenterOptions()


def simulate_masks(ids: np.ndarray, seed: int, options: SegmenterOptions = _DEFAULT) -> list[dict[str, Any]]:
    """Masks of one picture in the format of automatic mask generators.

    Args:
        ids: int [3,H,W] object, group and part labels, -1 background.
        seed: the same seed gives the same masks; use another one for every picture.
        options: how badly to do.

    Returns:
        A list, largest first, of dicts with ``segmentation`` (COCO run lengths, uncompressed, column-major), ``area``,
        ``bbox`` (x, y, width, height), ``predicted_iou``, ``stability_score``, ``point_coords`` ([[x, y]], inside) and
        ``crop_box``.
    """
    rng = np.random.default_rng(seed)
    ids = np.asarray(ids)
    clean = _swallow_neighbors(_choose_segments(ids, rng, options), rng, options)
    found = []
    for mask in clean:
        spoiled = _ragged(mask, rng, options.ragged)
        if spoiled.sum() >= options.least_area and rng.random() >= options.drop:
            found.append(_describe(spoiled, mask, rng))
    return sorted(found, key=lambda m: -m["area"])


def _choose_segments(ids: np.ndarray, rng: np.random.Generator, options: SegmenterOptions) -> list[np.ndarray]:
    weights = np.asarray(options.level_weights) / np.sum(options.level_weights)
    segments = []
    for thing in np.unique(ids[0][ids[0] >= 0]):
        levels = [int(rng.choice(3, p=weights))]
        if rng.random() < options.second_level:
            levels.append(int(rng.choice([level for level in range(3) if level != levels[0]])))
        for level in levels:
            inside = ids[0] == thing
            segments += [inside & (ids[level] == label) for label in np.unique(ids[level][inside])]
    return segments


def _swallow_neighbors(
    segments: list[np.ndarray], rng: np.random.Generator, options: SegmenterOptions
) -> list[np.ndarray]:
    """Let some masks take in one that touches them without overlapping, which then is not reported itself."""
    result, gone = [], set()
    for i, mask in enumerate(segments):
        if i in gone:
            continue
        if rng.random() < options.merge:
            rim = ndimage.binary_dilation(mask, iterations=2)
            touching = [
                j
                for j, other in enumerate(segments)
                if j != i and j not in gone and (other & rim).any() and not (other & mask).any()
            ]
            if touching:
                j = int(rng.choice(touching))
                gone.add(j)
                mask = mask | segments[j]
        result.append((i, mask))
    return [mask for i, mask in result if i not in gone]


def _ragged(mask: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """The mask read at positions shifted by smooth noise, with a little roughness of single pixels on top."""
    if amount <= 0:
        return mask
    shifts = []
    for _ in range(2):
        slow = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 4.0)
        slow /= max(float(slow.std()), 1e-9)
        shifts.append(amount * (0.7 * slow + 0.35 * rng.standard_normal(mask.shape)))
    rows, columns = np.indices(mask.shape)
    y = np.clip(np.rint(rows + shifts[0]), 0, mask.shape[0] - 1).astype(np.int64)
    x = np.clip(np.rint(columns + shifts[1]), 0, mask.shape[1] - 1).astype(np.int64)
    return mask[y, x]


def _describe(mask: np.ndarray, clean: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    overlap = (mask & clean).sum() / (mask | clean).sum()
    stability = ndimage.binary_erosion(mask).sum() / max(ndimage.binary_dilation(mask).sum(), 1)
    deepest = np.unravel_index(int(ndimage.distance_transform_edt(mask).argmax()), mask.shape)
    return {
        "segmentation": encode_rle(mask),
        "area": int(mask.sum()),
        "bbox": box,
        "predicted_iou": round(float(np.clip(0.55 + 0.45 * overlap + 0.03 * rng.standard_normal(), 0, 1)), 4),
        "stability_score": round(float(np.clip(0.8 + 0.2 * stability + 0.01 * rng.standard_normal(), 0, 1)), 4),
        "point_coords": [[int(deepest[1]), int(deepest[0])]],
        "crop_box": [0, 0, mask.shape[1], mask.shape[0]],
    }
