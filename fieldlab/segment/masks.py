"""The 2D masks of one photograph: kept as run lengths, overlaid into cells, and ordered by what lies inside what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

SAME = 0.9  # intersection over union from which two masks are one
INSIDE = 0.95  # share of a mask that is in another one it lies in
CONFLICT = 0.1  # share of both of two masks that meet without one lying in the other

Rle = dict[str, Any]
"""COCO's compressed run lengths: ``size`` [H,W] and ``counts`` as bytes."""


@dataclass(frozen=True)
class ImageMasks:
    """M masks of a photograph of ``size`` (H, W)."""

    size: tuple[int, int]
    rles: tuple[Rle, ...]

    @staticmethod
    def of(masks: Sequence[NDArray[np.bool_]], size: tuple[int, int]) -> ImageMasks:
        """From dense masks [H,W]."""
        dense = [np.asfortranarray(mask, dtype=np.uint8) for mask in masks]
        return ImageMasks(size, tuple(coco.encode(mask) for mask in dense))

    def __len__(self) -> int:
        return len(self.rles)

    def dense(self, i: int) -> NDArray[np.bool_]:
        """Mask i as bool [H,W]."""
        return coco.decode(self.rles[i]).astype(bool)

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """int64 [M]: pixels of each mask."""
        # One by one: pycocotools cannot tell the areas of more than 255 at once.
        return np.asarray([coco.area(rle) for rle in self.rles], dtype=np.int64)

    @cached_property
    def overlay(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Cells: int32 [H,W], which cell a pixel is in, and bool [cells,M], which masks a cell is in. Pixels are in one
        cell exactly when no mask tells them apart."""
        cells = np.zeros(self.size, np.int64)
        member = np.zeros((1, 0), bool)
        for i in range(len(self)):
            pair, cells = np.unique(cells * 2 + self.dense(i), return_inverse=True)
            cells = cells.reshape(self.size)
            member = np.concatenate((member[pair // 2], (pair % 2 == 1)[:, None]), axis=1)
        return cells.astype(np.int32), member

    @cached_property
    def meets(self) -> NDArray[np.float64]:
        """float64 [M,M]: pixels that two masks have in common."""
        cells, member = self.overlay
        area = np.bincount(cells.ravel(), minlength=len(member)).astype(np.float64)
        return member.T @ (area[:, None] * member)

    def without_doubles(self) -> ImageMasks:
        """Only the first of masks that are nearly the same, and none that are empty."""
        shared = self.iou
        kept: list[int] = []
        for i in range(len(self)):
            if self.areas[i] and not any(shared[i, j] > SAME for j in kept):
                kept.append(i)
        return ImageMasks(self.size, tuple(self.rles[i] for i in kept))

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """float64 [M,M]: intersection over union."""
        either = self.areas[:, None] + self.areas[None] - self.meets
        return self.meets / np.maximum(either, 1)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """bool [M,M]: whether mask i lies in mask j. Of masks that lie in each other, the smaller one (or the first of
        equally large ones) does; what lies in a mask lies in all that this one lies in."""
        share = self.meets / np.maximum(self.areas[:, None], 1)
        index = np.arange(len(self))
        smaller = (self.areas[:, None] < self.areas[None]) | (
            (self.areas[:, None] == self.areas[None]) & (index[:, None] < index[None])
        )
        found = (share >= INSIDE) & smaller
        for j in np.argsort(self.areas):  # closed under going further up
            found[found[:, j]] |= found[j]
        return found

    @property
    def conflicts(self) -> int:
        """Pairs of masks that cut each other: they meet, and neither lies in the other."""
        least = np.minimum(self.areas[:, None], self.areas[None])
        cut = (self.meets >= CONFLICT * np.maximum(least, 1)) & ~self.inside & ~self.inside.T
        return int(np.triu(cut, 1).sum())

    def parents(self) -> NDArray[np.int64]:
        """int64 [M]: the smallest mask that each lies in, -1 for none."""
        area = np.where(self.inside, self.areas[None], np.iinfo(np.int64).max)
        return np.where(self.inside.any(1), area.argmin(1) if len(self) else 0, -1)
