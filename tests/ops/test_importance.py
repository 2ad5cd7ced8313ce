"""Importance sampling along rays: native against reference and formula, and what must hold for any weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.errors import ConfigError
from fieldlab.ops.importance import importance_sample, importance_sample_reference
from fieldlab.ops.samples import Samples, offsets_of


def samples_with_gaps(counts, seed=0):
    """Samples of random lengths; about a third have a gap in front."""
    generator = torch.Generator().manual_seed(seed)
    rays = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    starts, ends, t, before = [], [], 1.0, -1
    for ray in rays.tolist():
        t = 1.0 if ray != before else t
        gap, length, wide = torch.rand(3, generator=generator).tolist()
        t += wide if gap < 0.3 else 0.0
        starts.append(t)
        t += 0.05 + 0.2 * length
        ends.append(t)
        before = ray
    return Samples(offsets_of(torch.tensor(counts)), torch.tensor(starts), torch.tensor(ends), rays)


def on(samples, device):
    return Samples(*(getattr(samples, f).to(device) for f in ("ray_offsets", "t_starts", "t_ends", "ray_indices")))


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("padding", [0.0, 0.01])
@pytest.mark.parametrize("jittered", [False, True])
def test_native_is_the_reference(device, n, padding, jittered):
    samples = samples_with_gaps([5, 0, 1, 40, 3, 0], 3)
    weights = torch.rand(len(samples)) * (torch.rand(len(samples)) < 0.7)
    weights[-3:] = 0.0  # a ray without weight
    jitter = torch.rand(samples.n_rays) if jittered else None
    found = importance_sample(
        on(samples, device), weights.to(device), n, None if jitter is None else jitter.to(device), padding
    )
    expected = importance_sample_reference(samples, weights, n, jitter, padding)
    for name in ("ray_offsets", "ray_indices"):
        assert torch.equal(getattr(found, name).cpu(), getattr(expected, name))
    assert torch.allclose(found.t_starts.cpu(), expected.t_starts, atol=1e-5)
    assert torch.allclose(found.t_ends.cpu(), expected.t_ends, atol=1e-5)


def test_the_formula(device):
    """Without gaps: positions by brute force from finely divided weight, edges halfway between."""
    n, jitter = 6, 0.3
    starts = torch.tensor([0.0, 1.0, 1.5, 3.0])
    samples = Samples(torch.tensor([0, 4]), starts, torch.tensor([1.0, 1.5, 3.0, 4.0]), torch.zeros(4).long())
    weights = torch.tensor([0.1, 0.5, 0.0, 0.2])
    fine = torch.linspace(0, 4, 400_001, dtype=torch.float64)[:-1]
    density = (weights / samples.lengths).double()[torch.searchsorted(starts, fine.float(), right=True) - 1]
    passed = density.cumsum(0) / density.sum()
    t = torch.stack([fine[torch.searchsorted(passed, (k + jitter) / n)] for k in range(n)]).float()
    edges = (t[1:] + t[:-1]) / 2
    first, last = (2 * t[0] - edges[0]).clamp_min(0), (2 * t[-1] - edges[-1]).clamp_max(4)
    found = importance_sample(on(samples, device), weights.to(device), n, torch.tensor([jitter], device=device))
    assert torch.allclose(found.t_starts.cpu(), torch.cat([first[None], edges]), atol=1e-4)
    assert torch.allclose(found.t_ends.cpu(), torch.cat([edges, last[None]]), atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=5), n=st.integers(1, 20), seed=st.integers(0, 1000),
    zeros=st.floats(0, 1),
)  # fmt: skip
def test_sorted_inside_and_in_proportion(counts, n, seed, zeros):
    samples = samples_with_gaps(counts, seed)
    weights = torch.rand(len(samples)) * (torch.rand(len(samples)) >= zeros)
    new = importance_sample(samples, weights, n, torch.rand(len(counts)))
    assert new.counts.tolist() == [n if c else 0 for c in counts]
    assert (new.t_ends >= new.t_starts).all()
    same = new.ray_indices[1:] == new.ray_indices[:-1]
    assert (new.t_starts[1:] >= new.t_ends[:-1] - 1e-5)[same].all()
    for ray, count in enumerate(counts):
        if not count:
            continue
        old, mine = slice(*samples.ray_offsets[ray : ray + 2]), slice(*new.ray_offsets[ray : ray + 2])
        w = weights[old] if weights[old].sum() > 0 else torch.ones(count)
        middles = new.middles[mine, None]
        within = (middles >= samples.t_starts[old] - 1e-5) & (middles <= samples.t_ends[old] + 1e-5)
        assert within.any(1).all()
        # The k-th place has (k + jitter) / n of the weight in front of it, so no stretch is off by more than one place;
        # middles lie between their neighbors' places, which costs one more.
        front = torch.stack([(new.middles[mine] < end).sum() for end in samples.t_ends[old]])
        assert ((front - n * w.cumsum(0) / w.sum()).abs() <= 2 + 1e-3).all()


def test_places_without_weight_are_seen_with_padding():
    samples = samples_with_gaps([10], 1)
    weights = torch.zeros(10)
    weights[4] = 1.0
    alone, padded = (importance_sample(samples, weights, 50, padding=p) for p in (0.0, 0.1))
    assert alone.t_starts.min() >= samples.t_starts[4] - 1e-5 and alone.t_ends.max() <= samples.t_ends[4] + 1e-5
    assert padded.t_starts.min() < samples.t_ends[0] and padded.t_ends.max() > samples.t_starts[9]


def test_wrong_arguments():
    samples = samples_with_gaps([3])
    for arguments in ((torch.rand(2), 4), (torch.rand(3), 0), (torch.rand(3), 4, torch.rand(2)), (torch.rand(3), 4, None, -1.0)):
        with pytest.raises(ConfigError):
            importance_sample(samples, *arguments)
