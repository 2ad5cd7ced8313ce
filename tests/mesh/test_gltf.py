"""Binary glTF says what the meshes do, by its specification, by a validator and by a reader."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from fieldlab.mesh import gltf
from fieldlab.mesh.gltf import Node, glb, linear
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.placement import placement
from fieldlab.mesh.tangents import tangents
from tests.mesh.glb_bytes import Glb, assert_valid
from tests.mesh.textured import colored, textured


def srgb_to_linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def a_tree() -> Node:
    half = np.arange(12) < 6
    box = textured()
    sides = [Node("left", box.kept(half), {"node_id": 3}), Node("right", box.kept(~half))]
    return Node("all", None, {"kind": "toy"}, [Node("box", None, {}, sides), Node("bäll", colored())])


def test_linear_light_is_that_of_the_standard():
    values = np.arange(256, dtype=np.uint8)
    assert np.allclose(linear(values), [srgb_to_linear(v) for v in range(256)], atol=1e-15)


def test_a_colored_mesh_is_written_as_it_is():
    mesh = colored()
    file = Glb(glb(Node("ball", mesh)))
    attributes, faces = file.mesh()
    assert set(attributes) == {"POSITION", "NORMAL", "COLOR_0"}
    assert np.array_equal(faces, mesh.faces)
    assert np.array_equal(attributes["POSITION"], mesh.vertices.astype(np.float32))
    assert np.allclose(attributes["NORMAL"], mesh.normals(), atol=1e-6)
    expected = [[srgb_to_linear(c) for c in row] for row in mesh.colors.tolist()]
    assert np.abs(attributes["COLOR_0"][:, :3] - expected).max() <= 0.5 / 65535 + 1e-12
    assert (attributes["COLOR_0"][:, 3] == 1).all()
    assert len(np.unique(np.rint(linear(np.arange(256)) * 65535))) == 256  # no two shades fall together
    assert file.material()["pbrMetallicRoughness"] == {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    assert file.json["asset"]["version"] == "2.0"
    assert file.json["asset"]["generator"].startswith("fieldlab")


def test_a_textured_mesh_has_its_corners_where_they_were():
    mesh = textured()
    file = Glb(glb(Node("box", mesh)))
    attributes, faces = file.mesh()
    assert set(attributes) == {"POSITION", "NORMAL", "TEXCOORD_0", "TANGENT"}
    assert np.array_equal(attributes["POSITION"][faces], mesh.vertices[mesh.faces].astype(np.float32))
    assert np.allclose(attributes["NORMAL"][faces], mesh.normals()[mesh.faces], atol=1e-6)
    uv = mesh.texture.uv[mesh.texture.corners]
    assert np.allclose(attributes["TEXCOORD_0"][faces], np.stack((uv[..., 0], 1 - uv[..., 1]), axis=-1), atol=1e-7)
    positions, normals = attributes["POSITION"], attributes["NORMAL"]
    up = attributes["TEXCOORD_0"] * (1, -1) + (0, 1)
    assert np.allclose(attributes["TANGENT"], tangents(positions, normals, up, faces.astype(np.int64)), atol=1e-5)
    surface = file.material()["pbrMetallicRoughness"]
    for index, picture in ((surface["baseColorTexture"]["index"], mesh.texture.color),
                           (file.material()["normalTexture"]["index"], mesh.texture.normal)):  # fmt: skip
        assert np.array_equal(np.array(Image.open(io.BytesIO(file.picture(index)))), picture)


def test_vertices_are_split_at_seams_alone():
    mesh = textured()
    whole = replace(mesh.texture, uv=np.ascontiguousarray(mesh.vertices[:, :2], np.float32), corners=mesh.faces)
    assert len(Glb(glb(Node("box", replace(mesh, texture=whole)))).mesh()[0]["POSITION"]) == 8
    assert len(Glb(glb(Node("box", mesh))).mesh()[0]["POSITION"]) == 36


def test_a_tree_keeps_names_extras_and_shares_its_pictures():
    file = Glb(glb(a_tree()))
    nodes = file.nodes()
    assert {name: node["above"] for name, node in nodes.items()} == {
        "all": None, "box": "all", "bäll": "all", "left": "box", "right": "box"
    }  # fmt: skip
    assert file.json["scenes"][0]["nodes"] == [0]
    assert file.json["nodes"][0]["name"] == "all"
    assert nodes["left"]["extras"] == {"node_id": 3}
    assert nodes["all"]["extras"] == {"kind": "toy"}
    assert "extras" not in nodes["right"]
    assert [name for name, node in nodes.items() if "mesh" in node] == ["bäll", "left", "right"]
    assert (len(file.json["images"]), len(file.json["materials"])) == (2, 2)


def test_trees_can_be_deep():
    root = at = Node("0")
    for k in range(1, 3000):
        at.children.append(Node(str(k)))
        at = at.children[0]
    nodes = Glb(glb(root)).nodes()
    assert nodes["2999"]["above"] == "2998"


def test_the_placement_is_recorded_and_done():
    turn = placement("y-up", 10.0, torch.tensor([0.0, 0, 1]))
    mesh = colored()
    file = Glb(glb(Node("ball", mesh), turn))
    assert file.json["scenes"][0]["extras"] == {"fieldlab": turn.record()}
    attributes, _ = file.mesh()
    assert np.allclose(attributes["POSITION"], 10 * mesh.vertices[:, [0, 2, 1]] * (1, 1, -1), atol=1e-5)
    assert np.allclose(attributes["NORMAL"], mesh.normals()[:, [0, 2, 1]] * (1, 1, -1), atol=1e-6)


@pytest.mark.parametrize("made", [a_tree, lambda: Node("box", textured()), lambda: Node("ball", colored())])
def test_a_reader_finds_the_same(made):
    root = made()
    scene = trimesh.load(io.BytesIO(glb(root)), file_type="glb", process=False)
    meshes, names = {}, []
    nodes = [root]
    for node in nodes:
        nodes += node.children
        names.append(node.name)
        if node.mesh is not None:
            meshes[node.name] = node.mesh
    assert set(names) <= set(scene.graph.nodes)
    assert set(scene.graph.nodes_geometry) == set(meshes)
    points = np.concatenate([mesh.vertices for mesh in meshes.values()])
    assert np.allclose(scene.bounds, (points.min(0), points.max(0)), atol=1e-6)
    for name, mesh in meshes.items():
        at, geometry = scene.graph[name]
        found = scene.geometry[geometry]
        assert np.allclose(at, np.eye(4))
        assert np.allclose(found.triangles, mesh.vertices[mesh.faces], atol=1e-6)
        if mesh.texture is not None:
            picture = found.visual.material.baseColorTexture
            assert np.array_equal(np.array(picture.convert("RGB")), mesh.texture.color)
            assert np.allclose(found.visual.uv[found.faces], mesh.texture.uv[mesh.texture.corners], atol=1e-6)


def test_meshes_without_directions_or_faces():
    mesh = colored()
    flat = Mesh(mesh.vertices, np.repeat(mesh.faces[:, :1], 3, axis=1), vertex_normals=np.zeros_like(mesh.vertices))
    attributes, _ = Glb(glb(Node("flat", flat))).mesh()
    assert np.allclose(np.linalg.norm(attributes["NORMAL"], axis=1), 1)
    assert "COLOR_0" not in attributes
    nothing = Glb(glb(Node("nothing", mesh.kept(np.zeros(len(mesh.faces), bool)))))
    assert nothing.json["nodes"] == [{"name": "nothing"}]
    assert nothing.binary == b""
    assert not {"meshes", "accessors", "bufferViews", "materials", "buffers"} & set(nothing.json)
    assert list(Glb(glb([])).json["scenes"][0]) == ["extras"]


def test_there_can_be_several_roots():
    file = Glb(glb([Node("a", None, {}, [Node("c")]), Node("b")]))
    assert file.json["scenes"][0]["nodes"] == [0, 1]
    assert {name: node["above"] for name, node in file.nodes().items()} == {"a": None, "b": None, "c": "a"}


def test_what_no_file_can_hold(monkeypatch):
    mesh = colored()
    with pytest.raises(ValueError):
        glb(Node("ball", replace(mesh, vertices=mesh.vertices * np.nan)))
    monkeypatch.setattr(gltf, "LARGEST", 1000)
    with pytest.raises(ValueError, match="4 GiB"):
        glb(Node("ball", mesh))


@pytest.mark.parametrize("kind", ["colored", "plain", "textured", "normals", "tree", "empty", "none"])
def test_the_validator_of_the_format_agrees(tmp_path: Path, kind):
    roots: dict[str, Node | list[Node]] = {
        "none": [], "empty": Node("no"), "tree": a_tree(),
        "colored": Node("ball", colored()), "plain": Node("ball", replace(colored(), colors=None)),
        "textured": Node("box", textured(normal_map=False)), "normals": Node("box", textured()),
    }  # fmt: skip
    turn = placement("z-up", 0.01, torch.tensor([0.3, 0.5, 0.8]))
    (tmp_path / "file.glb").write_bytes(glb(roots[kind], turn))
    assert_valid(tmp_path / "file.glb")
