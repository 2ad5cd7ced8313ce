"""Meshes in segments: a scene graph that is the hierarchy, groups of faces, or a label per face."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fieldlab.files import write_bytes
from fieldlab.mesh.cap import capped
from fieldlab.mesh.gltf import Node, glb
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.obj_file import write_obj
from fieldlab.mesh.placement import AS_IT_IS, Placement
from fieldlab.mesh.ply_file import mesh_ply
from fieldlab.mesh.write import check_parts_path
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.labels import Labeler

WORLD = "world"  # what readers call the scene itself


def leaves_of_faces(mesh: Mesh, labeler: Labeler) -> NDArray[np.int64]:
    """int64 [F]: row of the finest segment of each face; what is near none belongs to the root, or where there are
    several, to the nearest one."""
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


def parts_scene(mesh: Mesh, leaf: NDArray[np.int64], tree: Hierarchy) -> list[Node]:
    """The roots of a scene graph of those nodes of the tree that have faces at or below them, each leaf with its mesh.

    Extras of each are ``node_id``, ``birth`` and ``name``, as people gave it.

    Args:
        leaf: row of the segment of each face, [F].
    """
    # Faces of other segments around a vertex still say how the surface runs there.
    whole, names = replace(mesh, vertex_normals=mesh.normals()), node_names(tree)
    own = set(np.unique(leaf).tolist())
    nodes: dict[int, Node] = {}
    for row in tree.bottom_up():
        children = [nodes[child] for child in tree.children(row) if child in nodes]
        if row in own or children:
            extras = {"node_id": int(tree.ids[row]), "birth": float(tree.birth[row]), "name": tree.names[row]}
            nodes[row] = Node(names[row], whole.kept(leaf == row) if row in own else None, extras, children)
    return [node for row, node in sorted(nodes.items()) if tree.parent[row] < 0]


def closed_parts(mesh: Mesh, leaf: NDArray[np.int64]) -> tuple[Mesh, NDArray[np.int64]]:
    """A mesh in which every segment is closed by caps of its own and shares no vertices with others, and the rows of
    the segments of its faces.

    Args:
        leaf: row of the segment of each face, [F].
    """
    whole, rows = replace(mesh, vertex_normals=mesh.normals()), np.unique(leaf)
    pieces = [capped(whole.kept(leaf == row)) for row in rows]
    if not pieces:
        return mesh, leaf
    return _side_by_side(pieces), np.repeat(rows, [len(piece.faces) for piece in pieces])


def _side_by_side(pieces: list[Mesh]) -> Mesh:
    """Pieces of one mesh in another."""
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)])
    made = Mesh(np.concatenate([piece.vertices for piece in pieces]), faces)
    made.vertex_normals = np.concatenate([piece.normals() for piece in pieces])
    colors = [piece.colors for piece in pieces if piece.colors is not None]
    made.colors = np.concatenate(colors) if colors else None
    textures = [piece.texture for piece in pieces if piece.texture is not None]
    if textures:
        starts = np.cumsum([0, *(len(texture.uv) for texture in textures)])
        corners = np.concatenate([texture.corners + at for texture, at in zip(textures, starts, strict=False)])
        made.texture = replace(textures[0], uv=np.concatenate([texture.uv for texture in textures]), corners=corners)
    return made


def write_parts(
    path: str | Path, mesh: Mesh, leaf: NDArray[np.int64], tree: Hierarchy, placement: Placement = AS_IT_IS,
    closed: bool = False,
) -> None:  # fmt: skip
    """Write a mesh in segments: .glb with a node tree, .obj with groups, .ply with ``node`` int32 per face.

    Args:
        leaf: row of the segment of each face, [F].
        placement: from the mesh's coordinates to the file's.
        closed: close the holes of each segment, also those that its neighbors leave.

    Raises:
        ConfigError: the suffix is unknown or of a format without segments, or a folder is in the place of the file.
        RunFolderError: a file cannot be written.
        ValueError: a .glb is larger than the format can hold (4 GiB).
    """
    path = Path(path)
    check_parts_path(path)
    if closed:
        mesh, leaf = closed_parts(mesh, leaf)
    suffix = path.suffix.lower()
    if suffix == ".obj":
        groups = {name: leaf == row for row, name in _group_names(leaf, tree).items()}
        write_obj(path, mesh, placement, groups)
    elif suffix == ".glb":
        write_bytes(path, glb(parts_scene(mesh, leaf, tree), placement))
    else:
        write_bytes(path, mesh_ply(mesh, placement, tree.ids.numpy()[leaf]))


def _group_names(leaf: NDArray[np.int64], tree: Hierarchy) -> dict[int, str]:
    """For the row of every segment with faces all names from the root down, so that tools that know hierarchies of
    groups find one."""
    names = _told_apart([name.replace(" ", "_") for name in node_names(tree)], tree.ids.tolist())
    made = {}
    for row in np.unique(leaf).tolist():
        path, at = [], row
        while at >= 0:
            path.append(names[at])
            at = int(tree.parent[at])
        made[row] = " ".join(reversed(path))
    return made
