"""The distortion loss against the double sum that defines it, with derivatives."""

from __future__ import annotations

import pytest
import torch
from ray_cases import moved, random_samples

from fieldlab.errors import ConfigError
from fieldlab.ops.distortion import distortion_loss, distortion_loss_reference


def by_double_sum(weights, samples):
    losses = []
    for a, b in zip(samples.ray_offsets[:-1].tolist(), samples.ray_offsets[1:].tolist(), strict=True):
        w, m, dt = weights[a:b], samples.middles[a:b], samples.lengths[a:b]
        losses.append((w[:, None] * w[None] * (m[:, None] - m[None]).abs()).sum() + (w**2 * dt).sum() / 3)
    return torch.stack(losses)


def test_values_and_derivatives(device):
    samples = random_samples([0, 1, 2, 33, 0, 150, 16], 1)
    torch.manual_seed(1)
    weights, grad = torch.rand(len(samples)) / 10, torch.randn(7)
    wide = moved(samples, torch.device("cpu"), torch.float64)
    answers = []
    for op, w, s in (
        (distortion_loss, weights.to(device), moved(samples, device)),
        (distortion_loss_reference, weights.double(), wide),
        (by_double_sum, weights.double(), wide),
    ):
        w = w.clone().requires_grad_()
        loss = op(w, s)
        (loss * grad.to(loss)).sum().backward()
        answers.append((loss.detach().cpu().double(), w.grad.cpu().double()))
    for found in answers[:2]:
        assert torch.allclose(found[0], answers[2][0], rtol=1e-5, atol=1e-6)
        assert torch.allclose(found[1], answers[2][1], rtol=1e-4, atol=1e-5)


def test_far_away_samples_keep_their_digits(device):
    """Only distances between samples count, also where these are small against the distance from the camera."""
    near = random_samples([100], 2)
    far = moved(near, torch.device("cpu"), torch.float64)
    shifted = type(near)(near.ray_offsets, (far.t_starts + 1000).float(), (far.t_ends + 1000).float(), near.ray_indices)
    weights = torch.rand(100, generator=torch.Generator().manual_seed(0)) / 100
    a = distortion_loss(weights.to(device), moved(near, device))
    b = distortion_loss(weights.to(device), moved(shifted, device))
    assert torch.allclose(a, b, rtol=1e-3)


def test_length_is_checked():
    with pytest.raises(ConfigError, match="weight"):
        distortion_loss(torch.ones(3), random_samples([4], 0))
