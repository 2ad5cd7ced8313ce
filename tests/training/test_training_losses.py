"""Terms of the loss of training."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from fieldlab.ops.samples import Samples
from fieldlab.training.config import TrainConfig
from fieldlab.training.losses import spread
from fieldlab.training.schedule import RAMP, Schedule


def samples_of(lengths: list[list[float]], scale: float = 1.0) -> Samples:
    """Adjoining samples of rays, from boundaries along each."""
    starts = [t for ray in lengths for t in ray[:-1]]
    ends = [t for ray in lengths for t in ray[1:]]
    counts = torch.tensor([len(ray) - 1 for ray in lengths])
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))
    index = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    return Samples(offsets, scale * torch.tensor(starts), scale * torch.tensor(ends), index)


RAYS = [[0.5, 1.0, 1.5, 4.0, 9.0], [0.2, 0.4, 2.5]]


def contracted(t: float) -> float:
    return t / 2 if t < 1 else 1 - 1 / (2 * t)


def test_spread_is_the_distortion_of_contracted_distances():
    weights = torch.tensor([0.1, 0.3, 0.2, 0.2, 0.5, 0.3])
    expected = []
    for ray, w in zip(RAYS, (weights[:4].tolist(), weights[4:].tolist()), strict=True):
        s = [contracted(t) for t in ray]
        middle = [(a + b) / 2 for a, b in pairwise(s)]
        pairs = sum(w[i] * w[j] * abs(middle[i] - middle[j]) for i in range(len(w)) for j in range(len(w)))
        expected.append(pairs + sum(w[i] ** 2 * (s[i + 1] - s[i]) / 3 for i in range(len(w))))
    assert spread(weights, samples_of(RAYS), 1.0).tolist() == pytest.approx(expected, rel=1e-5)


def test_spread_knows_no_units():
    weights = torch.rand(6, generator=torch.Generator())
    one = spread(weights, samples_of(RAYS), 1.0)
    assert torch.allclose(spread(weights, samples_of(RAYS, 250.0), 250.0), one, rtol=1e-5)


def test_spread_draws_weight_together():
    weights = torch.full((6,), 0.3, requires_grad=True)
    spread(weights, samples_of(RAYS), 1.0).sum().backward()
    ends = weights.grad[[0, 3]]
    assert float(ends.min()) > float(weights.grad[1])  # the middle of the first ray costs less than both its ends


def test_what_empty_rays_have_least_of_counts_little_at_first():
    schedule = Schedule(TrainConfig(steps=100))
    found = [schedule.ramp(fraction) for fraction in (0.0, RAMP / 2, RAMP, 1.0)]
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.0])
