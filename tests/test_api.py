"""fieldlab from Python, as the README shows it."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import fieldlab as fl
from fieldlab.errors import ConfigError, RunFolderError
from fieldlab.training.config import TrainConfig
from tests.apps.conftest import write_scene

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    scene = fl.load_scene(write_scene(folder / "ball"))
    seen = []
    made = fl.train(scene, "hashgrid", steps=160, params="60k", out=folder / "run", samples_per_step=8192, device="cpu",
                    on_event=lambda event: seen.append(event.step))  # fmt: skip
    assert seen == list(range(1, 161))
    return made


def test_a_run_is_trained_measured_and_opened_again(run):
    assert (run.config.kind, run.info.step) == ("trained", 160)
    assert run.evaluate().psnr > 18
    again = fl.load_run(run.path, device="cpu")
    assert np.array_equal(again.render(3).rgb, run.render(3).rgb)
    assert "trained" in repr(again)
    with pytest.raises(RunFolderError, match="a run in this folder already"):
        fl.train(fl.load_scene(run.config.source), steps=1, out=run.path, device="cpu")


def test_a_notebook_shows_a_run_and_its_pictures(run, tmp_path):
    picture = run.render(run.cameras("test")[1], channels=("rgb", "depth"))
    assert picture["depth"].shape == (36, 36, 1)
    shown = np.asarray(Image.open(io.BytesIO(picture._repr_png_())))
    assert np.abs(shown / 255 - picture.rgb.numpy()).max() < 0.003
    assert np.array_equal(np.asarray(Image.open(picture.save(tmp_path / "a.png"))), shown)
    assert "data:image/png;base64," in run._repr_html_()
    assert str(run.path) in run._repr_html_()
    with pytest.raises(ConfigError, match="no such channel"):
        picture["normal"]
    with pytest.raises(ConfigError, match="no such split"):
        run.cameras("val")


def test_it_becomes_another_field_an_edited_one_a_segmented_one_and_a_mesh(run, tmp_path):
    student = run.distill("vm", steps=20, params="60k", out=tmp_path / "vm")
    assert (student.config.kind, student.model.field.kind) == ("distilled", "vm")
    assert student.config.parent == str(run.path)
    before = np.abs(student.render(0).rgb - run.render(0).rgb).mean()
    assert before < 0.1
    edited = run.edit("recolor sphere 0 0 0 3 to 1 0 0", out=tmp_path / "red")
    assert edited.config.kind == "edited"
    middle = edited.render(0).rgb[18, 18]
    assert middle[0] > middle[1] + 0.2
    parts = run.segment("auto", steps=3, features=4, pixels=64, out=tmp_path / "parts")
    assert parts.config.kind == "segmented"
    assert (parts.path / "hierarchy.json").exists()
    assert not run.model.heads  # the run that was segmented stays as it was
    mesh = trimesh.load(run.export_mesh(tmp_path / "ball.ply", resolution=48), force="mesh")
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).mean() < 0.2
    with pytest.raises(ConfigError, match="cannot be in one folder"):
        run.distill("vm", out=run.path)


def test_every_run_that_learns_goes_on_for_longer(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    longer = fl.resume(tmp_path / "run", steps=164, device="cpu")
    assert (longer.info.step, longer.config.get(TrainConfig).steps) == (164, 164)
    for made in (run.distill("vm", steps=4, params="60k", out=tmp_path / "vm"),
                 run.segment("auto", steps=2, features=4, pixels=64, out=tmp_path / "parts")):  # fmt: skip
        seen = []
        before = made.info.step
        again = fl.resume(made, steps=before + 2, on_event=lambda event, to=seen: to.append(event.step))
        assert (again.config.kind, again.config.parent) == (made.config.kind, str(run.path))
        assert seen == [before + 1, before + 2]
        assert again.info.step == before + 2
    edited = run.edit("recolor sphere 0 0 0 3 to 1 0 0", out=tmp_path / "red")
    with pytest.raises(ConfigError, match="not gone on with from Python"):
        fl.resume(edited, steps=3)
    file = tmp_path / "vm" / "config.toml"
    config = file.read_text()
    fl.train(run.config.source, steps=1, params="50k", out=tmp_path / "other", device="cpu")
    with pytest.raises(ConfigError, match="made from another one"):
        fl.resume(tmp_path / "vm", steps=8, parent=tmp_path / "other")
    file.write_text(gone := config.replace(str(run.path), str(tmp_path / "gone")))
    with pytest.raises(RunFolderError, match="that this one was made from is gone"):
        fl.resume(tmp_path / "vm", steps=8)
    with pytest.raises(ConfigError, match="wrong type"):
        fl.resume(tmp_path / "vm", steps="8", parent=run)
    assert file.read_text() == gone  # nothing is written of what could not be done
    assert fl.resume(tmp_path / "vm", steps=3, parent=run).info.step == 6  # it has learnt as much already
    assert file.read_text() == gone
    assert fl.resume(tmp_path / "vm", steps=8, parent=run).info.step == 8


def test_a_run_that_cannot_go_on_is_not_lost(run, tmp_path, monkeypatch):
    kept = shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))

    def fails(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fieldlab.api.train_session", fails)
    with pytest.raises(KeyboardInterrupt):
        fl.resume(kept)
    assert (kept / "config.toml").exists()
    assert (kept / "metrics.jsonl").exists()
    image = shutil.copytree(Path(__file__).parent / "runs" / "version_2" / "image", tmp_path / "image")
    with pytest.raises(ConfigError, match="not gone on with from Python"):
        fl.resume(image)


def test_what_makes_no_sense_is_said(run):
    scene = fl.load_scene(run.config.source)
    for call, message in (
        (lambda: fl.train(scene, stepz=3), "no such setting"),
        (lambda: fl.train(scene, steps="3"), "wrong type"),
        (lambda: fl.train(scene, device="gpu"), "no such device"),
        (lambda: fl.load_scene(run.config.source, downscail=2), "no such setting"),
        (lambda: run.distill("vm", laten_weight=2.0), "no such setting"),
        (lambda: run.export_mesh("a.ply", resolutions=3), "no such setting"),
        (lambda: run.render(99), "no such training view"),
        (lambda: run.render(0, channels="rbg"), "no such channel"),
        (lambda: run.render(0, channels=()), "a picture has a channel"),
        (lambda: run.render(run.cameras()), "one camera takes a picture"),
        (lambda: run.edit(["remove sphere 0 0 0 1"]), "one argument each"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()
    assert repr(scene).startswith("<scene ball: 14 train, 3 test views")
    assert repr(run.render(0, channels="depth")) == "<picture 36x36: depth>"


def test_the_names_are_there_without_pytorch():
    code = "import sys, fieldlab as fl; assert {'train', 'load_run'} <= set(dir(fl)); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        fl.fly  # noqa: B018
