"""Drawing pixels and their rays."""

from __future__ import annotations

import pytest
import torch

from fieldlab.errors import DataError
from fieldlab.training.loader import RayLoader
from fieldlab.training.losses import photometric, psnr_of
from tests.scenes import ball_hit, ball_views

CPU = torch.device("cpu")


def generator():
    return torch.Generator().manual_seed(3)


def test_pixels_come_with_their_rays():
    """The ball's pictures are a function of the ray alone, so rays and colors can be compared."""
    loader = RayLoader(ball_views(5), CPU)
    batch = loader.batch(loader.draw(500, generator()))
    t, hit = ball_hit(batch.rays)
    assert torch.equal(batch.alpha[:, 0] > 0, hit)
    points = batch.rays.origins + t[:, None] * batch.rays.directions
    expected = (points / 0.6 + 1) / 2
    assert torch.allclose(batch.rgb[hit], expected[hit], atol=3e-3)
    assert sorted(batch.cameras.unique().tolist()) == [0, 1, 2, 3, 4]


def test_target_is_composited():
    loader = RayLoader(ball_views(2), CPU)
    batch = loader.batch(loader.draw(100, generator()))
    background = torch.rand(100, 3)
    expected = batch.rgb * batch.alpha + background * (1 - batch.alpha)
    assert torch.allclose(batch.target(background), expected, atol=1e-6)
    opaque = RayLoader(ball_views(2, alpha=False), CPU)
    batch = opaque.batch(opaque.draw(100, generator()))
    assert torch.equal(batch.target(background), batch.rgb)


def test_masked_pixels_are_never_drawn():
    views = ball_views(2)
    views.masks = torch.zeros(len(views.pixels), dtype=torch.bool)
    views.masks[::3] = True
    loader = RayLoader(views, CPU)
    drawn = loader.draw(4000, generator())
    assert bool((drawn % 3 == 0).all())
    assert len(drawn.unique()) == loader.n_pixels == int(views.masks.sum())


def test_all_pixels_are_drawn_alike():
    loader = RayLoader(ball_views(2, size=8), CPU)
    counts = torch.bincount(loader.draw(64_000, generator()), minlength=128)
    assert float((counts - 500).abs().max()) < 6 * 500**0.5


def test_nothing_to_draw():
    views = ball_views(2)
    views.masks = torch.zeros(len(views.pixels), dtype=torch.bool)
    with pytest.raises(DataError, match="no pixel to train on"):
        RayLoader(views, CPU)
    with pytest.raises(DataError, match="no training views"):
        RayLoader(ball_views(2).subset([]), CPU)


def test_losses():
    a, b = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.3, 0.5, 0.95]])
    assert float(photometric("mse", a, b)) == pytest.approx((0.09 + 0.0025) / 3)
    huber = (0.3 - 0.05) + 0.05**2 / 0.2  # delta 0.1: |e| - delta/2 beyond it, e^2 / (2 delta) inside
    assert float(photometric("huber", a, b)) == pytest.approx(huber / 3, rel=1e-4)
    assert psnr_of(0.01) == pytest.approx(20.0)
