"""Rays are followed front to back: the same samples are seen as if all had been asked, and few are."""

from __future__ import annotations

import pytest
import torch

from fieldlab.ops.samples import Samples, offsets_of
from fieldlab.render.seen import STRETCH, look_along, visible_samples


def random_samples(n_rays: int = 200, longest: int = 150) -> Samples:
    """Of lengths that differ, with gaps between them; some rays have none."""
    generator = torch.Generator().manual_seed(3)
    counts = torch.randint(0, longest, (n_rays,), generator=generator)
    counts[::7] = 0
    total = int(counts.sum())
    starts = torch.arange(total).float()
    lengths = 0.001 + 0.05 * torch.rand(total, generator=generator)
    return Samples(offsets_of(counts), starts, starts + lengths, torch.arange(n_rays).repeat_interleave(counts))


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("early_stop", [0.0, 1e-4, 0.05])
def test_the_same_as_asking_all(scale, early_stop):
    samples = random_samples()
    densities = scale * torch.rand(len(samples), generator=torch.Generator().manual_seed(1)) ** 4
    asked = []

    def density(some: Samples) -> torch.Tensor:
        at = some.t_starts.long()  # which they are numbered by
        asked.append(at)
        return densities[at]

    found, expected = look_along(samples, density, early_stop), visible_samples(samples, densities, early_stop)
    assert torch.equal(found.visible, expected.visible)
    assert torch.equal(found.samples.t_starts, expected.samples.t_starts)
    assert torch.equal(found.sigmas, expected.sigmas)
    places = torch.cat(asked)
    assert len(places.unique()) == len(places)  # nobody is asked twice
    if scale == 1e4 and early_stop > 0:
        order = places - samples.ray_offsets[samples.ray_indices[places]]
        assert int(order.max()) < 2 * STRETCH


def test_rays_without_samples():
    nothing = Samples(torch.zeros(4, dtype=torch.int64), torch.zeros(0), torch.zeros(0), torch.zeros(0).long())
    seen = look_along(nothing, lambda some: torch.zeros(len(some)))
    assert len(seen.samples) == 0
    assert seen.samples.n_rays == 3
