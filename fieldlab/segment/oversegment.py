"""Masks without any network: a picture's regions of like color at several scales (Felzenszwalb & Huttenlocher 2004)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from fieldlab.segment.masks import ImageMasks

SCALES = (60, 500, 4000, 30000)  # larger ones give larger regions
SMOOTHING = 0.8  # pixels
LEAST = 1 / 1500  # of a picture, of the smallest region
MOST = 0.9


def oversegment(picture: NDArray[np.uint8]) -> ImageMasks:
    """Masks of a picture [H,W,3] or [H,W,4], large ones first. What alpha hides is in no mask."""
    height, width = picture.shape[:2]
    least = max(int(LEAST * height * width), 8)
    seen = np.ones((height, width), bool) if picture.shape[2] == 3 else picture[..., 3] > 127
    rgb = np.where(seen[..., None], picture[..., :3], 255)
    masks: list[NDArray[np.bool_]] = []
    for scale in SCALES:
        regions = felzenszwalb(rgb, scale=scale, sigma=SMOOTHING, min_size=least)
        for region in np.unique(regions[seen]):
            mask = (regions == region) & seen
            if least <= mask.sum() <= MOST * height * width:
                masks.append(mask)
    masks.sort(key=lambda mask: -int(mask.sum()))
    return ImageMasks.of(masks, (height, width)).without_doubles()
