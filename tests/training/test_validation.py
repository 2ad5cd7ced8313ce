"""Photographs that are held out of training tell how good it is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from fieldlab.render.build import build_model
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from fieldlab.training.session import train_session
from fieldlab.training.trainer import Trainer
from fieldlab.training.validation import FALL, SHARE, Validation
from tests.scenes import ball_scene, ball_views, run_config, tiny_field


class Told:
    """A model that renders what it is told."""

    device = torch.device("cpu")

    def __init__(self, rgb):
        self.rgb = rgb

    def background(self):
        return torch.ones(3)

    def render_rays(self, rays):
        return self


@pytest.fixture
def asked(monkeypatch):
    """A validation on the ball, its true colors, and a clock that says how long asking takes."""
    clock = [0.0]

    def now():
        clock[0] += 0.5
        return clock[0]

    monkeypatch.setattr("fieldlab.training.validation.time.perf_counter", now)
    validation = Validation(ball_views(4), Told(None))
    return validation, validation.target.clone()


def test_psnr_is_that_of_all_pixels_over_the_background(asked):
    validation, truth = asked
    validation.model.rgb = (truth + 0.1).clamp(0, 1)
    expected = -10 * math.log10(float((validation.model.rgb - truth).square().mean()))
    assert validation.psnr(0.0) == pytest.approx(expected, abs=1e-4)
    assert float(truth.min()) < 0.3
    assert float(truth.amax()) == 1.0  # transparent pixels show the white background


def test_colors_are_fitted_photograph_by_photograph(asked):
    validation, truth = asked
    gain = torch.tensor([0.5, 0.7, 0.9, 0.6])[validation.images]
    validation.model.rgb = truth * gain[:, None] + 0.05
    assert validation.psnr(0.0) < 16
    assert validation.psnr(0.0, fit_colors=True) > 50
    validation.model.rgb = truth.roll(1, 0)  # what is in the wrong place stays wrong
    assert validation.psnr(0.0, fit_colors=True) < 20


def test_asking_takes_little_of_the_time(asked):
    validation, truth = asked
    validation.model.rgb = truth
    assert not validation.due(1.0)
    assert validation.due(2.0)
    validation.psnr(10.0)  # took half a second by the clock
    assert not validation.due(10.0 + 0.5 / SHARE - 0.1)
    assert validation.due(10.0 + 0.5 / SHARE + 0.1)


class Answers:
    """A validation whose answers are known."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def due(self, seconds):
        return False

    def psnr(self, seconds, fit_colors=False):
        return self.answers.pop(0)


@pytest.mark.slow
def test_the_checkpoint_that_is_best_on_them_is_kept_and_opened(tmp_path):
    scene = ball_scene()
    scene.splits["val"] = ball_views(2)
    config = run_config(steps=8, samples_per_step=512)
    run = RunFolder.create(tmp_path / "run", config)
    session = train_session(run, scene, config, torch.device("cpu"))
    assert isinstance(session.loop.validation, Validation)
    session.loop.validation = Answers(20, 25, 24, 23, 25 - FALL / 2)
    opened, kept = [], []
    for event in session.loop.events():
        if event.step in (1, 2, 4, 6, 8):
            session.save()
            opened.append((info := load_run(run.path)[1]).step)
            assert info.held_out == {1: 20, 2: 25, 8: 25 - FALL / 2}[info.step]
            kept.append([int(file.stem.split("-")[1]) for file in run.checkpoints()])
    assert opened == [1, 2, 2, 2, 8]
    assert kept == [[1], [1, 2], [2, 4], [2, 4, 6], [6, 8]]
    assert run.latest_checkpoint().step == 8
    assert session.loop.progress.best_validation == 25


def trainer_with(validation) -> Trainer:
    scene, config = ball_scene(), TrainConfig(steps=3, samples_per_step=512)
    model_config = replace(choose_model(scene, config), grid_resolution=32, step=0.02)
    model = build_model(tiny_field(), model_config, 0)
    return Trainer(model, scene.splits["train"], config, validation=validation)


def test_events_say_how_good_held_out_photographs_are():
    trainer = trainer_with(ball_views(2))
    trainer.validation.due = lambda seconds: True
    events = list(trainer.events())
    assert events[-1].validation == pytest.approx(trainer.validation.psnr(0.0), abs=1e-3)
    assert f"{events[-1].validation:.2f} dB held out" in events[-1].describe()
    assert trainer.gap == pytest.approx(events[-1].psnr - events[-1].validation, abs=1e-6)
    without = trainer_with(None)
    assert list(without.events())[-1].validation is None
    assert without.gap == 0
