"""Meshes in parts open with the tree they were written with."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from fieldlab.errors import ConfigError
from fieldlab.export.parts import closed_parts, leaves_of_faces, node_names, parts_scene, write_parts
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.placement import placement
from fieldlab.segment.hierarchy import Hierarchy, palette
from fieldlab.segment.labels import Labeler
from tests.mesh.glb_bytes import Glb, assert_valid
from tests.mesh.textured import textured

# 0 "toy" over 1 "body" and 2 "lid"; 1 over 3 and 4, both called "wheel".
PARENT = torch.tensor([-1, 0, 0, 1, 1])


def hierarchy() -> Hierarchy:
    ids = torch.tensor([0, 1, 2, 7, 9], dtype=torch.int32)
    centers = torch.tensor([[0.0, 0, 0], [2, 0, 0], [4, 0, 0]])
    points = (centers[:, None] + 0.2 * torch.rand(3, 50, 3, generator=torch.Generator().manual_seed(0))).view(-1, 3)
    leaf = torch.tensor([2, 3, 4]).repeat_interleave(50)
    names = ["toy", "body", "lid", "wheel", "wheel"]
    return Hierarchy(ids, PARENT, torch.tensor([0.9, 0.5, 0.1, 0.1, 0.1]), names, palette(ids), points, leaf)


def mesh() -> Mesh:
    """Three boxes around the three parts' points."""
    boxes = [trimesh.creation.box(extents=(0.3,) * 3).apply_translation((x + 0.1, 0.1, 0.1)) for x in (0, 2, 4)]
    whole = trimesh.util.concatenate(boxes)
    colors = np.random.default_rng(0).integers(0, 255, (len(whole.vertices), 3), dtype=np.uint8)
    return Mesh(np.asarray(whole.vertices, float), np.asarray(whole.faces), colors)


@pytest.fixture
def parts():
    tree, made = hierarchy(), mesh()
    return made, leaves_of_faces(made, Labeler(tree)), tree


def test_faces_belong_to_the_part_they_are_near(parts):
    made, leaf, _ = parts
    assert leaf.tolist() == [2] * 12 + [3] * 12 + [4] * 12
    far = Mesh(made.vertices + 100, made.faces, made.colors)
    assert set(leaves_of_faces(far, Labeler(hierarchy())).tolist()) == {0}
    roots = hierarchy()
    roots.parent = torch.tensor([-1, -1, -1, 1, 1])  # the toy fell apart
    assert set(leaves_of_faces(far, Labeler(roots)).tolist()) == {4}


def test_names_are_told_apart(parts):
    assert node_names(parts[2]) == ["toy", "body", "lid", "wheel_7", "wheel_9"]


def test_names_differ_whatever_people_call_parts(parts, tmp_path):
    made, leaf, tree = parts
    tree.names[:] = ["world", "the lid\nf 1 1 1", "the_lid_f_1_1_1", "the_lid_f_1_1_1_1", " "]
    assert node_names(tree) == ["world_0", "the lid f 1 1 1", "the_lid_f_1_1_1", "the_lid_f_1_1_1_1", "part_9"]
    write_parts(tmp_path / "parts.obj", made, leaf, tree)
    lines = (tmp_path / "parts.obj").read_text().splitlines()
    assert sum(line.startswith("f ") for line in lines) == len(made.faces)
    groups = [line.split()[1:] for line in lines if line.startswith("g ")]
    assert [len(path) for path in groups] == [2, 3, 3]
    assert len({name for path in groups for name in path}) == 5
    tree.names[:] = ["wheel_9_9", "wheel_9", "lid", "wheel", "wheel"]  # what is put behind meets a name
    assert len(set(node_names(tree))) == 5


def test_a_glb_opens_with_the_tree_as_its_scene_graph(parts, tmp_path):
    write_parts(tmp_path / "parts.glb", *parts)
    scene = trimesh.load(tmp_path / "parts.glb")
    above = dict(scene.graph.transforms.parents)
    assert above["toy"] == "world"
    assert above["body"] == above["lid"] == "toy"
    assert above["wheel_7"] == above["wheel_9"] == "body"
    assert sorted(scene.graph.nodes_geometry) == ["lid", "wheel_7", "wheel_9"]
    for name, x in (("lid", 0), ("wheel_7", 2), ("wheel_9", 4)):
        transform, geometry = scene.graph[name]
        part = scene.geometry[geometry]
        assert np.allclose(transform, np.eye(4))
        assert len(part.faces) == 12
        assert np.allclose(part.centroid, (x + 0.1, 0.1, 0.1), atol=1e-4)
    assert scene.graph.transforms.edge_data["body", "wheel_7"]["metadata"]["node_id"] == 7


def test_parts_that_no_face_shows_are_left_out(parts):
    made, leaf, tree = parts
    only = made.kept(leaf == 2)
    (root,) = parts_scene(only, leaf[leaf == 2], tree)
    assert root.name == "toy"
    assert [child.name for child in root.children] == ["lid"]
    assert parts_scene(only.kept(leaf[leaf == 2] < 0), leaf[:0], tree) == []


def test_an_obj_has_groups(parts, tmp_path):
    write_parts(tmp_path / "parts.obj", *parts)
    text = (tmp_path / "parts.obj").read_text()
    assert [line for line in text.splitlines() if line.startswith("g ")] == [
        "g toy lid", "g toy body wheel_7", "g toy body wheel_9"
    ]  # fmt: skip
    loaded = trimesh.load(tmp_path / "parts.obj", process=False, force="mesh")
    assert len(loaded.faces) == 36


