"""Reconstruct from end to end, small: what it makes, and how it goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import trimesh
from PIL import Image

from fieldlab.apps import main as main_module
from fieldlab.apps import reconstruct
from fieldlab.apps.main import main
from fieldlab.apps.material import material_at, picture_size
from fieldlab.apps.quality import QUALITIES, Quality
from fieldlab.errors import ConfigError, DataError
from fieldlab.runs.load import load_run
from fieldlab.training.trainer import Trainer
from tests.capture.corner import pictures, poses_around, textures, write_pictures

SMALL = Quality(seconds=5.0, side=16, resolution=24, texture=64, frames=3, film=32)
STEPS = 24
PRODUCTS = ("eval.json", "sheet.jpg", "orbit.mp4", "mesh.glb", "index.html", "summary.jpg", "report.html")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(QUALITIES, "fast", SMALL)


def words(source, out, *more) -> list[str]:
    options = ["--quality", "fast", "--steps", str(STEPS), "--device", "cpu", "--no-view"]
    return ["reconstruct", str(source), "--out", str(out), *options, *more]


@pytest.fixture(scope="module")
def made(small_scene, tmp_path_factory) -> Path:
    """A whole reconstruction of the ball."""
    out = tmp_path_factory.mktemp("made") / "ball"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(QUALITIES, "fast", SMALL)
        assert main(words(small_scene, out)) == 0
    return out


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "ball"))


@pytest.fixture
def called(monkeypatch):
    """Command lines of stages as they are called; ``called.before[name]`` goes before that command."""

    class Called(list):
        def names(self):
            return [command[0] for command in self]

    record, whole = Called(), main_module.call
    record.before = {}

    def call(command):
        if command[0] != "reconstruct":
            record.append(list(command))
            if command[0] in record.before:
                record.before[command[0]]()
        return whole(command)

    monkeypatch.setattr(main_module, "call", call)
    return record


def interrupted():
    raise KeyboardInterrupt


def no_surface():
    raise ConfigError("there is no surface", hint="train longer")


# ---- what is made


@pytest.mark.slow
def test_everything_is_made_and_valid(made, small_scene):
    assert {path.name for path in made.iterdir()} == {*PRODUCTS, "run", "reconstruct.json"}
    scores = json.loads((made / "eval.json").read_text())
    assert scores["psnr"] > 10
    assert scores["steps"] == STEPS
    assert Image.open(made / "sheet.jpg").size[1] > 2 * 16
    assert Image.open(made / "summary.jpg").size[1] > 2 * 16
    assert [frame.shape for frame in imageio.mimread(made / "orbit.mp4")] == [(16, 16, 3)] * SMALL.frames
    mesh = trimesh.load(made / "mesh.glb", force="mesh")
    assert len(mesh.faces) > 50
    assert mesh.visual.material.baseColorTexture.size == (64, 64)
    assert "<canvas" in (made / "index.html").read_text()


@pytest.mark.slow
def test_the_report_leads_to_everything(made):
    page = (made / "report.html").read_text()
    targets = [link for link in re.findall(r'(?:src|href)="([^"]+)"', page) if not link.startswith("data:")]
    assert {"index.html", "mesh.glb", "orbit.mp4", "sheet.jpg", "summary.jpg", "eval.json", "run/"} <= set(targets)
    assert all((made / target).exists() for target in targets)
    assert f"{json.loads((made / 'eval.json').read_text())['psnr']:.2f} dB" in page
    assert "fieldlab train" in page
    assert "could not be made" not in page


# ---- going on


@pytest.mark.slow
def test_again_leaves_out_what_is_done(copy, small_scene, called, capsys):
    before = {name: (copy / name).stat().st_mtime_ns for name in (*PRODUCTS, "reconstruct.json")}
    assert main(words(small_scene, copy)) == 0
    assert called == []
    said = capsys.readouterr()
    assert said.err.count("done before") == 4
    assert f"  {copy / 'report.html'}\n" in said.out
    assert {name: (copy / name).stat().st_mtime_ns for name in before} == before


@pytest.mark.slow
def test_interrupted_between_stages_it_goes_on_with_what_is_missing(copy, small_scene, called, capsys):
    (copy / "orbit.mp4").unlink()
    report = (copy / "report.html").stat().st_mtime_ns
    called.before["render"] = interrupted
    assert main(words(small_scene, copy)) == 130
    said = capsys.readouterr().err
    assert f"fieldlab reconstruct {small_scene} --out {copy} --quality fast --steps {STEPS} --device cpu" in said
    assert called.names() == ["render"]
    called.before.clear()
    called.clear()
    assert main(words(small_scene, copy)) == 0
    assert called.names() == ["render"]
    assert (copy / "orbit.mp4").is_file()
    assert (copy / "report.html").stat().st_mtime_ns > report


@pytest.mark.slow
def test_training_goes_on_where_it_was_interrupted(small_scene, tmp_path, called, monkeypatch):
    step, out = Trainer.step, tmp_path / "ball"

    def until_ctrl_c(self):
        event = step(self)
        if event.step == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return event

    monkeypatch.setattr(Trainer, "step", until_ctrl_c)
    with pytest.raises(SystemExit) as stopped:
        main(words(small_scene, out))
    assert stopped.value.code == 130
    monkeypatch.setattr(Trainer, "step", step)
    called.before["eval"] = interrupted  # the rest is tested above
    assert load_run(out / "run")[1].step == 8
    assert main(words(small_scene, out)) == 130
    assert called.names() == ["train", "train", "eval"]
    assert "--resume" in called[1]
    assert load_run(out / "run")[1].step == STEPS


@pytest.mark.slow
def test_other_settings_are_refused_and_overwrite_begins_again(copy, small_scene, called, capsys):
    assert main([*words(small_scene, copy), "--seconds", "3"]) == 1
    assert re.search(
        r"found: seconds 3\.0\s.*expected: seconds None\s.*--overwrite", capsys.readouterr().err, re.DOTALL
    )
    assert called == []
    assert all((copy / name).exists() for name in PRODUCTS)
    (copy / "thesis.txt").write_text("precious")
    called.before["train"] = interrupted
    assert main([*words(small_scene, copy), "--seconds", "3", "--overwrite"]) == 130
    assert sorted(path.name for path in copy.iterdir()) == ["reconstruct.json", "thesis.txt"]
    assert "--resume" not in called[0]
    assert main([*words(small_scene, copy), "--seconds", "3"]) == 130  # the new settings count


@pytest.mark.slow
def test_a_folder_of_something_else_is_left_alone(small_scene, tmp_path, called, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    assert main([*words(small_scene, tmp_path), "--overwrite"]) == 1
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_without_a_mesh_the_others_are_made(copy, small_scene, called, capsys):
    (copy / "mesh.glb").unlink()
    called.before["export"] = no_surface
    assert main(words(small_scene, copy)) == 1
    said = capsys.readouterr()
    assert "not everything could be made" in said.err
    assert "no mesh and page" in said.out
    assert not (copy / "mesh.glb").exists()
    assert not (copy / "index.html").exists()  # of an earlier state
    assert all((copy / name).is_file() for name in ("eval.json", "orbit.mp4", "summary.jpg", "report.html"))
    page = (copy / "report.html").read_text()
    assert "mesh and page could not be made" in page
    assert "train longer" in page
    assert 'href="index.html"' not in page
    called.before["export"] = interrupted
    assert main(words(small_scene, copy)) == 130
    assert called.names() == ["export", "export"]  # it is tried again


# ---- what it begins with


@pytest.mark.slow
def test_photographs_get_camera_poses_first(tmp_path, called, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_pictures(photos, pictures(poses_around(7), textures()))
    called.before["train"] = interrupted
    assert main(words(photos, out)) == 130
    state = json.loads((out / "reconstruct.json").read_text())
    assert state["stages"]["camera poses"]["done"]
    assert json.loads((out / "capture.json").read_text())["registered"] == 7
    command = called[1]
    assert command[:2] == ["train", str(out / "scene")]
    width = picture_size(str(out / "scene"))[0]
    assert command[command.index("--downscale") + 1] == str(round(width / SMALL.side))
    # Interrupted after the scene was there, and before that was written down.
    state["stages"]["camera poses"]["done"] = False
    (out / "reconstruct.json").write_text(json.dumps(state))
    called.clear()
    assert main(words(photos, out)) == 130
    assert called.names() == ["train"]
    # Photographs that changed are no longer those of the scene.
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photos / "late.png")
    assert main(words(photos, out)) == 1
    assert "files 8" in capsys.readouterr().err


@pytest.mark.slow
def test_the_viewer_comes_last(copy, small_scene, called, monkeypatch):
    called.before["view"] = interrupted
    arguments = [word for word in words(small_scene, copy) if word != "--no-view"]
    assert main(arguments) == 0  # nobody sits there
    monkeypatch.setattr(reconstruct, "interactive", lambda: True)
    assert main([*arguments, "--view"]) == 130
    assert called == [["view", str(copy / "run"), "--device", "cpu"]]


@pytest.mark.slow
def test_too_few_photographs(tmp_path, capsys):
    write_pictures(tmp_path / "photos", [np.zeros((8, 8, 3), np.uint8)] * 2)
    assert main(words(tmp_path / "photos", tmp_path / "out")) == 1
    assert "too few photographs" in capsys.readouterr().err


def test_options_that_make_no_sense(small_scene, tmp_path, capsys):
    assert main(words(small_scene, tmp_path / "out", "--frames", "20")) == 1
    assert "frames are taken of a video" in capsys.readouterr().err
    write_pictures(tmp_path / "photos", [np.zeros((8, 8, 3), np.uint8)] * 2)
    assert main(words(tmp_path / "photos", tmp_path / "photos" / "out")) == 1
    assert "among the photographs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_there_is_to_reconstruct_from(small_scene, tmp_path):
    write_pictures(tmp_path / "photos" / "left", [np.zeros((8, 8, 3), np.uint8)] * 2)
    (tmp_path / "walk.MP4").write_bytes(b"123")
    kinds = {source: material_at(str(source)) for source in (small_scene, "toys", tmp_path / "photos",
                                                             tmp_path / "walk.MP4")}  # fmt: skip
    assert [found.kind for found in kinds.values()] == ["scene", "scene", "photographs", "video"]
    assert [found.name for found in kinds.values()] == ["small", "toys", "photos", "walk"]
    assert [found.posed for found in kinds.values()] == [True, True, False, False]
    assert kinds[tmp_path / "photos"].extent[0] == 2
    assert kinds[tmp_path / "walk.MP4"].extent == (1, 3)
    assert picture_size(str(small_scene)) == (16, 16)
    assert picture_size("toys") is None


@pytest.mark.parametrize(
    ("name", "found"),
    [("nothing", "neither a file"), ("texts", "notes.txt"), ("empty", "an empty folder"), ("notes.txt", ".txt")],
)
def test_something_else_is_named(name, found, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=f"(?s)nothing to reconstruct from.*{found}.*a video"):
        material_at(str(tmp_path / name))


def test_a_run_was_reconstructed_already(tmp_path):
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(DataError, match="fieldlab view"):
        material_at(str(tmp_path))


@pytest.mark.parametrize(
    ("size", "film"), [((1600, 1200), (640, 480)), ((200, 150), (200, 150)), ((101, 77), (100, 76))]
)
def test_videos_are_even_and_not_larger(size, film):
    assert reconstruct._film(size, 640) == film
