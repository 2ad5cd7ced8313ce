"""fieldlab train and fieldlab info, in this process and as a program that is interrupted."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys

import imageio.v3 as iio
import pytest

from fieldlab.apps import info, options, train
from fieldlab.apps.quality import QUALITIES, Quality
from fieldlab.errors import BackendError, ConfigError, DataError, RunFolderError
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.training.config import TrainConfig
from tests.scenes import ball_views
from tests.waiting import PATIENCE, wait_until

SMALL = {"field": "hashgrid", "params": "60k", "samples_per_step": 2048}


@pytest.fixture
def capture(tmp_path):
    """The ball as a folder in the format of NeRF-Synthetic."""
    folder = tmp_path / "ball"
    for split, n in (("train", 6), ("test", 2)):
        views = ball_views(n)
        frames = []
        for i in range(n):
            path = folder / split / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            iio.imwrite(path, views.image(i).numpy())
            pose = views.cameras.camera_to_world[i].clone()
            pose[:, 1:3] *= -1  # to OpenGL axes
            frames.append({"file_path": f"./{split}/{i}", "transform_matrix": [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]]})
        angle = 2 * math.atan(0.5 * 16 / 19.2)
        text = json.dumps({"camera_angle_x": angle, "frames": frames})
        (folder / f"transforms_{split}.json").write_text(text)
    return folder


@pytest.mark.slow
def test_train_resume_and_info(capture, tmp_path, capfd):
    out = tmp_path / "run"
    train.run(train.Train(str(capture), out=out, steps=5, **SMALL))
    assert "fieldlab eval" in capfd.readouterr().err
    with pytest.raises(RunFolderError, match="--resume"):
        train.run(train.Train(str(capture), out=out, steps=5, **SMALL))
    train.run(train.Train(str(capture), out=out, steps=9, resume=True, field="vm", params="1M", device="cpu"))
    assert "without effect: --field, --params" in " ".join(capfd.readouterr().err.split())
    model, loaded = load_run(out)
    assert loaded.step == 9
    assert model.field.n_parameters <= 60_000
    assert loaded.config.get(TrainConfig).steps == 9
    info.run(info.Info(str(out)))
    text = capfd.readouterr().out
    assert "steps" in text
    assert "hashgrid" in text
    assert "field.n_levels" in text
    info.run(info.Info(str(capture)))
    assert "train views" in capfd.readouterr().out
    train.run(train.Train(str(capture), out=out, steps=3, overwrite=True, **SMALL))
    assert load_run(out)[1].step == 3


@pytest.mark.slow
def test_a_word_for_quality_sets_time_and_size(capture, tmp_path, monkeypatch):
    monkeypatch.setitem(QUALITIES, "fast", Quality(seconds=0.2, side=8, resolution=8, texture=8, frames=1, film=8))

    def config_of(**options):
        out = tmp_path / "run"
        train.run(train.Train(str(capture), out=out, overwrite=True, quality="fast", **options, **SMALL))
        config = load_run(out)[1].config
        return config.get(TrainConfig).seconds, config.get(TrainConfig).steps, config.scene.downscale

    assert config_of() == (0.2, None, 2)
    assert config_of(seconds=0.1, downscale=1) == (0.1, None, 1)
    assert config_of(steps=2) == (None, 2, 2)


def test_resuming_needs_a_run(capture, tmp_path):
    with pytest.raises(RunFolderError, match="no such run folder"):
        train.run(train.Train(str(capture), out=tmp_path / "none", resume=True))


def test_nothing_is_left_of_a_scene_that_cannot_be_read(tmp_path):
    from fieldlab.errors import FieldlabError

    with pytest.raises(FieldlabError):
        train.run(train.Train(str(tmp_path / "missing"), out=tmp_path / "run", steps=1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("text", "value"), [("500", 500), ("500k", 500_000), ("1.5M", 1_500_000)])
def test_parameter_counts(text, value):
    assert options.count(text) == value


def test_bad_options():
    with pytest.raises(ConfigError, match="not a number"):
        options.count("many")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="no CUDA device"):
            train.choose_device("cuda")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_saves_and_says_how_to_go_on(capture, tmp_path, number, code):
    out = tmp_path / "run"
    program = (
        "import sys; from fieldlab.apps import train; from pathlib import Path\n"
        "train.run(train.Train(sys.argv[1], out=Path(sys.argv[2]), steps=10**9, params='60k', samples_per_step=1024))"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(capture), str(out)], stderr=subprocess.PIPE, text=True)
    try:
        wait_until((out / "metrics.jsonl").exists, child)
        child.send_signal(number)
        _, text = child.communicate(timeout=PATIENCE)
    finally:
        child.kill()
    assert child.returncode == code, text
    assert "--resume" in text
    assert "Traceback" not in text
    step = load_run(out)[1].step
    assert step > 0
    assert RunFolder.open(out).metrics()[-1]["step"] == step
    assert not (out / "lock").exists()


@pytest.mark.slow
def test_a_kill_loses_no_checkpoint(capture, tmp_path):
    """Killed without warning: the lock is stale, the last checkpoint whole, and training goes on from there."""
    out = tmp_path / "run"
    program = (
        "import sys; from fieldlab.apps import train; from pathlib import Path\n"
        "train.run(train.Train(sys.argv[1], out=Path(sys.argv[2]), steps=10**9, params='60k', samples_per_step=1024,"
        " checkpoint_seconds=0.0))"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(capture), str(out)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(RunFolder(out).checkpoints()) >= 2, child)
    finally:
        child.kill()
        child.wait()
    step = load_run(out)[1].step
    assert step >= 2
    train.run(train.Train(str(capture), out=out, steps=step + 2, resume=True))
    assert load_run(out)[1].step == step + 2


def test_failure_before_the_first_checkpoint_leaves_nothing(capture, tmp_path):
    out = tmp_path / "run"
    far = (1000.0, 1000.0, 1000.0, 1001.0, 1001.0, 1001.0)
    with pytest.raises(DataError, match="miss the box"):
        train.run(train.Train(str(capture), out=out, steps=2, params="60k", aabb=far))
    assert not out.exists()


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_can_be_started_again(capture, tmp_path):
    out = tmp_path / "run"
    options = train.Train(str(capture), out=out, steps=2, params="60k", samples_per_step=512)
    train.run(options)
    for checkpoint in (out / "checkpoints").iterdir():
        checkpoint.unlink()
    train.run(options)
    assert list((out / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_teacher_is_read_before_anything_is_overwritten(capture, tmp_path):
    out = tmp_path / "run"
    train.run(train.Train(str(capture), out=out, steps=5, **SMALL))
    with pytest.raises(RunFolderError):
        train.run(train.Train(str(capture), out=out, field="neurbf", teacher=tmp_path / "none", overwrite=True))
    assert load_run(out)[1].step == 5
    train.run(train.Train(str(capture), out=out, steps=4, teacher=out, overwrite=True,
                          **{**SMALL, "field": "neurbf"}))  # fmt: skip
    model, info_of = load_run(out)
    assert info_of.step == 4
    assert model.field.kernels.n_placed > 0
