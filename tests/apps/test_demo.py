"""The demo from end to end, small."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from PIL import Image

from fieldlab.apps import demo
from fieldlab.apps.main import main


@pytest.fixture
def small(monkeypatch, tmp_path, small_scene):
    """The demo with few frames and cells, on the ball."""
    monkeypatch.setattr(demo, "FRAMES", 2)
    monkeypatch.setattr(demo, "MESH_RESOLUTION", 32)
    return ["demo", "--scene", str(small_scene), "--steps", "60", "--out", str(tmp_path / "demo"), "--device", "cpu"]


@pytest.mark.slow
def test_demo_makes_everything(small, tmp_path, capsys):
    assert main(small) == 0
    out = tmp_path / "demo"
    text = capsys.readouterr().out
    for name in ("demo.png", "eval.png", "eval.json", "renders/orbit.mp4", "exports/mesh.glb"):
        assert (out / name).is_file()
    assert "peak memory" in text
    assert json.loads((out / "eval.json").read_text())["psnr"] > 12
    picture = np.asarray(Image.open(out / "demo.png"))
    assert picture.shape[0] > 2 * 16
    assert len(trimesh.load(out / "exports" / "mesh.glb", force="mesh").faces) > 100


@pytest.mark.slow
def test_demo_does_not_replace_what_is_no_run(small, tmp_path, capsys):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("precious")
    assert main(small) == 1
    assert "holds something else" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "demo").iterdir()] == ["thesis.txt"]
