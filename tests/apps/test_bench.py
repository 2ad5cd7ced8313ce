"""The benchmark command runs as a whole and writes what it measured."""

from __future__ import annotations

import json

import pytest

from fieldlab.apps.main import main
from fieldlab.bench.measure import Row
from fieldlab.data.procedural import ProceduralOptions, load_procedural


def test_ratios_say_how_many_times_better():
    assert Row("a", "b", 6.0, "M/s", 2.0).ratio == 3.0
    assert Row("a", "b", 2.0, "ms", 6.0).ratio == 3.0
    assert Row("a", "b", 2.0, "dB").ratio is None


@pytest.mark.slow
def test_everything_is_measured(tmp_path, monkeypatch, capsys):
    small = ProceduralOptions(n_train=6, n_test=1, size=48)
    monkeypatch.setattr("fieldlab.data.scene.load_scene", lambda name: load_procedural(name, small))
    out = tmp_path / "bench.json"
    assert main(["bench", "--scene", "robot", "--quick", "--log2-table", "12", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert {row["group"] for row in rows} == {"operations", "training", "quality", "pictures"}
    assert all(row["value"] > 0 for row in rows)
    assert "64x64 frame" in capsys.readouterr().out
