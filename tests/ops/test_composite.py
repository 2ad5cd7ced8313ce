"""Compositing: native against reference in float64, derivatives, closed forms, visibility, dropping samples."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ray_cases import check_packed, moved, random_samples

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.composite import composite, composite_reference, visible, visible_reference
from fieldlab.ops.samples import Samples, keep, keep_reference

COUNTS = [0, 1, 40, 0, 0, 16, 17, 200, 3, 0]


def layouts(values):
    """The same array feature by feature, sample by sample, and as every other column of a larger one."""
    wide = values.repeat_interleave(2, 1)
    return {"feature": values.t().contiguous().t(), "sample": values.contiguous(), "strided": wide[:, ::2]}


def run_both(device, samples, sigmas, values, early_stop, seed=0):
    """Results and gradients of a random sum of all results, native and reference in float64."""
    torch.manual_seed(seed)
    results = []
    for there, dtype, op in (
        (device, torch.float32, composite),
        (torch.device("cpu"), torch.float64, composite_reference),
    ):
        s = sigmas.detach().to(there, dtype).requires_grad_()
        v = None if values is None else values.detach().to(there).to(dtype).requires_grad_()
        result = op(s, v, moved(samples, there, dtype), early_stop)
        results.append((result, s, v))
    grads = [torch.randn(x.shape) for x in outputs(results[0][0])]
    answers = []
    for result, s, v in results:
        total = sum((g.to(o) * o).sum() for g, o in zip(grads, outputs(result), strict=True))
        total.backward()
        answers.append((*outputs(result), s.grad, *(() if v is None else (v.grad,))))
    return answers


def outputs(c):
    return c.values, c.opacity, c.depth, c.weights


def agree(found, expected, tolerance=2e-5):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        scale = b.abs().max().clamp_min(1.0) if b.numel() else 1.0
        assert torch.allclose(a.cpu().double() / scale, b / scale, atol=tolerance)


@pytest.mark.parametrize("channels", [None, 1, 3, 8, 17, 128])
@pytest.mark.parametrize("early_stop", [0.0, 1e-4, 0.1])
def test_values_and_derivatives(device, channels, early_stop):
    samples = random_samples(COUNTS, 1)
    torch.manual_seed(2)
    sigmas = torch.rand(len(samples)) * 8
    if channels is None:
        agree(*run_both(device, samples, sigmas, None, early_stop))
        return
    values = torch.randn(len(samples), channels)
    for layout in layouts(values).values():
        agree(*run_both(device, samples, sigmas, layout, early_stop))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 70), max_size=12),
    channels=st.integers(1, 20),
    density=st.sampled_from([0.0, 1e-6, 1.0, 100.0]),
    seed=st.integers(0, 2**20),
)
def test_any_shape(counts, channels, density, seed):
    samples = random_samples(torch.tensor(counts, dtype=torch.int64), seed)
    torch.manual_seed(seed)
    sigmas = torch.rand(len(samples)) * density
    values = torch.randn(len(samples), channels)
    agree(*run_both(torch.device("cpu"), samples, sigmas, values, 0.0, seed), tolerance=5e-5)


def test_gradients_that_are_missing(device):
    """Each result on its own, so that the others' gradients are not given; and weights that were detached."""
    samples = random_samples(COUNTS, 3)
    torch.manual_seed(3)
    sigmas, values = torch.rand(len(samples)) * 8, torch.randn(len(samples), 3)
    for pick in range(4):
        answers = []
        for there, dtype, op in (
            (device, torch.float32, composite),
            (torch.device("cpu"), torch.float64, composite_reference),
        ):
            s, v = (x.detach().to(there, dtype).requires_grad_() for x in (sigmas, values))
            result = op(s, v, moved(samples, there, dtype))
            outputs(result)[pick].square().sum().backward()
            answers.append((s.grad, v.grad if pick == 0 else torch.zeros(1, dtype=torch.float64)))
            assert pick == 0 or v.grad is None or not bool(v.grad.any())
        agree(*answers)
    s = sigmas.to(device).requires_grad_()
    c = composite(s, values.to(device), moved(samples, device))
    assert not c.weights.detach().requires_grad
    c.opacity.sum().backward()  # a gradient without strides of its own
    assert bool(s.grad.any())


def test_opaque_and_transparent(device):
    samples = moved(random_samples([4, 3, 5], 4), device)
    sigmas = torch.zeros(12, device=device)
    sigmas[1] = 1e30
    sigmas[2] = torch.inf
    sigmas[4:7] = 1e-9
    values = torch.arange(12.0, device=device)[:, None].repeat(1, 3)
    for early_stop in (0.0, 1e-4):
        for op in (composite, composite_reference):
            s = sigmas.clone().requires_grad_()
            c = op(s, values, samples, early_stop)
            assert c.weights[:4].tolist() == pytest.approx([0, 1, 0, 0], abs=1e-30)
            assert c.values[0].tolist() == pytest.approx([1.0] * 3)
            assert c.opacity.tolist() == pytest.approx([1.0, float((1e-9 * samples.lengths[4:7]).sum()), 0.0], rel=1e-5)
            assert c.weights[4:7].tolist() == pytest.approx((1e-9 * samples.lengths[4:7]).tolist(), rel=1e-5)
            assert c.depth[0].item() == pytest.approx(samples.middles[1].item())
            c.values[1:].sum().backward()
            assert bool(s.grad.isfinite().all())


