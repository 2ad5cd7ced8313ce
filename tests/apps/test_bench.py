"""The benchmark command runs as a whole and writes what it measured."""

from __future__ import annotations

import json

import pytest

from fieldlab.apps.main import main
from fieldlab.bench.browser import browser_path
from fieldlab.bench.measure import Row


def test_ratios_say_how_many_times_better():
    assert Row("a", "b", 6.0, "M/s", 2.0).ratio == 3.0
    assert Row("a", "b", 2.0, "ms", 6.0).ratio == 3.0
    assert Row("a", "b", 2.0, "dB").ratio is None


@pytest.mark.slow
def test_distillation_is_measured_against_training(tmp_path):
    scene, out = tmp_path / "small.toml", tmp_path / "bench.json"
    scene.write_text('name = "small"\n[procedural]\nscene = "robot"\nn_train = 6\nn_test = 1\nsize = 48\n')
    command = ["bench", "--only", "distillation", "--scene", str(scene), "--quick", "--json", str(out)]
    assert main(command) == 0
    rows = json.loads(out.read_text())["rows"]
    assert {row["group"] for row in rows} == {"distillation"}
    assert [row["unit"] for row in rows] == ["ms"] * 2 + ["dB"] * 5
    assert all(row["value"] > 0 and row["reference"] > 0 for row in rows)


@pytest.mark.slow
def test_everything_is_measured(tmp_path, capsys):
    scene, out = tmp_path / "small.toml", tmp_path / "bench.json"
    scene.write_text('name = "small"\n[procedural]\nscene = "robot"\nn_train = 6\nn_test = 1\nsize = 48\n')
    assert main(["bench", "--scene", str(scene), "--quick", "--log2-table", "12", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert {row["group"] for row in rows} == {"operations", "training", "quality", "pictures"}
    assert all(row["value"] > 0 for row in rows)
    measured = " ".join(row["name"] for row in rows if row["group"] == "operations")
    for operation in ("hash", "vm", "cp", "sparse", "harmonic", "kernels", "frequencies", "perceptron", "marching"):
        assert operation in measured
    assert "64x64 frame" in capsys.readouterr().out


@pytest.mark.slow
def test_the_viewer_is_measured_with_real_clients(tmp_path, capsys):
    scene, out = tmp_path / "small.toml", tmp_path / "bench.json"
    scene.write_text('name = "small"\n[procedural]\nscene = "robot"\nn_train = 6\nn_test = 1\nsize = 48\n')
    assert main(["bench", "--viewer", "--scene", str(scene), "--quick", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert {row["group"] for row in rows} == {"viewer"}
    assert len(rows) == 6 + (browser_path() is not None)
    assert all(row["value"] > 0 for row in rows)
    assert main(["bench", "--run", str(tmp_path)]) == 1
