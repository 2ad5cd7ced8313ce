"""Measuring a mesh of a run: numbers, tables and sheets, and what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from test_commands import failure

from fieldlab.apps.main import main
from fieldlab.sources.load import load_scene


@pytest.fixture(scope="module")
def ball(tmp_path_factory) -> Path:
    """The ball of the scene with its own colors, which are those of its surface points."""
    made = trimesh.creation.icosphere(5)
    made.visual.vertex_colors = np.pad(
        ((made.vertices * 0.4 + 0.5) * 255).round().astype(np.uint8), ((0, 0), (0, 1)), constant_values=255
    )
    path = tmp_path_factory.mktemp("meshes") / "ball.ply"
    made.export(path)
    return path


def measured(trained: Path, mesh: Path, out: Path, *options: str) -> dict:
    assert main(["eval", str(trained), "--mesh", str(mesh), "--json", str(out), "--device", "cpu", *options]) == 0
    return json.loads(out.read_text())


@pytest.mark.slow
def test_the_true_ball_is_the_photographs(trained, ball, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    options = ("--truth", str(ball), "--sheet", str(sheet), "--sheet-views", "2")
    found = measured(trained, ball, tmp_path / "m.json", *options)
    assert (found["components"], found["watertight"], found["manifold"]) == (1, True, True)
    assert found["volume"] == pytest.approx(4 / 3 * np.pi, rel=0.01)
    assert found["triangles"] == 20480
    assert found["chamfer"] < 1e-6
    assert [c["share"] for c in found["closeness"]] == pytest.approx([0.005, 0.01])
    assert all(c["f_score"] == 1 for c in found["closeness"])
    assert found["normal_consistency"] == pytest.approx(1, abs=1e-3)
    assert found["psnr"] > 27  # what differs is the outline, which the photographs do not smooth
    assert found["psnr"] > found["field_psnr"] > 15
    assert found["psnr_difference"] == pytest.approx(found["psnr"] - found["field_psnr"])
    assert found["psnr"] == pytest.approx(np.mean([view["psnr"] for view in found["per_view"]]))
    assert found["views"] == len(found["per_view"]) == 3
    picture = np.asarray(Image.open(sheet))
    assert picture.shape[0] > 2 * 36
    assert picture.shape[1] > 4 * 36
    table = capsys.readouterr().out
    for text in ("watertight", "normal consistency", "F-score", f"{found['psnr']:.2f}", f"{found['field_psnr']:.2f}"):
        assert text in table


@pytest.mark.slow
def test_the_field_of_the_mesh_is_that_of_eval(trained, ball, tmp_path):
    assert main(["eval", str(trained), "--json", str(tmp_path / "e.json"), "--background", "black"]) == 0
    field = json.loads((tmp_path / "e.json").read_text())
    found = measured(trained, ball, tmp_path / "m.json", "--background", "black")
    assert found["field_psnr"] == pytest.approx(field["psnr"], abs=1e-4)
    assert found["field_ssim"] == pytest.approx(field["ssim"], abs=1e-4)
    assert found["psnr"] > 27
    assert "chamfer" not in found


@pytest.mark.slow
def test_recall_over_what_the_training_views_see(trained, scene, ball, tmp_path):
    """Half a ball is made, and the training views' depths are those of the other half: nothing seen is found."""
    cameras = load_scene(str(scene)).splits["train"].cameras
    depths = tmp_path / "depths"
    depths.mkdir()
    for i in range(len(cameras)):
        rays = cameras.image_rays(i)
        b = (rays.origins * rays.directions).sum(1)
        root = b * b - 8
        depth = (-b - root.clamp_min(0).sqrt()) * (root > 0)
        points = rays.origins + rays.directions * depth[:, None]
        depth = (depth * (points[:, 2] < -0.1)).reshape(36, 36).numpy().astype(np.float32)
        np.savez(depths / f"r_{i}.npz", depth=depth)
    whole = trimesh.load(ball)
    half = tmp_path / "half.ply"
    whole.update_faces(whole.triangles_center[:, 2] > 0)
    whole.export(half)
    options = ("--truth", str(ball), "--thresholds", "0.01,0.3")
    plain = measured(trained, half, tmp_path / "m.json", *options)
    assert plain["closeness"][0]["recall"] == pytest.approx(0.5, abs=0.05)
    assert plain["closeness"][0]["precision"] == 1
    assert not plain["seen"]
    assert not plain["watertight"]
    found = measured(trained, half, tmp_path / "m.json", *options, "--truth-depth", str(depths))
    assert found["seen"]
    assert found["closeness"][0]["recall"] == 0
    assert found["closeness"][1]["recall"] > 0.7
    assert [c["share"] for c in found["closeness"]] == pytest.approx([0.01, 0.3])


@pytest.mark.slow
def test_an_exported_mesh_is_measured(trained, ball, tmp_path):
    made = tmp_path / "made.ply"
    assert main(["export", str(trained), "--mesh", str(made), "--resolution", "48"]) == 0
    found = measured(trained, made, tmp_path / "m.json", "--truth", str(ball))
    assert found["chamfer"] < 0.2
    assert found["psnr"] > 10


@pytest.mark.slow
def test_what_cannot_be_measured(trained, ball, tmp_path, capsys):
    base = ["eval", str(trained), "--mesh", str(ball)]
    assert "give --mesh too" in failure(capsys, ["eval", str(trained), "--truth", str(ball)])
    assert "give --truth too" in failure(capsys, [*base, "--truth-depth", str(tmp_path)])
    assert "one after the other" in failure(capsys, [*base, "--segments", str(tmp_path)])
    for wrong in ("0", "far", "0.1,-1", "nan", ""):
        assert "shares of the diagonal" in failure(capsys, [*base, f"--thresholds={wrong}"])
    assert "one threshold at least" in failure(
        capsys, ["eval", str(trained), "--segments", str(tmp_path), "--thresholds", "0"]
    )
    assert "is missing" in failure(capsys, ["eval", str(trained), "--mesh", str(tmp_path / "none.glb")])
    assert "no mesh" in failure(capsys, ["eval", str(trained), "--mesh", str(trained / "config.toml")])
    depths = ["--truth", str(ball), "--truth-depth"]
    assert "there are no depths" in failure(capsys, [*base, *depths, str(tmp_path / "none")])
    assert "no view has depths" in failure(capsys, [*base, *depths, str(tmp_path)])
    assert "suffix" in failure(capsys, [*base, "--sheet", str(tmp_path / "s.tiff")])
    assert list(tmp_path.iterdir()) == []
