"""The run folder: making, locking, metrics, checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from fieldlab.errors import CheckpointError, RunFolderError
from fieldlab.runs.folder import RunFolder
from fieldlab.segment.files import ARRAYS, TREE
from tests.scenes import run_config

CONFIG = run_config("scene")


def test_create_and_open(tmp_path):
    run = RunFolder.create(tmp_path / "a" / "b", CONFIG)
    assert RunFolder.open(run.path).config() == CONFIG
    RunFolder.create(run.path, CONFIG)  # nothing was trained yet, so nothing is lost
    with run.locked(), pytest.raises(RunFolderError, match="in use"):
        RunFolder.create(run.path, CONFIG)
    run.save_checkpoint(1, {"x": torch.zeros(1)}, {})
    with pytest.raises(RunFolderError, match="a run in this folder already"):
        RunFolder.create(run.path, CONFIG)


def test_what_is_not_a_run(tmp_path):
    with pytest.raises(RunFolderError, match="no such run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunFolderError, match="not a run"):
        RunFolder.open(tmp_path)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunFolderError, match="holds something else"):
        RunFolder.create(tmp_path, CONFIG, overwrite=True)
    with pytest.raises(RunFolderError, match="a file is in its place"):
        RunFolder.create(tmp_path / "thesis.txt", CONFIG)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_overwriting_removes_only_what_training_made(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.save_checkpoint(1, {"x": torch.zeros(1)}, {})
    run.append_metrics({"step": 1})
    (run.path / "notes.txt").write_text("mine")
    for name in (ARRAYS, TREE):
        (run.path / name).write_text("of what was there before")
    RunFolder.create(run.path, CONFIG, overwrite=True)
    assert run.checkpoints() == []
    assert run.metrics() == []
    assert sorted(p.name for p in run.path.iterdir()) == [".replaced", "config.toml", "notes.txt"]


def test_an_overwritten_run_is_back_when_the_new_one_fails(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.save_checkpoint(1, {"x": torch.ones(1)}, {})
    for name in ("scores.json", ARRAYS, TREE):
        (run.path / name).write_text("{}")
    other = run_config("another scene")
    again = RunFolder.create(run.path, other, overwrite=True)
    assert again.config() == other
    assert not (run.path / "scores.json").exists()
    again.discard_if_untrained()
    assert RunFolder.open(run.path).config() == CONFIG
    assert run.latest_checkpoint().arrays["x"].tolist() == [1]
    assert sorted(p.name for p in run.path.iterdir()) == ["checkpoints", "config.toml", TREE, ARRAYS, "scores.json"]


def test_an_overwritten_run_is_back_after_a_kill_and_gone_after_a_checkpoint(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.save_checkpoint(1, {"x": torch.ones(1)}, {})
    other = run_config("another scene")
    RunFolder.create(run.path, other, overwrite=True)  # and killed
    assert RunFolder.open(run.path).config() == CONFIG
    RunFolder.create(run.path, other, overwrite=True)
    with run.locked():
        run.save_checkpoint(2, {"x": torch.zeros(1)}, {})
    assert RunFolder.open(run.path).config() == other
    assert sorted(p.name for p in run.path.iterdir()) == ["checkpoints", "config.toml"]


@pytest.mark.slow
def test_only_one_process_at_a_time(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    code = (
        "import sys; from fieldlab.runs.folder import RunFolder\n"
        "with RunFolder.open(sys.argv[1]).locked():\n print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="in use") as caught, run.locked():
            pass
        assert str(child.pid) in caught.value.found
        with pytest.raises(RunFolderError, match="in use"):
            RunFolder.create(run.path, CONFIG, overwrite=True)
    finally:
        child.kill()
        child.wait()
    assert (run.path / "lock").exists()  # it had no time to remove it
    with run.locked():
        assert json.loads((run.path / "lock").read_text())["pid"] == os.getpid()
    assert not (run.path / "lock").exists()


def test_lock_of_another_process_with_the_same_number(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    import socket

    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": 1.0}
    (run.path / "lock").write_text(json.dumps(owner))
    with run.locked():
        pass
    (run.path / "lock").write_text("torn")
    with run.locked():
        pass
    (run.path / "lock").write_text(json.dumps({**owner, "host": "elsewhere"}))
    with pytest.raises(RunFolderError, match="elsewhere"), run.locked():
        pass


def test_the_last_two_checkpoints_are_kept_and_a_damaged_one_passed_over(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        run.latest_checkpoint()
    for step in (5, 10, 100):
        run.save_checkpoint(step, {"x": torch.tensor([step])}, {})
    assert [p.name for p in run.checkpoints()] == ["step-000000010.safetensors", "step-000000100.safetensors"]
    newest = run.checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:-3])
    assert run.latest_checkpoint().arrays["x"].tolist() == [10]
    oldest = run.checkpoints()[0]
    oldest.write_bytes(b"")
    with pytest.raises(CheckpointError, match="cut short") as caught:
        run.latest_checkpoint()
    assert caught.value.file == newest
    assert "train it again" in str(caught.value)


def test_metrics_survive_a_torn_line_and_going_back(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    for step in range(1, 6):
        run.append_metrics({"step": step, "loss": 1.0 / step, "psnr": float("nan") if step == 1 else 2.0})
    with open(run.metrics_file, "ab") as file:
        file.write(b'{"step": 6, "lo')
    assert [row["step"] for row in run.metrics()] == [1, 2, 3, 4, 5]
    assert run.metrics()[0]["psnr"] is None
    run.trim_metrics(3)
    run.append_metrics({"step": 4})
    assert [row["step"] for row in run.metrics()] == [1, 2, 3, 4]
