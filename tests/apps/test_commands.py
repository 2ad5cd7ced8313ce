"""Every command on a small run: what it writes, and what it says when it cannot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import imageio.v2 as imageio
import numpy as np
import pytest
import trimesh
from PIL import Image
from safetensors.torch import save_file

from fieldlab import __version__, files
from fieldlab.apps import main as main_module
from fieldlab.apps.main import COMMANDS, main
from fieldlab.mesh.read import read_mesh

pytestmark = pytest.mark.slow


def failure(capsys, arguments: list[str]) -> str:
    """What a command that must fail says: one message without a traceback."""
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.count("error: ") == 1
    assert "Traceback" not in said.err
    assert said.out == ""
    return said.err


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fieldlab.apps.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_and_version(capsys):
    assert main(["-h"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fieldlab {__version__}\n"
    assert main([]) == 2
    assert main(["trian"]) == 2
    assert "no command 'trian'" in capsys.readouterr().err


def test_help_does_not_import_torch():
    code = "import sys; from fieldlab.apps.main import main; main(['-h']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_commands_has_descriptions_and_examples(name, capsys):
    with pytest.raises(SystemExit) as done:
        main([name, "-h"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: fieldlab {name}" in text
    assert COMMANDS[name].examples[0] in text


def test_a_command_line_that_makes_no_sense_exits_with_2(capsys):
    with pytest.raises(SystemExit) as done:
        main(["eval", "runs/x", "--nonsense"])
    assert done.value.code == 2


@pytest.mark.slow
def test_the_program_exits_with_the_code_and_one_message(tmp_path):
    done = program("eval", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "none") in done.stderr
    done = program("eval", "--debug", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def raising(monkeypatch, error: BaseException) -> None:
    def broken(_given):
        raise error

    monkeypatch.setattr(main_module, "call", broken)


def test_unexpected_errors_are_short_and_point_to_debug(monkeypatch, capsys):
    raising(monkeypatch, RuntimeError("first line\nsecond line"))
    text = failure(capsys, ["info", "x"])
    assert "RuntimeError: first line" in text
    assert "second line" not in text
    assert "--debug" in text
    assert main(["info", "--debug", "x"]) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "run it again" not in text


def test_interruption_and_memory(monkeypatch, capsys):
    raising(monkeypatch, KeyboardInterrupt())
    assert main(["info", "x"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    raising(monkeypatch, MemoryError())
    assert "memory" in failure(capsys, ["info", "x"])


@pytest.mark.slow
def test_a_reader_that_goes_away_leaves_no_traceback(trained):
    command = f"{sys.executable} -m fieldlab.apps.main info {trained} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_eval_writes_numbers_and_sheet(trained, tmp_path, capsys):
    numbers, sheet = tmp_path / "e.json", tmp_path / "deep" / "e.png"
    assert main(["eval", str(trained), "--json", str(numbers), "--sheet", str(sheet), "--sheet-views", "2"]) == 0
    found = json.loads(numbers.read_text())
    assert list(found)[:7] == ["psnr", "ssim", "lpips", "views", "seconds_training", "parameters", "bytes"]
    assert found["lpips"] is None
    assert found["views"] == len(found["per_view"]) == 3
    assert found["psnr"] == pytest.approx(np.mean([view["psnr"] for view in found["per_view"]]))
    assert found["psnr"] > 15
    assert 0 < found["parameters"] <= 60_000
    assert found["bytes"] >= 2 * found["parameters"]
    assert found["seconds_training"] > 0
    picture = np.asarray(Image.open(sheet))
    assert picture.shape[0] > 2 * 36
    assert (picture[0] == 255).all()
    table = capsys.readouterr().out
    assert "mean" in table
    assert f"{found['psnr']:.2f}" in table


@pytest.mark.slow
def test_eval_of_training_views_and_backgrounds(trained, tmp_path):
    for background in ("white", "black"):
        arguments = ["eval", str(trained), "--split", "train", "--background", background]
        assert main([*arguments, "--json", str(tmp_path / f"{background}.json")]) == 0
        assert json.loads((tmp_path / f"{background}.json").read_text())["views"] == 14


@pytest.mark.slow
def test_eval_with_lpips_weights(trained, tmp_path, monkeypatch):
    import torch

    from fieldlab.training.lpips import CONVOLUTIONS

    arrays = {}
    for i, (name, (n_in, n_out, kernel, *_)) in enumerate(CONVOLUTIONS.items()):
        arrays[f"{name}.weight"] = torch.randn(n_out, n_in, kernel, kernel) / (kernel * n_in**0.5)
        arrays[f"{name}.bias"] = torch.zeros(n_out)
        arrays[f"lin{i}.weight"] = torch.rand(1, n_out, 1, 1)
    save_file(arrays, tmp_path / "w.safetensors")
    monkeypatch.setenv("FIELDLAB_LPIPS", str(tmp_path / "w.safetensors"))
    assert main(["eval", str(trained), "--json", str(tmp_path / "e.json")]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["lpips"] > 0


@pytest.mark.slow
def test_eval_finds_a_scene_that_moved(scene, trained, tmp_path, capsys):
    moved, run = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(scene, moved)
    shutil.copytree(trained, run)
    rows = [
        f'source = "{tmp_path / "gone"}"' if row.startswith("source = ") else row
        for row in (run / "config.toml").read_text().splitlines()
    ]
    (run / "config.toml").write_text("\n".join(rows))
    from safetensors import safe_open

    for path in (run / "checkpoints").iterdir():
        with safe_open(path, "pt") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is not a dictionary)
            header = {k: v.replace(str(scene), str(tmp_path / "gone")) for k, v in file.metadata().items()}
        save_file(arrays, path, header)
    text = failure(capsys, ["eval", str(run)])
    assert "no longer where they were" in text
    assert "--data" in text
    assert main(["eval", str(run), "--data", str(moved)]) == 0
    shutil.rmtree(moved / "test")
    frames = json.loads((moved / "transforms_test.json").read_text())
    (moved / "transforms_test.json").write_text(json.dumps({**frames, "frames": frames["frames"][:1]}))
    (moved / "test").mkdir()
    shutil.copy(scene / "test" / "r_0.png", moved / "test" / "r_0.png")
    capsys.readouterr()
    assert "has changed" in failure(capsys, ["eval", str(run), "--data", str(moved)])


@pytest.mark.slow
def test_render_video_and_pictures(trained, tmp_path):
    assert main(["render", str(trained), "--out", str(tmp_path / "o.mp4"), "--frames", "4", "--size", "41x30"]) == 0
    video = imageio.get_reader(tmp_path / "o.mp4")
    assert video.get_data(3).shape == (30, 42, 3)
    assert (
        main(["render", str(trained), "--out", str(tmp_path / "o.gif"), "--frames", "3", "--path", "interpolate"]) == 0
    )
    assert Image.open(tmp_path / "o.gif").n_frames == 3
    assert main(["render", str(trained), "--out", str(tmp_path / "f"), "--frames", "2", "--channel", "normal"]) == 0
    assert len(list((tmp_path / "f").iterdir())) == 2
    assert main(["render", str(trained), "--out", str(tmp_path / "o.png"), "--background", "black"]) == 0
    picture = np.asarray(Image.open(tmp_path / "o.png"))
    assert picture.shape == (36, 36, 3)
    assert picture[0, 0].max() < 40  # the corner shows the background
    assert picture[18, 18].max() > 60  # the middle shows the ball


@pytest.mark.parametrize("channel", ["depth", "normal", "opacity"])
def test_render_channels_show_the_ball(trained, tmp_path, channel):
    out = tmp_path / "o.png"
    assert main(["render", str(trained), "--out", str(out), "--channel", channel, "--background", "white"]) == 0
    picture = np.asarray(Image.open(out)).astype(int)
    corner, middle = picture[1, 1], picture[18, 18]
    assert np.abs(corner - middle).max() > 60
    if channel == "opacity":
        assert middle.min() > 200
        assert corner.max() < 60


def test_render_along_a_camera_path_file(trained, tmp_path):
    pose = np.array([[1.0, 0, 0, 0], [0, 0, -1, -3], [0, 1, 0, 0], [0, 0, 0, 1]])  # at y = -3 looking along +y
    camera = {"camera_to_world": pose.ravel().tolist(), "fov": 50, "aspect": 1.25}
    path = {"render_width": 50, "render_height": 40, "fps": 5, "seconds": 1, "camera_path": [camera] * 5}
    (tmp_path / "p.json").write_text(json.dumps(path))
    assert main(["render", str(trained), "--out", str(tmp_path / "f"), "--path", str(tmp_path / "p.json")]) == 0
    pictures = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "f").iterdir())]
    assert len(pictures) == 5
    assert pictures[0].shape == (40, 50, 3)
    # The ball's color there is (0.5, 0.1, 0.5).
    assert np.abs(pictures[0][20, 25].astype(int) - (128, 26, 128)).max() < 70


@pytest.mark.slow
def test_export_mesh_in_world_units(trained, tmp_path, capsys):
    mesh, points = tmp_path / "m.glb", tmp_path / "p.ply"
    arguments = ["export", str(trained), "--mesh", str(mesh), "--points", str(points), "--resolution", "48"]
    assert main([*arguments, "--count", "2000"]) == 0
    assert "surface from the depth of" in capsys.readouterr().err
    made = read_mesh(mesh)
    radius = np.linalg.norm(made.vertices, axis=1)
    assert np.percentile(radius, 90) == pytest.approx(1, abs=0.15)
    outside = radius > 0.9
    expected = made.vertices[outside] / radius[outside, None] * 0.4 + 0.5
    difference = np.abs(made.colors[outside] / 255 - expected)
    assert np.median(difference) < 0.15  # mixed-up channels differ by 0.3
    cloud = trimesh.load(points)
    assert 500 < len(cloud.vertices) <= 2000
    assert np.median(np.linalg.norm(cloud.vertices, axis=1)) == pytest.approx(1, abs=0.2)
    small = tmp_path / "small.ply"
    assert main(["export", str(trained), "--mesh", str(small), "--resolution", "48", "--faces", "500"]) == 0
    assert len(trimesh.load(small, process=False).faces) <= 600


@pytest.mark.slow
def test_what_cannot_be_exported(trained, tmp_path, capsys):
    assert "nothing to export" in failure(capsys, ["export", str(trained)])
    assert "kind of file" in failure(capsys, ["export", str(trained), "--mesh", str(tmp_path / "m.off")])
    assert "kind of file" in failure(capsys, ["export", str(trained), "--points", str(tmp_path / "p.obj")])
    arguments = ["export", str(trained), "--mesh", str(tmp_path / "m.glb"), "--resolution", "16"]
    text = failure(capsys, [*arguments, "--level", "1e30"])
    assert "no surface" in text
    assert "try --level" in text
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_rendered(trained, tmp_path, capsys):
    base = ["render", str(trained), "--out"]
    assert "kind of file" in failure(capsys, [*base, str(tmp_path / "o.avi")])
    assert "picture size" in failure(capsys, [*base, str(tmp_path / "o.mp4"), "--size", "big"])
    assert "picture size" in failure(capsys, [*base, str(tmp_path / "o.mp4"), "--size", "0x10"])
    assert "not a camera path" in failure(capsys, [*base, str(tmp_path / "o.mp4"), "--path", "spiral"])
    assert "cannot be read" in failure(capsys, [*base, str(tmp_path / "o.mp4"), "--path", str(tmp_path / "no.json")])
    assert "number of frames" in failure(capsys, [*base, str(tmp_path / "o.mp4"), "--frames", "0"])
    assert "one frame" in failure(capsys, [*base, str(tmp_path / "o.png"), "--frames", "3"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_runs_that_are_none(tmp_path, capsys, trained):
    for command in (["eval"], ["render", "--out", "o.mp4"], ["export", "--mesh", "m.glb"]):
        assert "no such run" in failure(capsys, [command[0], str(tmp_path / "none"), *command[1:]])
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert "not a run" in failure(capsys, [command[0], str(tmp_path / "empty"), *command[1:]])
    assert "no such split" in failure(capsys, ["eval", str(trained), "--split", "val"])
    assert "suffix" in failure(capsys, ["eval", str(trained), "--sheet", str(tmp_path / "s.tiff")])
    assert "one view or more" in failure(capsys, ["eval", str(trained), "--sheet-views", "0"])
    missing = ["eval", str(trained), "--lpips-weights", str(tmp_path / "w.safetensors")]
    assert "LPIPS weights are missing" in failure(capsys, missing)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_and_says_so(trained, tmp_path, capsys, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for arguments in (
        ["eval", str(trained), "--json", str(tmp_path / "e.json")],
        ["render", str(trained), "--out", str(tmp_path / "o.gif"), "--frames", "1"],
        ["export", str(trained), "--mesh", str(tmp_path / "m.ply"), "--resolution", "16"],
    ):
        text = failure(capsys, arguments)
        assert "No space left" in text
        assert "disk" in text
    assert list(tmp_path.iterdir()) == []


def test_capture_refuses_an_empty_folder(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert str(tmp_path / "photos") in failure(capsys, ["capture", str(tmp_path / "photos"), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_info_of_run_and_scene(trained, scene, capsys):
    assert main(["info", str(trained)]) == 0
    assert "hashgrid" in capsys.readouterr().out
    assert main(["info", str(scene)]) == 0
    assert "14, 36x36" in capsys.readouterr().out
