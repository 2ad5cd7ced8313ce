"""Training that is watched: pictures come between steps, it waits when asked to, saves when asked to."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from fieldlab.runs.folder import RunFolder
from fieldlab.training.session import train_session
from fieldlab.view import training as training_module
from fieldlab.view.training import Training
from fieldlab.view.turns import Turns
from tests.scenes import ball_scene, ball_views, run_config


def begin(path, steps: int, validation: bool = False) -> Training:
    config, scene = run_config(steps=steps, samples_per_step=256), ball_scene()
    if validation:
        scene.splits["val"] = ball_views(2)
    session = train_session(RunFolder.create(path, config), scene, config, torch.device("cpu"))
    return Training(session, Turns())


@pytest.mark.slow
def test_it_waits_saves_and_goes_on(tmp_path):
    training, seen = begin(tmp_path / "run", 200_000), []
    told: list[int] = []
    training.watchers.append(lambda: told.append(1))
    thread = threading.Thread(target=lambda: seen.extend(event.step for event in training.events()))
    thread.start()
    try:
        assert wait(lambda: training.last is not None and training.last.step > 5)
        training.paused.set()
        time.sleep(0.3)
        at = training.last.step
        start = time.perf_counter()
        with training.turns.urgent():  # drawing goes on while it waits
            time.sleep(0.05)
        assert time.perf_counter() - start < 5
        time.sleep(0.2)
        assert training.last.step == at
        training.save()
        assert wait(training.session.run.checkpoints)
        training.paused.clear()
        assert wait(lambda: training.last.step > at + 3)
        with training.turns.urgent():  # between two steps
            step = training.last.step
            time.sleep(0.1)
            assert training.last.step == step
        assert wait(lambda: told)
    finally:
        training.session.loop.stop()
        thread.join(20)
    assert training.finished
    assert seen == list(range(1, len(seen) + 1))
    assert training.session.run.latest_checkpoint().header["training"]["progress"]["step"] == seen[-1]


def test_a_pause_does_not_outlast_an_interruption(tmp_path):
    training = begin(tmp_path / "run", 200_000)
    training.paused.set()
    thread = threading.Thread(target=lambda: list(training.events()))
    thread.start()
    time.sleep(0.3)
    training.session.loop.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.slow
def test_curves_are_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(training_module, "MOST", most := 40)
    training = begin(tmp_path / "run", 3 * most)
    list(training.events())
    steps, losses, psnrs = training.curve()
    assert most / 2 - 2 <= len(steps) <= most
    assert len(steps) == len(losses) == len(psnrs)
    assert steps == sorted(steps)
    assert steps[-1] > 3 * most - 10


@pytest.mark.slow
def test_the_curve_of_held_out_photographs(tmp_path):
    assert not begin(tmp_path / "without", 2).holds_out
    training = begin(tmp_path / "run", 10, validation=True)
    assert training.holds_out
    training.session.loop.validation.due = lambda seconds: seconds > 0
    events = list(training.events())
    steps, held_out = training.held_out_curve()
    known = [(event.step, event.validation) for event in events if event.validation is not None]
    assert known
    assert list(zip(steps, held_out, strict=True)) == known


def wait(condition, seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())
