"""fieldlab fit from the command line: what it writes, resuming, and what it says when it cannot."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh

from fieldlab.apps.main import main
from fieldlab.fit.image import ImageTask
from fieldlab.fit.photo import Photo, read_photo, write_photo
from fieldlab.runs.checkpoint import read_checkpoint
from fieldlab.runs.folder import RunFolder
from tests.apps.test_commands import failure
from tests.fit.shapes import torus
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    y, x = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 30), indexing="ij")
    write_photo(path, Photo(torch.stack((x, y, 0.5 + 0.5 * torch.sin(9 * x * y)), dim=-1), 16))
    return path


@pytest.fixture
def mesh(tmp_path):
    made, path = torus(), tmp_path / "torus.obj"
    trimesh.Trimesh(made.vertices * 30 + [100, 0, 5], made.faces, process=False).export(path)
    return path


def arrays(run):
    return read_checkpoint(RunFolder.open(run).checkpoints()[-1]).part("signal")


@pytest.mark.slow
def test_an_image(photo, tmp_path):
    out, numbers = tmp_path / "run", tmp_path / "numbers.json"
    command = ["fit", "image", str(photo), "--out", str(out), "--params", "20k", "--device", "cpu"]
    assert main([*command, "--steps", "80", "--json", str(numbers)]) == 0
    found = json.loads(numbers.read_text())
    assert set(found) == {"psnr", "ssim", "seconds", "steps", "trainable", "fixed", "bytes"}
    assert found["psnr"] > 25
    assert found["steps"] == 80
    assert found["trainable"] <= 20_000
    made = read_photo(out / "renders" / "reconstruction.png")
    assert made.bits == 16
    assert made.values.shape == (20, 30, 3)
    error = (made.values - read_photo(photo).values).square().mean()
    assert -10 * np.log10(error) == pytest.approx(found["psnr"], abs=0.01)
    assert (out / "renders" / "error.png").exists()
    assert (out / "config.toml").exists()
    assert json.loads((out / "scores.json").read_text()) == found


@pytest.mark.slow
def test_a_fitted_run_is_described_and_not_taken_for_a_scene(photo, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["fit", "image", str(photo), "--out", str(out), "--params", "20k", "--device", "cpu"]
    assert main([*command, "--steps", "3"]) == 0
    again = ["fit", "image", str(photo), "--out", str(out), "--resume", "--steps", "5", "--params", "1M"]
    capsys.readouterr()
    assert main(again) == 0
    assert "without effect: --params" in capsys.readouterr().err
    assert main(["info", str(out)]) == 0
    described = capsys.readouterr().out
    for words in ("image", "source", "field.n_levels", "score.psnr", "step-000000005"):
        assert words in described
    assert main(["eval", str(out)]) == 1
    assert "a fitted signal, not a scene" in capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_fitting_and_keeps_what_was_good(photo, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    command = ["fit", "image", str(photo), "--out", str(out), "--params", "20k", "--device", "cpu"]
    assert main([*command, "--steps", "3"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(ImageTask, "loss", lambda self, made, wanted: (made - wanted).sum() * float("nan"))
    assert main(["fit", "image", str(photo), "--out", str(out), "--resume", "--steps", "9"]) == 1
    assert "not a finite number" in capsys.readouterr().err
    assert [file.name for file in RunFolder.open(out).checkpoints()] == ["step-000000003.safetensors"]


@pytest.mark.slow
def test_resuming_gives_what_one_run_gives(photo, tmp_path):
    command = ["fit", "image", str(photo), "--params", "20k", "--batch", "100", "--device", "cpu", "--seed", "4"]
    assert main([*command, "--out", str(tmp_path / "a"), "--steps", "12"]) == 0
    assert main([*command, "--out", str(tmp_path / "b"), "--steps", "0"]) == 0
    assert main([*command, "--out", str(tmp_path / "c"), "--steps", "12"]) == 0
    first, same = arrays(tmp_path / "a"), arrays(tmp_path / "c")
    assert all(torch.equal(first[name], same[name]) for name in first)
    resume = ["fit", "image", str(photo), "--out", str(tmp_path / "b"), "--resume", "--steps", "12"]
    assert main(resume) == 0
    again = arrays(tmp_path / "b")
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.slow
def test_a_mesh(mesh, tmp_path):
    out, numbers = tmp_path / "run", tmp_path / "numbers.json"
    command = ["fit", "sdf", str(mesh), "--out", str(out), "--params", "300k", "--device", "cpu", "--steps", "400"]
    fast = ["--resolution", "48", "--iou-points", "20000", "--pool", "200000", "--batch", "16384"]
    assert main([*command, *fast, "--json", str(numbers)]) == 0
    found = json.loads(numbers.read_text())
    wanted = {"iou", "nae_degrees", "chamfer", "f_score", "seconds", "steps", "trainable", "fixed", "bytes"}
    assert set(found) == wanted
    assert found["iou"] > 0.8
    made = trimesh.load(out / "exports" / "mesh.ply")
    given = trimesh.load(mesh)
    assert np.allclose(made.bounds, given.bounds, atol=3)  # in the units and at the place of the given mesh
    assert (out / "renders" / "comparison.png").exists()


@pytest.mark.slow
def test_what_cannot_be_done(photo, mesh, tmp_path, capsys):
    def image(*more, path=photo):
        return failure(capsys, ["fit", "image", str(path), "--out", str(tmp_path / "none"), *more])

    assert "missing" in image(path=tmp_path / "no.png")
    assert "not a picture" in image(path=mesh)
    assert "did you mean hashgrid" in image("--field", "hashgird")
    assert "smallest" in image("--params", "1k")
    assert "smallest" in image("--params", "9k")
    assert "two dimensions" in image("--field", "vm") or "dimensions" in image("--field", "vm")
    assert "out of range" in image("--batch", "0")
    assert not (tmp_path / "none").exists()
    assert "no mesh" in failure(capsys, ["fit", "sdf", str(photo), "--out", str(tmp_path / "none")])
    run = tmp_path / "run"
    assert main(["fit", "image", str(photo), "--out", str(run), "--params", "20k", "--steps", "1"]) == 0
    capsys.readouterr()
    assert "--overwrite" in failure(capsys, ["fit", "image", str(photo), "--out", str(run), "--steps", "1"])
    assert "go on with fieldlab fit image" in failure(capsys, ["fit", "sdf", str(mesh), "--out", str(run), "--resume"])
    assert "fitted signal" in failure(capsys, ["eval", str(run)])
    assert main(["fit", "image", str(photo), "--out", str(run), "--params", "20k", "--steps", "1", "--overwrite"]) == 0


@pytest.mark.slow
def test_an_interrupted_fit_is_saved_and_goes_on(photo, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "fieldlab.apps.main", "fit", "image", str(photo), "--out", str(out)]
    process = subprocess.Popen([*command, "--params", "20k", "--steps", "9999999"], stderr=subprocess.PIPE, text=True)
    wait_until((out / "metrics.jsonl").exists, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "--resume" in said
    step = RunFolder.open(out).latest_checkpoint().header["training"]["progress"]["step"]
    assert step > 0
    assert main(["fit", "image", str(photo), "--out", str(out), "--resume", "--steps", str(step + 2)]) == 0
    assert json.loads((out / "scores.json").read_text())["steps"] == step + 2
