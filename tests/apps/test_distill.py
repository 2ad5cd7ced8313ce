"""fieldlab distill from the command line: what it makes, resuming, and what it says when it cannot."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest

from fieldlab.apps.main import main
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from tests.apps.test_commands import failure
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slow


def distill(teacher, out, *more) -> int:
    return main(["distill", str(teacher), "--to", "vm", "--out", str(out), "--params", "60k", "--device", "cpu", *more])


@pytest.fixture(scope="module")
def student(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("students") / "vm"
    assert distill(trained, out, "--steps", "120") == 0
    return out


def test_the_student_is_an_ordinary_run(trained, student, tmp_path, capsys):
    teacher, student_info = load_run(trained)[1], load_run(student)[1]
    assert student_info.config.field.kind == "vm"
    assert student_info.config.parent == str(trained.resolve())
    assert student_info.scene.names == teacher.scene.names
    found = {}
    for name, run in (("teacher", trained), ("student", student)):
        assert main(["eval", str(run), "--json", str(tmp_path / f"{name}.json")]) == 0
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())["psnr"]
    assert found["student"] > found["teacher"] - 2
    assert main(["export", str(student), "--mesh", str(tmp_path / "ball.ply"), "--resolution", "32"]) == 0
    assert main(["info", str(student)]) == 0
    assert "teacher" in capsys.readouterr().out


def test_the_photographs_are_not_needed(trained, tmp_path):
    moved = shutil.copytree(trained, tmp_path / "moved")
    config = (moved / "config.toml").read_text()
    source = load_run(trained)[1].config.source
    assert source in config
    (moved / "config.toml").write_text(config.replace(source, "/nowhere"))
    assert distill(moved, tmp_path / "out", "--steps", "3") == 0


def test_resuming_takes_new_limits_and_says_what_it_ignores(trained, student, tmp_path, capsys):
    copy = shutil.copytree(student, tmp_path / "copy")
    capsys.readouterr()
    assert distill(trained, copy, "--steps", "125", "--resume", "--real-poses", "0.5") == 0
    assert "without effect: --params, --real-poses" in " ".join(capsys.readouterr().err.split())
    assert load_run(copy)[1].step == 125
    rows = RunFolder.open(copy).metrics()
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)


def test_going_on_with_what_is_done_says_so(trained, student, tmp_path, capsys):
    copy = shutil.copytree(student, tmp_path / "copy")
    capsys.readouterr()
    assert distill(trained, copy, "--steps", "60", "--resume") == 0
    assert "nothing left to distill" in capsys.readouterr().err
    assert load_run(copy)[1].step == 120


def test_a_composition_goes_on_under_its_own_name(trained, tmp_path, capsys):
    base = ["distill", str(trained), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*base, "--to", "vm+hashgrid", "--steps", "3", "--params", "60k"]) == 0
    assert "vm+hashgrid with" in capsys.readouterr().err
    assert main([*base, "--to", "vm+hashgrid", "--steps", "6", "--resume"]) == 0
    assert load_run(tmp_path / "out")[1].step == 6
    assert "another kind" in failure(capsys, [*base, "--to", "vm:hashgrid", "--resume"])


def test_what_cannot_be_distilled(trained, student, tmp_path, capsys):
    said = failure(capsys, ["distill", str(trained), "--to", "vn", "--out", str(tmp_path / "a")])
    assert "did you mean vm" in said
    said = failure(capsys, ["distill", str(trained), "--to", "vm", "--params", "9", "--out", str(tmp_path / "a")])
    assert "smallest" in said
    assert "no such run folder" in failure(capsys, ["distill", str(tmp_path / "none"), "--to", "vm"])
    assert "one folder" in failure(capsys, ["distill", str(trained), "--to", "vm", "--out", str(trained)])
    again = ["distill", str(trained), "--to", "vm", "--out", str(student)]
    assert "--overwrite" in failure(capsys, again)
    resumed = ["distill", str(student), "--to", "vm", "--out", str(student), "--resume"]
    assert "one folder" in failure(capsys, resumed)
    other = tmp_path / "other"
    assert main(["edit", str(trained), "keep sphere 0 0 0 0.3", "--out", str(other), "--device", "cpu"]) == 0
    resumed = ["distill", str(other), "--to", "vm", "--out", str(student), "--resume"]
    assert "made from another" in failure(capsys, resumed)
    resumed = ["distill", str(trained), "--to", "voxel", "--out", str(student), "--resume"]
    assert "another kind" in failure(capsys, resumed)
    moved = shutil.copytree(trained, tmp_path / "moved")  # the same teacher elsewhere
    resumed = ["distill", str(moved), "--to", "vm", "--out", str(student), "--resume", "--device", "cpu"]
    assert main(resumed) == 0
    assert "go on with fieldlab distill" in failure(capsys, ["train", "x", "--out", str(student), "--resume"])
    resumed = ["distill", str(student), "--to", "vm", "--out", str(moved), "--resume"]
    assert "was not made by fieldlab distill" in failure(capsys, resumed)
    assert not (tmp_path / "a").exists()


def test_a_damaged_teacher_is_told(trained, tmp_path, capsys):
    damaged = shutil.copytree(trained, tmp_path / "damaged")
    for file in RunFolder.open(damaged).checkpoints():
        file.write_bytes(file.read_bytes()[:-100])
    said = failure(capsys, ["distill", str(damaged), "--to", "vm", "--out", str(tmp_path / "out")])
    assert "cut short" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_interrupted_it_is_saved_and_goes_on(trained, tmp_path):
    out = tmp_path / "out"
    command = ["distill", str(trained), "--to", "hashgrid", "--params", "40k", "--out", str(out)]
    program = [sys.executable, "-m", "fieldlab.apps.main", *command, "--steps", "100000"]
    started = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    wait_until((out / "metrics.jsonl").exists, started)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=PATIENCE)
    assert started.returncode == 130
    assert "stopped and saved" in said
    step = load_run(out)[1].step
    assert step > 0
    assert main([*command, "--resume", "--steps", str(step + 3)]) == 0
    assert load_run(out)[1].step == step + 3