def test_small_opacities_keep_their_digits(device):
    thickness = torch.logspace(-8, 1, 2000, dtype=torch.float64)
    ones = torch.ones(2000)
    samples = Samples(torch.arange(2001), 0 * ones, ones, torch.arange(2000))
    weights = composite(thickness.float().to(device), None, moved(samples, device)).weights
    expected = -torch.expm1(-thickness.float().double())
    assert torch.allclose(weights.cpu().double(), expected, rtol=1e-6, atol=0)


def test_early_stop_cuts_what_is_behind(device):
    """Cut samples have no weight, no gradient, and what is kept is as without the cut."""
    samples = moved(random_samples([60], 5), device)
    sigmas = torch.full((60,), 5.0, device=device, requires_grad=True)
    whole, cut = composite(sigmas, None, samples, 0.0), composite(sigmas, None, samples, 0.05)
    optical = (5 * samples.lengths).double().cumsum(0)
    light = torch.exp(-(optical - 5 * samples.lengths.double()))
    kept = light >= 0.05
    assert 3 < int(kept.sum()) < 50
    assert torch.equal(cut.weights != 0, kept)
    assert torch.allclose(cut.weights[kept], whole.weights[kept])
    assert torch.equal(visible(sigmas, samples, 0.05), kept)
    cut.depth.sum().backward()
    assert not bool(sigmas.grad[~kept].any())
    assert bool(sigmas.grad[kept].any())


def test_reference_derivatives_by_differences():
    samples = moved(random_samples([3, 0, 5], 6), torch.device("cpu"), torch.float64)
    torch.manual_seed(0)
    sigmas = (torch.rand(8, dtype=torch.float64) * 5).requires_grad_()
    values = torch.randn(8, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, v: outputs(composite_reference(s, v, samples, 0.0)), (sigmas, values))


@pytest.mark.parametrize("least_alpha", [0.0, 0.2])
def test_visible(device, least_alpha):
    samples = random_samples(COUNTS, 7)
    sigmas = torch.rand(len(samples), generator=torch.Generator().manual_seed(1)) * 10
    found = visible(sigmas.to(device), moved(samples, device), 0.01, least_alpha)
    wide = moved(samples, torch.device("cpu"), torch.float64)
    expected = visible_reference(sigmas.double(), wide, 0.01, least_alpha)
    assert int((found.cpu() != expected).sum()) <= 1
    assert 0.02 < expected.float().mean() < 0.98


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_keep(device, fraction):
    samples = random_samples([*COUNTS, 900, 0], 8)
    mask = torch.rand(len(samples), generator=torch.Generator().manual_seed(2)) < fraction
    found, expected = keep(moved(samples, device), mask.to(device)), keep_reference(samples, mask)
    check_packed(found)
    for a, b in zip(vars(found).values(), vars(expected).values(), strict=True):
        assert torch.equal(a.cpu(), b)
    assert torch.equal(found.t_starts.cpu(), samples.t_starts[mask])


def test_dropping_what_is_invisible_changes_nothing(device):
    samples = moved(random_samples([0, 300, 50, 0], 9), device)
    sigmas = torch.rand(len(samples), generator=torch.Generator().manual_seed(3)).to(device) * 10
    values = torch.randn(len(samples), 3, generator=torch.Generator().manual_seed(3)).to(device)
    mask = visible(sigmas, samples)
    assert 0 < int(mask.sum()) < len(samples)
    whole, less = composite(sigmas, values, samples), composite(sigmas[mask], values[mask], keep(samples, mask))
    assert torch.allclose(whole.values, less.values, atol=1e-6)
    assert torch.allclose(whole.depth, less.depth, atol=1e-6)


def test_reference_backend_is_used():
    samples = random_samples([5], 0)
    sigmas = torch.ones(5)
    with native.use_backend("reference"):
        c = composite(sigmas, None, samples)
        assert len(keep(samples, visible(sigmas, samples))) == 5
    assert torch.allclose(c.weights, composite(sigmas, None, samples).weights, atol=1e-6)


def test_one_sample_by_hand(device):
    samples = moved(Samples(torch.tensor([0, 1]), torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([0])), device)
    c = composite(torch.tensor([0.5], device=device), torch.tensor([[2.0]], device=device), samples)
    weight = 1 - math.exp(-1.0)
    assert [x.item() for x in outputs(c)] == pytest.approx([2 * weight, weight, 2 * weight, weight])


def test_lengths_are_checked():
    samples = random_samples([4], 0)
    with pytest.raises(ConfigError, match="density"):
        composite(torch.ones(3), None, samples)
    with pytest.raises(ConfigError, match="values"):
        composite(torch.ones(4), torch.ones(3, 3), samples)
    with pytest.raises(ConfigError, match="mask"):
        keep(samples, torch.ones(3, dtype=torch.bool))
