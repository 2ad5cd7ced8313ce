"""Which pixels shall be nearer to each other than which others, after a photograph's masks and how they nest
(He et al. 2024, section 3.4 of the method)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.segment.masks import ImageMasks

PAIRS = 64  # of a comparison
LEAST_INSIDE = 6  # pixels of a mask, and outside it, in the batch
LEAST_REMAINDER = 10  # pixels of a mask that are in no smaller one


@dataclass(frozen=True)
class Comparisons:
    """C comparisons of pixels, all int64 [C]: ``near_a`` and ``near_b`` shall be nearer than ``far_a``, ``far_b``."""

    near_a: Tensor
    near_b: Tensor
    far_a: Tensor
    far_b: Tensor


def has_contrast(masks: ImageMasks) -> bool:
    """Whether any comparison can be drawn from the masks of a photograph: one has pixels inside and outside."""
    height, width = masks.size
    return bool(((masks.areas >= LEAST_INSIDE) & (masks.areas <= height * width - LEAST_INSIDE)).any())


def draw_comparisons(member: Tensor, inside: Tensor, generator: torch.Generator, nested: bool = True) -> Comparisons:
    """Draw comparisons from the pixels of one photograph.

    Args:
        member: bool [N,M], which masks a pixel is in.
        inside: bool [M,M], whether mask i lies in mask j.
        generator: CPU random numbers.
        nested: use how masks nest, and not only each by itself.
    """
    draw = _Draw(member, inside, generator)
    for m in draw.kept:
        draw.alone(m)
        if nested:
            draw.remainder(m)
            if not draw.below[m]:
                draw.upward(m)
    return draw.comparisons()


class _Draw:
    """The batch's masks, and the comparisons drawn so far."""

    def __init__(self, member: Tensor, inside: Tensor, generator: torch.Generator) -> None:
        n = len(member)
        count = member.sum(0)
        self.member, self.n, self.generator = member, n, generator
        self.kept = ((count >= LEAST_INSIDE) & (count <= n - LEAST_INSIDE)).nonzero()[:, 0].tolist()
        kept = set(self.kept)
        self.above = {m: [a for a in inside[m].nonzero()[:, 0].tolist() if a in kept] for m in self.kept}
        self.below = {m: [b for b in inside[:, m].nonzero()[:, 0].tolist() if b in kept] for m in self.kept}
        # The next ones up: ancestors that lie below no other ancestor.
        self.parents = {m: [a for a in up if not any(a in self.above[b] for b in up)] for m, up in self.above.items()}
        self.found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def alone(self, m: int) -> None:
        """Two pixels of a mask, against one of it and one outside."""
        own, other = self.where(self.member[:, m]), self.where(~self.member[:, m])
        self.found.append((self.some(own), self.some(own), self.some(own), self.some(other)))

    def remainder(self, m: int) -> None:
        """The same for what of a mask is in no smaller one."""
        if not self.below[m]:
            return
        rest = self.where(self.member[:, m] & ~self.member[:, self.below[m]].any(1))
        if len(rest) >= LEAST_REMAINDER:
            other = self.where(~self.member[:, m])
            self.found.append((self.some(rest), self.some(rest), self.some(rest), self.some(other)))

    def upward(self, m: int) -> None:
        """From a smallest mask up: what is apart within one mask shall be nearer than what is apart within the next."""
        own = self.where(self.member[:, m])
        if self.parents[m]:
            self._climb(m, own, (self.some(own), self.some(own)))

    def _climb(self, m: int, ring: Tensor, near: tuple[Tensor, Tensor]) -> None:
        if not self.parents[m]:
            outside = self.where(~self.member[:, m])
            self.found.append((*near, self.some(ring), self.some(outside)))
            return
        for parent in self.parents[m]:
            next_ring = self.where(self.member[:, parent] & ~self.member[:, m])
            if len(next_ring):
                far = self.some(ring), self.some(next_ring)
                self.found.append((*near, *far))
                self._climb(parent, next_ring, far)

    def comparisons(self) -> Comparisons:
        if not self.found:
            return Comparisons(*(torch.empty(0, dtype=torch.int64) for _ in range(4)))
        return Comparisons(*(torch.cat(part) for part in zip(*self.found, strict=True)))

    def where(self, chosen: Tensor) -> Tensor:
        return chosen.nonzero()[:, 0]

    def some(self, pixels: Tensor) -> Tensor:
        return pixels[torch.randint(len(pixels), (PAIRS,), generator=self.generator)]
