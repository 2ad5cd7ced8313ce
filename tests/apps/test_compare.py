"""fieldlab compare: trains, measures, writes; goes on where it was; refuses what makes no sense."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from fieldlab.apps.main import main
from fieldlab.apps.texts import duration
from fieldlab.errors import ConfigError
from fieldlab.runs.folder import RunFolder


def call(scene, out, *more, fields="hashgrid,vm:hashgrid", budget="1s"):
    return main(["compare", str(scene), "--fields", fields, "--budget", budget, "--params", "60k", "--out", str(out),
                 "--device", "cpu", *more])  # fmt: skip


@pytest.mark.slow
def test_one_table_and_one_picture(small_scene, tmp_path, capsys):
    out = tmp_path / "all"
    assert call(small_scene, out) == 0
    printed = capsys.readouterr().out
    found = json.loads((out / "compare.json").read_text())["rows"]
    assert [row["field"] for row in found] == ["hashgrid", "vm:hashgrid"]
    for row in found:
        assert 0 < row["trainable"] <= 60_000
        assert row["bytes"] >= 4 * row["trainable"]
        assert row["psnr"] > 8  # however little a busy machine does in a second
        assert row["seconds"] >= 1
        assert row["frame_ms"] > 0
        assert f"{row['psnr']:.2f}" in printed
    table = (out / "compare.md").read_text().splitlines()
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    picture = np.asarray(Image.open(out / "compare.png"))
    assert picture.shape[0] > 4 * 16  # two views, each with a row of errors
    assert picture.shape[1] > 3 * 16

    before = [RunFolder.open(out / name).checkpoints() for name in ("hashgrid", "vm_hashgrid")]
    assert call(small_scene, out) == 0
    assert [RunFolder.open(out / name).checkpoints() for name in ("hashgrid", "vm_hashgrid")] == before
    assert "trained before" in capsys.readouterr().err

    # Cut off before its time was over, a run goes on.
    run = RunFolder.open(out / "hashgrid")
    checkpoint = run.latest_checkpoint()
    checkpoint.header["training"]["progress"]["seconds"] = 0.5
    step = checkpoint.header["training"]["progress"]["step"]
    run.save_checkpoint(step, checkpoint.arrays, checkpoint.header)
    assert call(small_scene, out) == 0
    assert run.latest_checkpoint().header["training"]["progress"]["step"] > step

    assert call(small_scene, out, budget="3s") == 1
    assert "other settings" in capsys.readouterr().err
    assert call(small_scene, out, "--overwrite", budget="1.5s", fields="hashgrid") == 0
    assert json.loads((out / "compare.json").read_text())["rows"][0]["seconds"] >= 1.5


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("3m", 180), ("1.5h", 5400)])
def test_durations(text, seconds):
    assert duration(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["5M", "0s", "-3m", "soon", ""])
def test_what_is_no_duration(text):
    with pytest.raises(ConfigError, match="training time"):
        duration(text, "--budget")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--fields", "hashgird"], "did you mean hashgrid"),
        (["--fields", " , "], "nothing to compare"),
        (["--params", "100"], "smallest"),
        (["--params", "100k", "--megabytes", "2"], "two budgets"),
        (["--megabytes", "nan"], "not a size"),
        (["--megabytes", "0.001"], "at least"),
        (["--split", "dev"], "no such views"),
        (["--sheet-views", "0"], "one view"),
    ],
)
def test_what_cannot_be_compared(scene, tmp_path, capsys, more, words):
    assert main(["compare", str(scene), "--budget", "1s", "--out", str(tmp_path / "none"), *more]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
