"""Closing the holes of a mesh with sheets that go on in the colors of their rims."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from fieldlab.data.graph import components
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.sheet import sheet

MENDINGS = 3  # rounds; a sheet can touch another one again


def capped(mesh: Mesh) -> Mesh:
    """The mesh with all its holes closed, so that it bounds a solid.

    Vertices in which separate fans of faces meet become one vertex for each, and faces whose corners are not three
    vertices go; after that every hole has a rim of its own, which a smooth sheet spans. Colors spread over it from the
    rim. On a texture each face of it has the one color of the nearest vertex of the rim, for there is no place for it
    on the pictures. The faces of the mesh come first, in their order.

    Args:
        mesh: faces around an edge must be turned alike, as those of a surface are.
    """
    a, b, c = mesh.faces.T
    mesh = mesh.kept((a != b) & (b != c) & (c != a))
    mesh, edges, _ = _with_single_fans(mesh)
    if not len(edges):
        return mesh
    return _spanned(mesh, edges, None)


def mended(mesh: Mesh) -> Mesh:
    """The mesh without edges of more than two faces, such as collapsing edges leaves where two sheets touch: the faces
    around them go, and the holes they leave are closed. Other holes stay as they are."""
    for _ in range(MENDINGS):
        crowded = _crowded(mesh)
        if not crowded.any():
            break
        bad = crowded[mesh.faces].any(1)
        beside = np.zeros(len(mesh.vertices), dtype=bool)
        beside[mesh.faces[bad]] = True
        used = np.zeros(len(mesh.vertices), dtype=bool)
        used[mesh.faces[~bad]] = True
        mesh, edges, origin = _with_single_fans(mesh.kept(~bad))
        if len(edges):
            mesh = _spanned(mesh, edges, beside[used][origin])
    return mesh


def _crowded(mesh: Mesh) -> np.ndarray:
    """bool [V]: vertices of edges that more than two faces have, or two that disagree about which side is outside."""
    start, end = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    found = np.zeros(len(mesh.vertices), dtype=bool)
    directed, whole = start * len(found) + end, np.minimum(start, end) * len(found) + np.maximum(start, end)
    for key, most in ((directed, 1), (whole, 2)):
        _, first, counts = np.unique(key, return_index=True, return_counts=True)
        edges = first[counts > most]
        found[start[edges]] = found[end[edges]] = True
    return found


def _spanned(mesh: Mesh, edges: np.ndarray, within: np.ndarray | None) -> Mesh:
    """The mesh with its rims spanned; only with those whose vertices all are ``within`` (bool [V]) if that is given."""
    start, end = mesh.faces.ravel()[edges], np.roll(mesh.faces, -1, axis=1).ravel()[edges]
    values = mesh.vertices if mesh.colors is None else np.hstack((mesh.vertices, mesh.colors))
    count, faces, nearest, added = len(values), [mesh.faces], [], []
    for rim in _rims(start, end):
        if within is not None and not within[rim].all():
            continue
        triangles, inner = sheet(values[rim])
        names = np.concatenate((rim, count + np.arange(len(inner))))
        count += len(inner)
        faces.append(names[triangles])
        added.append(inner)
        if mesh.texture is not None:
            centers = np.concatenate((values[rim], inner))[triangles, :3].mean(1)
            nearest.append(rim[cKDTree(values[rim, :3]).query(centers)[1]])
    if not added:
        return mesh
    made = _with(mesh, np.concatenate(added), np.concatenate(faces))
    if mesh.texture is not None:
        place = np.zeros(len(mesh.vertices), dtype=np.int64)  # rows of uv along the rims
        place[start] = mesh.texture.corners.ravel()[edges]
        new = np.repeat(place[np.concatenate(nearest)][:, None], 3, axis=1)
        made.texture = replace(mesh.texture, corners=np.concatenate((mesh.texture.corners, new)))
    return made


def _with(mesh: Mesh, added: np.ndarray, faces: np.ndarray) -> Mesh:
    """The mesh with other faces and with further vertices [M,3|6] (and colors), without the texture."""
    made = Mesh(np.concatenate((mesh.vertices, added[:, :3])), faces)
    if mesh.colors is not None:
        shades = np.clip(np.rint(added[:, 3:]), 0, 255).astype(np.uint8)
        made.colors = np.concatenate((mesh.colors, shades))
    if mesh.vertex_normals is not None:
        inner = made.normals()[len(mesh.vertices) :].astype(mesh.vertex_normals.dtype)
        made.vertex_normals = np.concatenate((mesh.vertex_normals, inner))
    return made


def _with_single_fans(mesh: Mesh) -> tuple[Mesh, np.ndarray, np.ndarray]:
    """The mesh with a vertex for every fan of faces that hang together by edges, and its edges that have no neighbor.

    An edge goes from a corner to the next one of its face; it is named by that corner, counted three a face.

    Returns:
        the mesh; int64 [E] edges; int64 [V], the vertex that each of its vertices was.
    """
    twin = _twins(mesh.faces, len(mesh.vertices))
    sides = np.arange(len(twin))
    after = sides - sides % 3 + (sides + 1) % 3
    met = twin >= 0
    # Of two faces at an edge, one starts it at the vertex at which the other ends it.
    fan = components(len(twin), np.stack((sides[met], after[twin[met]]), axis=1))
    _, first, fan = np.unique(fan, return_index=True, return_inverse=True)
    order = np.argsort(mesh.faces.ravel()[first], kind="stable")
    row = np.empty_like(order)
    row[order] = np.arange(len(order))
    origin = mesh.faces.ravel()[first][order]
    split = replace(
        mesh, vertices=mesh.vertices[origin], faces=row[fan.ravel()].reshape(-1, 3),
        colors=None if mesh.colors is None else mesh.colors[origin],
        vertex_normals=None if mesh.vertex_normals is None else mesh.vertex_normals[origin],
    )  # fmt: skip
    return split, np.flatnonzero(~met), origin


def _twins(faces: np.ndarray, count: int) -> np.ndarray:
    """int64 [3F]: for every edge of a face the same edge of another that goes the other way, or -1.

    Where more than two faces meet, edges are paired in the order of their faces.
    """
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    forward = start < end
    key = np.minimum(start, end) * count + np.maximum(start, end)
    order = np.lexsort((forward, key))
    kind = 2 * key[order] + forward[order]
    new = np.diff(kind, prepend=-1) != 0
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.flatnonzero(new)[np.cumsum(new) - 1]
    order = np.lexsort((forward, rank, key))
    one, other = order[:-1], order[1:]
    pair = (key[one] == key[other]) & (rank[one] == rank[other])
    twin = np.full(len(order), -1, dtype=np.int64)
    twin[one[pair]], twin[other[pair]] = other[pair], one[pair]
    return twin


def _rims(start: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
    """The closed ways that edges without neighbor make, against their direction: that of the faces to come."""
    following = dict(zip(end.tolist(), start.tolist(), strict=True))
    rims = []
    while following:
        first, at = following.popitem()
        rim = [first]
        while at != first:
            rim.append(at)
            at = following.pop(at)
        rims.append(np.array(rim))
    return rims
