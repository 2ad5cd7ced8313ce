"""Regions of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from fieldlab.segment.oversegment import oversegment


def picture() -> np.ndarray:
    """A red and a blue square, the blue one with a darker half, on gray; a little noise."""
    made = np.full((60, 80, 3), 128, np.float64)
    made[10:40, 8:30] = (220, 30, 30)
    made[15:50, 45:70] = (30, 30, 220)
    made[15:50, 57:70] = (30, 30, 208)
    made = made.repeat(3, 0).repeat(3, 1)
    noise = np.random.default_rng(0).normal(0, 1, made.shape)
    return (made + noise).clip(0, 255).astype(np.uint8)


def best_iou(masks, wanted: np.ndarray) -> float:
    return max((masks.dense(i) & wanted).sum() / (masks.dense(i) | wanted).sum() for i in range(len(masks)))


@pytest.mark.slow
def test_regions_of_like_color_are_masks_at_some_scale():
    masks = oversegment(picture())
    red, blue, dark = (np.zeros((180, 240), bool) for _ in range(3))
    red[30:120, 24:90] = True
    blue[45:150, 135:210] = True
    dark[45:150, 171:210] = True
    for wanted in (red, blue, dark):
        assert best_iou(masks, wanted) > 0.8
    assert masks.inside.any()  # scales nest
    assert (np.diff(masks.areas) <= 0).all()


def test_what_is_hidden_is_in_no_mask():
    alpha = np.full((180, 240, 1), 255, np.uint8)
    alpha[:, :120] = 0
    masks = oversegment(np.concatenate((picture(), alpha), axis=2))
    assert len(masks)
    assert not any(masks.dense(i)[:, :120].any() for i in range(len(masks)))
