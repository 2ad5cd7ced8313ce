"""A run from its first step to being loaded again."""

from __future__ import annotations

import json

import pytest
import torch

from fieldlab.data.cameras import Cameras
from fieldlab.errors import CheckpointError, DivergedError, FieldlabError
from fieldlab.runs import checkpoint as checkpoint_module
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.runs.session import Session
from fieldlab.training.session import train_session
from tests.scenes import ball_scene, run_config

CPU = torch.device("cpu")


def begin(path, scene=None, checkpoint_seconds=60.0, **settings) -> Session:
    config = run_config(steps=6, samples_per_step=1024, **settings)
    run = RunFolder.create(path, config)
    return train_session(run, scene or ball_scene(), config, CPU, checkpoint_seconds=checkpoint_seconds)


def test_a_plain_background_is_not_learnt(tmp_path):
    """The color is that of the photographs, not one drawn at random, unless another was asked for."""
    scene = ball_scene()
    assert begin(tmp_path / "cut out", scene).loop.config.background == "random"
    scene.plain, scene.background = True, "white"
    assert begin(tmp_path / "plain", scene).loop.config.background == "white"
    assert begin(tmp_path / "asked", scene, background="black").loop.config.background == "black"


def test_a_run_can_be_rendered_without_its_photographs(tmp_path):
    session = begin(tmp_path / "run")
    list(session.events())
    model, info = load_run(tmp_path / "run")
    assert (info.step, info.scene.name, info.scene.format) == (6, "ball", "test")
    assert info.seconds == session.loop.progress.seconds
    assert info.psnr is not None
    assert info.scene.names["test"] == ["view_0", "view_1"]
    assert isinstance(info.scene.cameras["train"], Cameras)
    assert len(info.scene.cameras["train"]) == 8
    assert info.config == session.config
    before = session.model.render_image(ball_scene().splits["test"].cameras, 1)["rgb"]
    after = model.render_image(info.scene.cameras["test"], 1)["rgb"]
    assert torch.equal(before, after)
    assert model.config.background == "white"
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.slow
def test_interrupted_and_continued_equals_uninterrupted(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = begin(tmp_path / "whole")
        list(whole.events())
        part = begin(tmp_path / "part")
        for event in part.events():
            if event.step == 3:
                part.loop.stop()
        again = train_session(part.run, ball_scene(), part.config, CPU, resume=part.run.latest_checkpoint())
        assert again.loop.progress.step == 3
        list(again.events())
    finally:
        torch.set_num_threads(threads)
    a, b = whole.loop.state()[0], again.loop.state()[0]
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_error_while_watching_still_saves(tmp_path):
    session = begin(tmp_path / "run")
    events = session.events()
    next(events)
    next(events)
    events.close()
    assert session.run.latest_checkpoint().header["training"]["progress"]["step"] == 2


def test_a_loss_that_is_no_number_is_not_saved(tmp_path, monkeypatch):
    made = begin(tmp_path / "run")
    events = made.events()
    next(events)
    events.close()
    kept = [file.name for file in made.run.checkpoints()]
    monkeypatch.setattr("fieldlab.training.trainer.photometric", lambda *args: torch.tensor(float("nan")))
    with pytest.raises(DivergedError, match="not a finite number"):
        for _ in made.events():
            pass
    assert [file.name for file in made.run.checkpoints()] == kept


def test_checkpoints_come_in_time(tmp_path):
    session = begin(tmp_path / "run", checkpoint_seconds=0.0)
    seen = [(e.step, [p.name for p in session.run.checkpoints()]) for e in session.events()]
    assert seen[0] == (1, ["step-000000001.safetensors"])
    assert seen[3] == (4, ["step-000000003.safetensors", "step-000000004.safetensors"])


def test_a_full_disk_ends_training_with_one_error(tmp_path, monkeypatch):
    import errno

    from fieldlab.errors import RunFolderError

    session = begin(tmp_path / "run")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(RunFolderError, match="could not be written"):
        list(session.events())
    assert session.run.checkpoints() == []
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_metrics_are_lines_of_json(tmp_path):
    session = begin(tmp_path / "run")
    list(session.events())
    lines = [json.loads(line) for line in session.run.metrics_file.read_text().splitlines()]
    assert lines[-1]["step"] == 6
    assert {"loss", "psnr", "samples_per_s", "rays", "seconds", "learning_rate"} <= set(lines[-1])


def test_refined_poses_are_part_of_the_run(tmp_path):
    session = begin(tmp_path / "run", pose_refinement=True)
    list(session.events())
    _, info = load_run(tmp_path / "run")
    original = ball_scene().splits["train"].cameras.camera_to_world
    with torch.no_grad():
        expected = session.loop.poses(original)
    assert torch.equal(info.scene.cameras["train"].camera_to_world, expected)
    assert not torch.equal(expected, original)


def test_headers_that_make_no_sense(tmp_path):
    session = begin(tmp_path / "run")
    list(session.events())
    good = session.run.latest_checkpoint()
    for change, message in (
        ({"model": {"step": 1.0}}, "impossible configuration"),
        ({"scene": {}}, "incomplete"),
        ({"heads": [{"name": 3}]}, "impossible configuration"),
    ):
        session.run.save_checkpoint(7, good.arrays, {**good.header, **change})
        with pytest.raises(CheckpointError, match=message):
            load_run(tmp_path / "run")


@pytest.mark.slow
def test_pictures_take_steps_as_long_as_those_that_were_learnt_with(tmp_path):
    session = begin(tmp_path / "run")
    list(session.events())
    session.model.step_scale = 5.0
    session.save()
    model, info = load_run(tmp_path / "run")
    assert model.step_scale == 5.0
    camera = info.scene.cameras["test"]
    rays = camera.image_rays(0)
    long = model.render_rays(rays)
    model.step_scale = 1.0
    short = model.render_rays(rays)
    assert int(long.cost.sum()) < 0.4 * int(short.cost.sum())
    assert torch.allclose(long.rgb, short.rgb, atol=0.1)


@pytest.mark.parametrize("value", [0.5, 1e6, "long"])
def test_a_step_that_makes_no_sense_is_refused(tmp_path, value):
    session = begin(tmp_path / "run")
    session.save()
    file = session.run.checkpoints()[-1]
    found = session.run.latest_checkpoint()
    found.header["model"]["step_scale"] = value
    checkpoint_module.write_checkpoint(file, found.arrays, found.header)
    with pytest.raises(FieldlabError, match=r"out of range|impossible"):
        load_run(tmp_path / "run")
