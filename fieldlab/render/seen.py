"""Which samples rays see, and what is composited from them: the one place where rays stop at surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fieldlab.ops.composite import Composite, composite, visible
from fieldlab.ops.samples import Samples, keep

EARLY_STOP = 1e-4
"""Transmittance in front of a sample below which it is not seen."""
LEARNING_EARLY_STOP = 1e-3
"""The same while fields learn: samples that pixels hardly show are not worth their derivatives."""


@dataclass(frozen=True)
class SeenSamples:
    """The S of M samples along N rays that light reaches the eye from.

    Points and colors are not kept here: whoever needs them asks the model for those of ``samples``, with derivatives or
    without. The native kernel computes the points of the few that are left faster than they are gathered from all.

    Args:
        samples: the S samples.
        visible: bool [M], which of the M they are; per-sample arrays follow with ``array[visible]``.
        densities: float32 [M] per world unit, of all of them.
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
