"""Which samples rays see, and what is composited from them: the one place where rays stop at surfaces."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fieldlab.ops.composite import Composite, composite, visible
from fieldlab.ops.samples import Samples, keep

EARLY_STOP = 1e-4
"""Transmittance in front of a sample below which it is not seen."""
LEARNING_EARLY_STOP = 1e-3
"""The same while fields learn: samples that pixels hardly show are not worth their derivatives."""

STRETCH = 16  # samples of a ray that are asked first
MARGIN = 1e-3  # of optical depth, for what rounding differs between adding up samples and multiplying


@dataclass(frozen=True)
class SeenSamples:
    """The S of M samples along N rays that light reaches the eye from.

    Points and colors are not kept here: whoever needs them asks the model for those of ``samples``, with derivatives or
    without. The native kernel computes the points of the few that are left faster than they are gathered from all.

    Args:
        samples: the S samples.
        visible: bool [M], which of the M they are; per-sample arrays follow with ``array[visible]``.
        densities: float32 [M] per world unit; 0 where nobody asked, since something opaque is in front.
        early_stop: transmittance below which samples are not seen.
    """

    samples: Samples
    visible: Tensor
    densities: Tensor
    early_stop: float

    @property
    def n_marched(self) -> int:
        """M."""
        return len(self.visible)

    @cached_property
    def sigmas(self) -> Tensor:
        """Densities of those that are seen, float32 [S] per world unit."""
        return self.densities[self.visible]

    def composite(self, values: Tensor | None = None) -> Composite:
        """Blend ``values`` [S,C] of the samples front to back."""
        return composite(self.sigmas, values, self.samples, self.early_stop)


def visible_samples(samples: Samples, densities: Tensor, early_stop: float = EARLY_STOP) -> SeenSamples:
    """Which of M samples with ``densities`` [M] per world unit are seen."""
    mask = visible(densities, samples, early_stop)
    return SeenSamples(keep(samples, mask), mask, densities, early_stop)


def look_along(samples: Samples, density: Callable[[Samples], Tensor], early_stop: float = EARLY_STOP) -> SeenSamples:
    """Which of M samples are seen, asking as few densities as that takes: most samples lie behind surfaces.

    Rays are followed front to back in stretches that double, and those that have become opaque are asked no more.

    Args:
        samples: the M samples.
        density: densities [K] per world unit of K of them.
        early_stop: transmittance below which samples are not seen.
    """
    place = torch.arange(len(samples), device=samples.t_starts.device)
    order = place - samples.ray_offsets[samples.ray_indices]
    densities, depth = torch.zeros_like(samples.t_starts), samples.t_starts.new_zeros(samples.n_rays)  # optical depth
    left, end, opaque = samples, STRETCH, MARGIN - math.log(early_stop) if early_stop > 0 else math.inf
    while len(left) > 0:
        now = order < end
        some = keep(left, now)
        densities[place[now]] = found = density(some)
        depth.index_add_(0, some.ray_indices, found * (some.t_ends - some.t_starts))
        later = (depth < opaque)[left.ray_indices] & ~now
        left, place, order, end = keep(left, later), place[later], order[later], 2 * end
    return visible_samples(samples, densities, early_stop)
