"""Photographs that differ in exposure and white balance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.training.exposure import DECAY, ENOUGH, Exposures, Residuals
from tests.scenes import ball_scene
from tests.training.test_trainer import make

generator = torch.Generator


def test_each_photograph_has_its_map_of_colors_and_the_average_none():
    exposures = Exposures(3)
    rgb, images = torch.rand(5, 3, generator=generator()), torch.tensor([0, 2, 1, 2, 0])
    assert torch.equal(exposures(rgb, images), rgb)
    with torch.no_grad():
        exposures.change.copy_(torch.randn(3, 3, 4, generator=generator()))
    change = exposures.change - exposures.change.mean(0)
    for i, image in enumerate(images.tolist()):
        expected = rgb[i] + change[image, :, :3] @ rgb[i] + change[image, :, 3]
        assert torch.allclose(exposures(rgb, images)[i], expected, atol=1e-6)
    everywhere = torch.stack([exposures(rgb[:1], torch.tensor([k]))[0] for k in range(3)]).mean(0)
    assert torch.allclose(everywhere, rgb[0], atol=1e-6)


def residuals_of(offsets: torch.Tensor, rays: int = 4000) -> Residuals:
    """Of photographs whose errors are noise of 0.1 and these offsets [N,3]."""
    residuals, g = Residuals(len(offsets)), generator()
    for _ in range(20):
        images = torch.randint(len(offsets), (rays,), generator=g)
        residuals.note(
            images, offsets[images] + 0.1 * torch.randn(rays, 3, generator=g), torch.randn(rays, 3, generator=g)
        )
    return residuals


def test_only_errors_of_whole_photographs_count():
    n = 10
    assert residuals_of(torch.zeros(n, 3)).share() < 1e-3
    offsets = 0.05 * torch.randn(n, 3, generator=generator())
    whole = float(offsets.square().mean())
    assert residuals_of(offsets).share() == pytest.approx(whole / (whole + 0.01), rel=0.1)


def test_nothing_is_said_before_every_photograph_was_seen():
    residuals = Residuals(2)
    images = torch.arange(1000) % 2
    residuals.note(images, torch.ones(1000, 3), torch.randn(1000, 3, generator=generator()))
    assert residuals.share() > 0.9
    residuals.count[1] = ENOUGH - 1
    assert residuals.share() == 0
    residuals = Residuals(1)
    for _ in range(2):
        residuals.note(torch.zeros(10, dtype=torch.int64), torch.ones(10, 3), torch.ones(10, 3))
    assert float(residuals.count) == pytest.approx(10 + 10 * DECAY)


def test_photographs_differ_first_in_what_they_show():
    residuals, offsets = Residuals(2), torch.tensor([[0.3], [-0.3]]).expand(2, 3)
    images = torch.arange(1000) % 2
    noise = torch.randn(1000, 3, generator=generator())
    residuals.note(images, offsets[images] + 0.5 * noise, noise)
    assert residuals.share() == 0
    assert float(residuals.count.sum()) == 0  # what was not learnt yet says nothing later
    residuals.note(images, offsets[images] + 0.2 * noise, noise)
    assert residuals.share() == pytest.approx(0.09 / (0.09 + 0.04), rel=0.05)


def exposed_scene():
    """The ball in photographs of three exposures."""
    scene = ball_scene(n=24, alpha=False)
    views = scene.splits["train"]
    gains = torch.tensor([0.84, 1.0, 0.92]).repeat(8).repeat_interleave(256)
    scene.splits["train"] = replace(views, pixels=(views.pixels * gains[:, None]).round().to(torch.uint8))
    return scene


@pytest.mark.slow
def test_photographs_that_differ_get_maps_of_colors_and_are_learnt_better():
    news, errors = {}, {}
    for mode in ("auto", "off"):
        trainer = make(scene=exposed_scene(), steps=300, background="white", exposure=mode)
        events = list(trainer.events())
        news[mode], errors[mode] = [event.news for event in events if event.news], trainer.progress.mean
        if mode == "auto":
            assert trainer.exposures is not None
            gains = trainer.exposures.change[:, :, :3].diagonal(dim1=1, dim2=2).mean(1).detach()
            assert float(gains[1::3].mean()) > float(gains[2::3].mean()) > float(gains[0::3].mean())
    assert len(news["auto"]) == 1
    assert "differ in exposure" in news["auto"][0]
    assert news["off"] == []
    assert errors["auto"] < 0.75 * errors["off"]  # more than a decibel


@pytest.mark.slow
def test_photographs_of_one_exposure_get_none():
    trainer = make(scene=ball_scene(n=24, alpha=False), steps=150, background="white")
    assert not any(event.news for event in trainer.events())
    assert trainer.exposures is None
    assert float(trainer.residuals.count.min()) > ENOUGH


@pytest.mark.slow
def test_what_was_decided_goes_on_after_an_interruption():
    first = make(scene=exposed_scene(), steps=8, background="white", exposure="on")
    list(first.events())
    arrays, header = first.state()
    again = make(scene=exposed_scene(), steps=8, background="white")
    again.start(Checkpoint({k: v.clone() for k, v in arrays.items()}, {"training": header}))
    assert torch.equal(again.exposures.change, first.exposures.change)
    undecided = make(scene=exposed_scene(), steps=3, background="white")
    list(undecided.events())
    arrays, header = undecided.state()
    again = make(scene=exposed_scene(), steps=8, background="white")
    again.start(Checkpoint({k: v.clone() for k, v in arrays.items()}, {"training": header}))
    assert torch.equal(again.residuals.count, undecided.residuals.count)
    assert float(again.residuals.count.sum()) > 0
