"""Files of meshes hold what the meshes do, whole or not at all."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from fieldlab.errors import RunFolderError
from fieldlab.mesh import obj_file
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.placement import placement
from fieldlab.mesh.read import read_mesh
from fieldlab.mesh.stl_file import recorded
from fieldlab.mesh.write import write_mesh, write_points
from tests.mesh.textured import SIZE, colored, textured

TURNED = placement("y-up", 0.001, torch.tensor([0.2, 0.5, 0.9]))
SUFFIXES = (".glb", ".obj", ".ply", ".stl")


@pytest.mark.parametrize("suffix", SUFFIXES[:3])
@pytest.mark.parametrize("normals", [False, True])
def test_files_come_back_in_the_scenes_coordinates(tmp_path, suffix, normals):
    mesh = colored()
    if normals:
        tilted = mesh.vertices + 0.3 * mesh.vertices[:, [1, 2, 0]]
        mesh.vertex_normals = tilted / np.linalg.norm(tilted, axis=1, keepdims=True)
    path = tmp_path / f"ball{suffix}"
    write_mesh(path, mesh, TURNED)
    back = read_mesh(path)
    assert np.allclose(back.vertices, mesh.vertices, atol=1e-6)
    assert np.array_equal(back.faces, mesh.faces)
    assert np.array_equal(back.colors, mesh.colors)
    assert np.allclose(back.normals(), mesh.normals(), atol=1e-5)
    there = trimesh.load(path, force="mesh", process=False)
    assert np.allclose(there.vertices, TURNED.points(mesh.vertices), atol=1e-9)


def test_stl_has_the_surface_and_says_where_it_is(tmp_path):
    mesh = colored()
    write_mesh(tmp_path / "ball.stl", mesh, TURNED)
    data = (tmp_path / "ball.stl").read_bytes()
    placed = recorded(data[:80])
    assert placed is not None
    assert placed.axes == "y-up"
    assert np.allclose(placed.matrix(), TURNED.matrix(), rtol=0, atol=1e-8)
    assert recorded(b"solid of somebody else".ljust(80)) is None
    assert len(data) == 84 + 50 * struct.unpack_from("<I", data, 80)[0]
    loaded = trimesh.load(tmp_path / "ball.stl", process=False)
    assert np.allclose(loaded.triangles, TURNED.points(mesh.vertices)[mesh.faces], atol=1e-9)
    normal, corners = struct.unpack_from("<3f", data, 84), np.array(struct.unpack_from("<9f", data, 96)).reshape(3, 3)
    across = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    assert np.allclose(normal, across / np.linalg.norm(across), atol=1e-4)


def test_a_textured_obj_keeps_the_surface_closed(tmp_path):
    mesh = textured()
    write_mesh(tmp_path / "my box.obj", mesh, TURNED)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my box.obj", "my_box.mtl", "my_box.png", "my_box_normal.png"]
    lines = [line.split() for line in (tmp_path / "my box.obj").read_text().splitlines()]
    rows = {key: np.array([[float(x) for x in line[1:]] for line in lines if line[0] == key])
            for key in ("v", "vt", "vn")}  # fmt: skip
    faces = np.array([[[int(i) for i in corner.split("/")] for corner in line[1:]] for line in lines if line[0] == "f"])
    assert np.allclose(rows["v"], TURNED.points(mesh.vertices), atol=1e-12)
    assert np.allclose(rows["vn"], TURNED.mesh(mesh).normals(), atol=1e-5)
    assert np.array_equal(rows["vt"].astype(np.float32), mesh.texture.uv)
    assert np.array_equal(faces[..., 0] - 1, mesh.faces)
    assert np.array_equal(faces[..., 1] - 1, mesh.texture.corners)
    assert np.array_equal(faces[..., 2], faces[..., 0])
    assert ["mtllib", "my_box.mtl"] in lines
    material = (tmp_path / "my_box.mtl").read_text().splitlines()
    assert {"map_Kd my_box.png", "norm my_box_normal.png", "map_Bump my_box_normal.png"} <= set(material)
    assert np.array_equal(np.array(Image.open(tmp_path / "my_box.png")), mesh.texture.color)
    assert np.array_equal(np.array(Image.open(tmp_path / "my_box_normal.png")), mesh.texture.normal)


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
@pytest.mark.parametrize("normal_map", [False, True])
def test_textures_come_back(tmp_path, suffix, normal_map):
    mesh = textured(normal_map)
    write_mesh(tmp_path / f"box{suffix}", mesh, TURNED)
    back = read_mesh(tmp_path / f"box{suffix}")
    assert np.array_equal(back.texture.color, mesh.texture.color)
    assert np.allclose(back.vertices[back.faces], mesh.vertices[mesh.faces], atol=1e-6)
    uv = mesh.texture.uv[mesh.texture.corners]
    assert np.allclose(back.texture.uv[back.texture.corners], uv, atol=1e-6)


def test_a_ply_has_the_colors_of_the_texture_at_its_vertices(tmp_path):
    mesh = textured()
    write_mesh(tmp_path / "box.ply", mesh)
    back = read_mesh(tmp_path / "box.ply")
    assert np.array_equal(back.faces, mesh.faces)
    for v in range(8):
        uv = mesh.texture.uv[mesh.texture.corners[mesh.faces == v]]
        seen = [mesh.texture.color[int((1 - b) * SIZE), int(a * SIZE)] for a, b in uv]
        assert np.abs(np.mean(seen, axis=0) - back.colors[v]).max() <= 0.5
    own = replace(mesh, colors=np.full((8, 3), 77, dtype=np.uint8))
    write_mesh(tmp_path / "box.ply", own)
    assert (read_mesh(tmp_path / "box.ply").colors == 77).all()


def test_a_ply_without_colors_has_none(tmp_path):
    write_mesh(tmp_path / "box.ply", replace(textured(), texture=None))
    header = (tmp_path / "box.ply").read_bytes().split(b"end_header")[0].decode()
    assert "red" not in header
    comment = next(line for line in header.splitlines() if line.startswith("comment fieldlab "))
    record = json.loads(comment.removeprefix("comment fieldlab "))
    assert record == {"axes": "input", "scale": 1.0, "to_file": np.eye(4).ravel().tolist()}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interruption_leaves_the_files_as_they_were(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"box{suffix}"
    path.write_text("what was there")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fieldlab.files.os.replace", fail)
    with pytest.raises(RunFolderError):
        write_mesh(path, textured())
    assert path.read_text() == "what was there"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_interrupted_obj_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(obj_file, "_text", stop)
    with pytest.raises(KeyboardInterrupt):
        write_mesh(tmp_path / "box.obj", textured())
    assert list(tmp_path.iterdir()) == []


def test_text_is_the_same_in_blocks_of_any_size(tmp_path, monkeypatch):
    write_mesh(tmp_path / "whole.obj", colored())
    monkeypatch.setattr(obj_file, "BLOCK", 7)
    write_mesh(tmp_path / "blocks.obj", colored())
    assert (tmp_path / "whole.obj").read_text() == (tmp_path / "blocks.obj").read_text()


def test_points_are_placed(tmp_path):
    rng = np.random.default_rng(0)
    points, normals = rng.normal(size=(9, 3)), np.eye(3)[np.arange(9) % 3]
    colors = rng.integers(0, 256, (9, 3), dtype=np.uint8)
    write_points(tmp_path / "p.ply", points, normals, colors, placement=TURNED)
    loaded = trimesh.load(tmp_path / "p.ply")
    assert np.allclose(loaded.vertices, 0.001 * points @ TURNED.rotation.T, atol=1e-9)
    back = read_mesh(tmp_path / "p.ply", points=True)
    assert isinstance(back, Mesh)
    assert np.allclose(back.vertices, points, atol=1e-6)
    rows = np.frombuffer((tmp_path / "p.ply").read_bytes().split(b"end_header\n", 1)[1],
                         [("p", "<f4", 3), ("n", "<f4", 3), ("c", "u1", 3)])  # fmt: skip
    assert np.allclose(rows["n"], normals @ TURNED.rotation.T, atol=1e-6)
    assert np.array_equal(rows["c"], colors)