def test_a_ply_has_a_node_per_face(parts, tmp_path):
    write_parts(tmp_path / "parts.ply", *parts)
    loaded = trimesh.load(io.BytesIO((tmp_path / "parts.ply").read_bytes()), file_type="ply", process=False)
    assert np.allclose(loaded.vertices, parts[0].vertices, atol=1e-5)
    assert (loaded.faces == parts[0].faces).all()
    found = loaded.metadata["_ply_raw"]["face"]["data"]["node"]
    assert np.asarray(found).ravel().tolist() == [2] * 12 + [7] * 12 + [9] * 12
    with pytest.raises(ConfigError, match="kind of file"):
        write_parts(tmp_path / "parts.stl", *parts)


def test_names_stay_in_the_extras_as_people_gave_them(parts, tmp_path):
    made, leaf, tree = parts
    tree.names[:] = ["world", "b\nody", "Deckel «ü»", "wheel", "wheel"]
    write_parts(tmp_path / "parts.glb", made, leaf, tree)
    nodes = Glb((tmp_path / "parts.glb").read_bytes()).nodes()
    assert {name: node["extras"]["name"] for name, node in nodes.items()} == dict(
        zip(node_names(tree), tree.names, strict=True)
    )
    assert nodes["wheel_7"]["extras"] == {"node_id": 7, "birth": pytest.approx(0.1), "name": "wheel"}
    assert "mesh" not in nodes["b ody"]
    scene = trimesh.load(tmp_path / "parts.glb")
    assert scene.graph.transforms.parents["world_0"] == "world"
    assert_valid(tmp_path / "parts.glb")


def test_several_roots_stay_roots(parts, tmp_path):
    made, leaf, tree = parts
    tree.parent = torch.tensor([-1, -1, -1, 1, 1])
    write_parts(tmp_path / "parts.glb", made, leaf, tree)
    nodes = Glb((tmp_path / "parts.glb").read_bytes()).nodes()
    assert {name: node["above"] for name, node in nodes.items()} == {
        "body": None, "lid": None, "wheel_7": "body", "wheel_9": "body"
    }  # fmt: skip
    scene = trimesh.load(tmp_path / "parts.glb")
    assert scene.graph.transforms.parents["body"] == "world"
    assert scene.graph.transforms.parents["lid"] == "world"
    assert_valid(tmp_path / "parts.glb")


def split_box(closed: bool, tmp_path: Path, suffix: str = ".glb") -> tuple[Mesh, np.ndarray, Hierarchy, Path]:
    """A textured box whose halves are two parts of one object, in a file."""
    made, tree = textured(), hierarchy()
    leaf = np.where(made.vertices[made.faces][..., 0].mean(1) < 0, 3, 4)
    path = tmp_path / f"box{suffix}"
    write_parts(path, made, leaf, tree, placement("y-up", 2.0), closed)
    return made, leaf, tree, path


@pytest.mark.parametrize("closed", [False, True])
def test_textured_parts_share_their_pictures(tmp_path, closed):
    made, leaf, _, path = split_box(closed, tmp_path)
    file = Glb(path.read_bytes())
    assert (len(file.json["images"]), len(file.json["materials"]), len(file.json["meshes"])) == (2, 1, 2)
    for index, row in enumerate((3, 4)):
        attributes, faces = file.mesh(index)
        turned = placement("y-up", 2.0).points(made.vertices)
        count = (leaf == row).sum()
        assert (len(faces) > count) == closed
        assert np.allclose(attributes["POSITION"][faces[:count]], turned[made.faces[leaf == row]], atol=1e-6)
        normals = placement("y-up", 2.0).directions(made.normals())[made.faces[leaf == row]]
        assert np.allclose(attributes["NORMAL"][faces[:count]], normals, atol=1e-6)  # no crease between parts
        if closed:
            whole = trimesh.Trimesh(attributes["POSITION"], faces)
            whole.merge_vertices(merge_tex=True, merge_norm=True)
            assert whole.is_watertight
    assert_valid(path)


def test_closed_parts_are_closed_in_every_format(tmp_path):
    made, leaf, tree, path = split_box(True, tmp_path, ".obj")
    mesh, rows = closed_parts(made, leaf)
    for row in (3, 4):
        part = mesh.kept(rows == row)
        assert trimesh.Trimesh(part.vertices, part.faces, process=False).is_watertight
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.startswith("g ")] == ["g toy body wheel_7", "g toy body wheel_9"]
    faces = np.array([[corner.split("/") for corner in line.split()[1:]] for line in lines if line[:2] == "f "], int)
    assert np.array_equal(faces[..., 0] - 1, mesh.faces)
    assert np.array_equal(faces[..., 1] - 1, mesh.texture.corners)
    assert (tmp_path / "box.png").is_file()
    *_, path = split_box(True, tmp_path, ".ply")
    loaded = trimesh.load(path, process=False)
    assert np.array_equal(loaded.metadata["_ply_raw"]["face"]["data"]["node"].ravel(), tree.ids.numpy()[rows])
    assert loaded.is_watertight


def test_nothing_can_be_closed():
    nothing = mesh().kept(np.zeros(36, dtype=bool))
    assert len(closed_parts(nothing, np.zeros(0, dtype=np.int64))[0].faces) == 0
