"""One picture of what a scene falls into: a few views, each at a few thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fieldlab.data.cameras import Cameras
from fieldlab.pictures.sheets import fitted, labeled, sheet, to_uint8
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.segmentation import Segmentation

VIEWS = 2
LARGE = (6, 18, 1000)  # most large segments of the cuts that are shown
SHARE = 0.002  # of all points, of a large segment
TINT = 0.75
HEIGHT = 256


def parts_picture(segmentation: Segmentation, cameras: Cameras, views: int = VIEWS) -> np.ndarray:
    """uint8 [H,W,3]: rows of views that are far from each other: rendered, then tinted by the segments of a coarse, a
    middle and the finest cut."""
    model, tree, rows = segmentation.model, segmentation.hierarchy, []
    chosen = np.unique(np.linspace(0, len(cameras), views, endpoint=False).astype(int)).tolist()
    for i in chosen:
        seen = model.render_image(cameras, i)["rgb"].cpu()
        height = min(HEIGHT, seen.shape[0])
        tiles = [labeled(fitted(to_uint8(seen), height), "rendered")]
        leaves = segmentation.labeler.view(model, cameras, i)
        for threshold in cuts_of(tree):
            part = tree.cut(threshold)[leaves.clamp_min(0)]
            color = tree.colors[part].float() / 255
            tinted = torch.where((leaves >= 0)[..., None], torch.lerp(seen, color, TINT), seen)
            text = f"{len(tree.parts(threshold))} segments at {threshold:.3f}"
            tiles.append(labeled(fitted(to_uint8(tinted), height), text))
        rows.append(tiles)
    return sheet(rows)


def cuts_of(tree: Hierarchy, large: Sequence[int] = LARGE) -> list[float]:
    """Thresholds, coarse first: for each number the lowest whose cut has no more large segments than that."""
    least = SHARE * len(tree.points)
    thresholds = tree.thresholds(64).tolist()
    counts = []
    for threshold in thresholds:
        sizes = tree.cut(threshold)[tree.leaf].unique(return_counts=True)[1]
        counts.append(int((sizes >= least).sum()))
    found = [next((t for t, n in zip(thresholds, counts, strict=True) if n <= most), thresholds[-1]) for most in large]
    return list(dict.fromkeys(found))
