"""Meshes in parts: a scene graph that is the hierarchy, groups of faces, or a label per face."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from fieldlab.export.mesh import Mesh
from fieldlab.export.mesh_files import check_mesh_path
from fieldlab.files import write_bytes
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.labels import Labeler

WORLD = "world"


def leaves_of_faces(mesh: Mesh, labeler: Labeler) -> NDArray[np.int64]:
    """int64 [F]: row of the finest part of each face; what no part is near belongs to the root, or where there are
    several, to the nearest part."""
    centers = mesh.vertices[mesh.faces].mean(1)
    roots = (labeler.hierarchy.parent < 0).nonzero()[:, 0]
    leaf = labeler.leaves(torch.from_numpy(centers).float(), anywhere=len(roots) > 1).numpy()
    return np.where(leaf >= 0, leaf, int(roots[0]))


def node_names(tree: Hierarchy) -> list[str]:
    """A name on one line for every row that no other has: its own, with the id behind it where several share it."""
    ids = tree.ids.tolist()
    return _told_apart([" ".join(name.split()) or f"part_{i}" for name, i in zip(tree.names, ids, strict=True)], ids)


def _told_apart(names: list[str], ids: list[int]) -> list[str]:
    """Names with the id behind each that several share, or the world has, until all differ."""
    count = Counter([*names, WORLD])
    if len(count) > len(names):
        return names
    return _told_apart([f"{name}_{i}" if count[name] > 1 else name for name, i in zip(names, ids, strict=True)], ids)


def parts_scene(mesh: Mesh, leaf: NDArray[np.int64], tree: Hierarchy) -> trimesh.Scene:
    """A scene whose nodes are those of the tree that have faces at or below them, each leaf with its own mesh."""
    names = node_names(tree)
    has_faces = np.zeros(len(names), bool)
    has_faces[np.unique(leaf)] = True
    for row in tree.bottom_up():
        above = int(tree.parent[row])
        if above >= 0:
            has_faces[above] |= has_faces[row]
    scene = trimesh.Scene(base_frame=WORLD)
    for row in reversed(tree.bottom_up()):
        if not has_faces[row]:
            continue
        above = int(tree.parent[row])
        parent = WORLD if above < 0 else names[above]
        extras = {"node_id": int(tree.ids[row]), "birth": float(tree.birth[row])}
        own = leaf == row
        if own.any():
            scene.add_geometry(mesh.kept(own).to_trimesh(), names[row], f"{names[row]}_mesh", parent, metadata=extras)
        else:
            scene.graph.update(frame_to=names[row], frame_from=parent, matrix=np.eye(4), metadata=extras)
    return scene


def write_parts(path: str | Path, mesh: Mesh, leaf: NDArray[np.int64], tree: Hierarchy) -> None:
    """Write a mesh in parts: .glb with a node tree, .obj with groups, .ply with ``node`` int32 per face.

    Raises:
        ConfigError: the suffix is unknown.
        RunFolderError: the file cannot be written.
    """
    path = Path(path)
    check_mesh_path(path)
    if path.suffix.lower() == ".glb":
        data = parts_scene(mesh, leaf, tree).export(file_type="glb", include_normals=True)
        assert isinstance(data, bytes)
    elif path.suffix.lower() == ".obj":
        data = _obj(mesh, leaf, tree).encode()
    else:
        data = _ply(mesh, tree.ids.numpy()[leaf])
    write_bytes(path, data)


def _obj(mesh: Mesh, leaf: NDArray[np.int64], tree: Hierarchy) -> str:
    """Groups named by all names from the root down, so that tools that know hierarchies of groups find one."""
    names = _told_apart([name.replace(" ", "_") for name in node_names(tree)], tree.ids.tolist())
    colors = np.zeros((len(mesh.vertices), 0)) if mesh.colors is None else mesh.colors / 255
    rows = np.concatenate((mesh.vertices, colors), axis=1)
    lines = ["v " + " ".join(f"{value:.8g}" for value in row) for row in rows]
    for row in np.unique(leaf).tolist():
        path, at = [], row
        while at >= 0:
            path.append(names[at])
            at = int(tree.parent[at])
        lines.append("g " + " ".join(reversed(path)))
        lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces[leaf == row] + 1).tolist()]
    return "\n".join(lines) + "\n"


def _ply(mesh: Mesh, nodes: NDArray[np.int32]) -> bytes:
    vertex = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    vertices = np.zeros(len(mesh.vertices), vertex)
    for k, name in enumerate("xyz"):
        vertices[name] = mesh.vertices[:, k]
    for k, name in enumerate(("red", "green", "blue")):
        vertices[name] = 255 if mesh.colors is None else mesh.colors[:, k]
    faces = np.zeros(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3), ("node", "<i4")])
    faces["count"], faces["corners"], faces["node"] = 3, mesh.faces, nodes
    header = "\n".join([
        "ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}",
        *(f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in vertex),
        f"element face {len(faces)}", "property list uchar int vertex_indices", "property int node", "end_header\n",
    ])  # fmt: skip
    return header.encode() + vertices.tobytes() + faces.tobytes()
