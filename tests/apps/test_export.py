"""fieldlab export from the command line: textures, pages, axes, maps, and what is refused before anything is made."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh

from fieldlab.apps.main import main
from fieldlab.mesh.read import read_mesh

SMALL = ["--resolution", "40", "--device", "cpu"]


def failure(capsys, arguments: list[str]) -> str:
    assert main(arguments) == 1
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_textured_mesh_has_the_colors_of_the_scene(trained, tmp_path, capsys):
    file = tmp_path / "ball.glb"
    assert main(["export", str(trained), "--mesh", str(file), "--texture", "256", "--normal-map", *SMALL]) == 0
    made = trimesh.load(file, force="mesh", process=False)
    material = made.visual.material
    assert material.baseColorTexture.size == (256, 256)
    assert material.normalTexture.size == (256, 256)
    back = read_mesh(file)
    assert back.texture is not None
    corner = back.texture.uv[back.texture.corners[:, 0]]
    place = np.clip((np.stack((1 - corner[:, 1], corner[:, 0]), 1) * 256).astype(int), 0, 255)
    found = back.texture.color[place[:, 0], place[:, 1]] / 255
    at = back.vertices[back.faces[:, 0]]
    radius = np.linalg.norm(at, axis=1)
    outside = radius > 0.9
    expected = at[outside] / radius[outside, None] * 0.4 + 0.5
    assert np.median(np.abs(found[outside] - expected)) < 0.15


@pytest.mark.slow
def test_axes_and_scale_are_made_and_recorded(trained, tmp_path):
    plain, turned = tmp_path / "plain.ply", tmp_path / "turned.glb"
    assert main(["export", str(trained), "--mesh", str(plain), *SMALL]) == 0
    options = ["--axes", "y-up", "--scale", "100", "--points", str(tmp_path / "p.ply"), "--count", "500"]
    assert main(["export", str(trained), "--mesh", str(turned), *options, *SMALL]) == 0
    file = trimesh.load(turned)
    assert file.metadata["fieldlab"]["axes"] == "y-up"
    assert file.metadata["fieldlab"]["scale"] == 100
    size = trimesh.load(plain, process=False).extents.max()
    assert file.extents.max() == pytest.approx(100 * size, rel=1e-4)
    assert np.abs(read_mesh(turned).vertices - read_mesh(plain).vertices).max() < 1e-4  # in the scene's units again
    cloud = trimesh.load(tmp_path / "p.ply")
    assert np.linalg.norm(cloud.vertices, axis=1).mean() == pytest.approx(100, abs=20)
    assert b"confidence" in (tmp_path / "p.ply").read_bytes()[:800]


@pytest.mark.slow
def test_a_page_maps_and_cameras(trained, tmp_path, capsys):
    page, maps, cameras = tmp_path / "ball.html", tmp_path / "maps", tmp_path / "cameras"
    products = ["--html", str(page), "--maps", str(maps), "--cameras", str(cameras), "--kinds", "depth", "opacity"]
    assert main(["export", str(trained), *products, "--map-format", "png", *SMALL]) == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "http://" not in text.replace("http://www.w3.org", "")
    frames = json.loads((maps / "transforms.json").read_text())["frames"]
    assert len(frames) == len(list((maps / "images").iterdir())) > 0
    assert (cameras / "sparse" / "0" / "cameras.bin").is_file()
    said = " ".join(capsys.readouterr().err.split())
    assert "opens without a server" in said
    assert f"{maps}: pictures of 17 views with depth, opacity and cameras" in said
    assert f"{cameras}: 17 cameras for nerfstudio and COLMAP" in said


@pytest.mark.slow
def test_closed_meshes_are_watertight(trained, tmp_path):
    for suffix in ("ply", "stl"):
        file = tmp_path / f"m.{suffix}"
        assert main(["export", str(trained), "--mesh", str(file), "--closed", *SMALL]) == 0
        assert trimesh.load(file).is_watertight


def test_what_is_refused_before_anything_is_made(trained, tmp_path, capsys):
    base = ["export", str(trained)]
    mesh = ["--mesh", str(tmp_path / "m.glb")]
    assert "texture" in failure(capsys, [*base, *mesh, "--texture", "3"])
    assert "--texture 2048" in failure(capsys, [*base, *mesh, "--normal-map"])
    assert "scale" in failure(capsys, [*base, *mesh, "--scale", "0"])
    assert "kind of file" in failure(capsys, [*base, "--html", str(tmp_path / "m.txt")])
    assert "kind of file" in failure(capsys, [*base, "--parts", str(tmp_path / "m.stl")])
    assert "such views" in failure(capsys, [*base, "--cameras", str(tmp_path / "c"), "--views", "none.json"])
    assert "density level" in failure(capsys, [*base, *mesh, "--surface", "depth", "--level", "3"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_interruption_leaves_nothing(trained, tmp_path, monkeypatch):
    from fieldlab.mesh.surface import extract

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(extract, "contour", interrupted)
    products = ["--mesh", str(tmp_path / "m.obj"), "--html", str(tmp_path / "m.html")]
    assert main(["export", str(trained), *products, *SMALL]) == 130
    assert list(tmp_path.iterdir()) == []


def test_what_the_run_lacks_is_told_before_anything_is_made(trained, tmp_path, capsys):
    mesh = ["export", str(trained), "--mesh", str(tmp_path / "m.glb"), *SMALL]
    assert "segments" in failure(capsys, [*mesh, "--maps", str(tmp_path / "maps"), "--kinds", "label"])
    assert "no such split" in failure(capsys, [*mesh, "--maps", str(tmp_path / "maps"), "--views", "val"])
    assert "same name" in failure(capsys, [*mesh, "--points", str(tmp_path / "m.glb")])
    (tmp_path / "file").write_text("")
    bad = ["export", str(trained), "--mesh", str(tmp_path / "file" / "m.glb")]
    assert "could not be written" in failure(capsys, bad)
    assert "4 or more" in failure(capsys, [*mesh, "--faces", "-5"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_a_level_below_all_densities_is_no_surface(trained, tmp_path, capsys):
    text = failure(capsys, ["export", str(trained), "--mesh", str(tmp_path / "m.glb"), *SMALL, "--level", "1e-30"])
    assert "denser than the level" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_stl_files_are_undone_too(trained, tmp_path):
    plain, turned = tmp_path / "plain.stl", tmp_path / "turned.stl"
    assert main(["export", str(trained), "--mesh", str(plain), *SMALL]) == 0
    assert main(["export", str(trained), "--mesh", str(turned), "--axes", "y-up", "--scale", "100", *SMALL]) == 0
    assert np.abs(read_mesh(turned).vertices - read_mesh(plain).vertices).max() < 1e-4
