"""What is near a camera learns less (Philip & Deschaintre 2023)."""

from __future__ import annotations

import torch

from fieldlab.ops.samples import Samples
from fieldlab.render.build import build_model
from fieldlab.render.model import nearer_learn_less
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from tests.scenes import ball_scene, ring_cameras, tiny_field


def test_values_stay_and_derivatives_are_scaled_by_squared_distance():
    starts = torch.tensor([0.5, 1.5, 3.5, 9.5])
    samples = Samples(torch.tensor([0, 4]), starts, starts + 1, torch.zeros(4, dtype=torch.int64))
    density = torch.randn(4, requires_grad=True)
    colors = torch.rand(4, 3, requires_grad=True)
    scaled = nearer_learn_less(density, colors, samples, 4.0)
    assert torch.equal(scaled[0], density)
    assert torch.equal(scaled[1], colors)
    (scaled[0].sum() + scaled[1].sum()).backward()
    expected = torch.tensor([1 / 16, 4 / 16, 1.0, 1.0])
    assert torch.allclose(density.grad, expected)
    assert torch.allclose(colors.grad, expected[:, None].expand(4, 3))


def test_a_model_renders_the_same_and_learns_less_of_what_is_near():
    model = build_model(tiny_field(), choose_model(ball_scene(), TrainConfig()), 0)
    rays = ring_cameras(2).image_rays(0)
    pictures, gradients = [], []
    for distance in (0.0, 1000.0):
        model.zero_grad()
        out = model(rays, full_gradient=distance)
        out.rgb.sum().backward()
        pictures.append(out.rgb.detach())
        gradients.append(max(float(p.grad.abs().max()) for p in model.field.parameters()))
    assert torch.equal(*pictures)
    assert 0 < gradients[1] < 1e-4 * gradients[0]
