"""What a page says of a hierarchy: the nodes that have faces, their sizes, and the cuts a slider goes through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fieldlab.export.parts import node_names
from fieldlab.mesh.mesh import Mesh
from fieldlab.segment.hierarchy import APART, Hierarchy

MOST_LEVELS = 256
LARGE = 0.005  # share of the whole area from which a segment counts when the first level is chosen
FEW = 12  # most large segments at the first level
GRAY = [158, 160, 164]  # of what is of no segment


def parts_facts(mesh: Mesh, leaf: NDArray[np.int64], tree: Hierarchy) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """The nodes with faces at or below them, parents before children, as JSON takes them.

    Args:
        mesh: F faces.
        leaf: int64 [F], row of the finest segment of each face.
        tree: whose nodes without faces are left out.

    Returns:
        The facts, and int64 [F]: each face's place in the list of nodes. Faces that a node has besides its children's
        are a node of their own without an id, the rest, so that all faces are of nodes without children.
    """
    order = _rows_with_faces(leaf, tree)
    nodes, place = _nodes(order, tree)
    inner = np.unique(tree.parent[order].clamp_min(0)[tree.parent[order] >= 0].numpy())
    for row in np.intersect1d(inner, leaf).tolist():
        above = nodes[place[row]]
        nodes.append({"id": None, "name": f"rest of {above['name']}", "color": GRAY, "parent": int(place[row]),
                      "birth": 0.0})  # fmt: skip
        place[row] = len(nodes) - 1
    row_of_face = place[leaf]
    area = _measure(mesh, row_of_face, nodes)
    levels, first = _levels(tree, leaf, area[place])
    return {"nodes": nodes, "levels": levels, "level": first}, row_of_face


def _rows_with_faces(leaf: NDArray[np.int64], tree: Hierarchy) -> list[int]:
    has_faces = np.zeros(len(tree.ids), bool)
    has_faces[leaf] = True
    upwards, parent = tree.bottom_up(), tree.parent.tolist()
    for row in upwards:
        if parent[row] >= 0:
            has_faces[parent[row]] |= has_faces[row]
    return [row for row in reversed(upwards) if has_faces[row]]


def _nodes(order: list[int], tree: Hierarchy) -> tuple[list[dict[str, Any]], NDArray[np.int64]]:
    """Rows ``order`` of a tree, and where each row of the tree is among them."""
    place = np.full(len(tree.ids) + 1, -1)  # the last is that of the parent of roots
    place[order] = np.arange(len(order))
    names = node_names(tree)
    nodes = [
        {"id": int(tree.ids[row]), "name": names[row], "color": tree.colors[row].tolist(),
         "parent": int(place[tree.parent[row]]), "birth": float(tree.birth[row])}
        for row in order
    ]  # fmt: skip
    return nodes, place[:-1]


def _measure(mesh: Mesh, row: NDArray[np.int64], nodes: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Put the area and the box of its own faces into every node (None where it has none); the areas [M] again."""
    corners = mesh.vertices[mesh.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    area = np.bincount(row, areas, len(nodes)).astype(np.float64)
    low, high = np.full((len(nodes), 3), np.inf), np.full((len(nodes), 3), -np.inf)
    np.minimum.at(low, row, corners.min(1))
    np.maximum.at(high, row, corners.max(1))
    for at, node in enumerate(nodes):
        has_faces = np.isfinite(low[at, 0])
        node |= {"area": float(area[at]), "box": [low[at].tolist(), high[at].tolist()] if has_faces else None}
    return area


def _levels(tree: Hierarchy, leaf: NDArray[np.int64], area: NDArray[np.float64]) -> tuple[list[float], int]:
    """Thresholds of the cuts that differ on the faces, coarse first, and which to begin with: the finest of few large
    segments. ``area`` [M] of the rows of the tree.

    What is born where nothing connects any more (``APART``) is the whole scene, which is no level of its own.
    """
    births = tree.birth[tree.birth < APART]
    births = torch.cat((births.new_zeros(1), births)).unique().flip(0)
    if len(births) > MOST_LEVELS:
        births = births[torch.linspace(0, len(births) - 1, MOST_LEVELS).round().long()]
    rows = np.unique(leaf)
    share = area[rows] / max(area[rows].sum(), 1e-300)
    levels: list[float] = []
    first, parts_before, few = 0, 0, True
    for threshold in torch.nextafter(births, torch.tensor(torch.inf)).tolist():
        found, part = np.unique(tree.cut(threshold).numpy()[rows], return_inverse=True)
        if len(found) == parts_before:
            continue
        few = few and bool((np.bincount(part, share) >= LARGE).sum() <= FEW)  # finer, large ones turn into small ones
        first = len(levels) if few else first
        levels.append(threshold)
        parts_before = len(found)
    return levels, first
