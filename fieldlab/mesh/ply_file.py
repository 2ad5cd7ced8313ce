"""Binary PLY: meshes and point clouds in one format that keeps a value of any kind per vertex and per face."""

from __future__ import annotations

import numpy as np

from fieldlab.mesh.mesh import Mesh, Texture
from fieldlab.mesh.placement import AS_IT_IS, Placement

TYPES = {"f4": "float", "u1": "uchar", "i4": "int"}
LIST = np.dtype([("count", "u1"), ("rows", "<i4", 3)])  # how PLY stores the corners of a triangle


def ply(placement: Placement = AS_IT_IS, **elements: np.ndarray) -> bytes:
    """A file of elements, each a structured array with a field per property; the placement is a comment in it.

    Args:
        elements: their names and rows; fields are float32, uint8, int32 or :data:`LIST`, little endian.
    """
    lines = ["ply", "format binary_little_endian 1.0", f"comment {placement.comment()}"]
    for name, rows in elements.items():
        lines.append(f"element {name} {len(rows)}")
        for field in rows.dtype.names or ():
            kind = rows.dtype[field]
            lines.append(f"property {'list uchar int' if kind == LIST else TYPES[kind.str[1:]]} {field}")
    header = "\n".join([*lines, "end_header\n"]).encode("ascii")
    return b"".join([header, *(rows.tobytes() for rows in elements.values())])


def vertex_rows(
    positions: np.ndarray, normals: np.ndarray, colors: np.ndarray | None, **extra: np.ndarray | None
) -> np.ndarray:
    """Rows of vertices: float32 x y z nx ny nz, uint8 red green blue where there are colors, and what else is given.

    Args:
        positions, normals: [P,3].
        colors: uint8 [P,3] sRGB, or None.
        extra: further values [P], stored as int32 when they are integers and as float32 otherwise; None for none.
    """
    columns = [(name, "<f4", positions[:, k]) for k, name in enumerate("xyz")]
    columns += [(f"n{name}", "<f4", normals[:, k]) for k, name in enumerate("xyz")]
    if colors is not None:
        columns += [(name, "|u1", colors[:, k]) for k, name in enumerate(("red", "green", "blue"))]
    for name, values in extra.items():
        if values is not None:
            columns.append((name, "<i4" if values.dtype.kind in "iu" else "<f4", values))
    rows = np.empty(len(positions), [(name, kind) for name, kind, _ in columns])
    for name, _, values in columns:
        rows[name] = values
    return rows


def mesh_ply(mesh: Mesh, placement: Placement = AS_IT_IS, nodes: np.ndarray | None = None) -> bytes:
    """The file of a mesh with vertex normals and colors; a texture is given as the colors it has at the vertices.

    Args:
        placement: from the mesh's coordinates to the file's.
        nodes: ids of the parts that faces belong to, int32 [F], or None.
    """
    colors = texture_colors(mesh.texture, mesh) if mesh.colors is None and mesh.texture is not None else mesh.colors
    placed = placement.mesh(mesh)
    kinds = [("vertex_indices", LIST)] + ([] if nodes is None else [("node", np.dtype("<i4"))])
    faces = np.empty(len(mesh.faces), kinds)
    faces["vertex_indices"]["count"], faces["vertex_indices"]["rows"] = 3, mesh.faces
    if nodes is not None:
        faces["node"] = nodes
    return ply(placement, vertex=vertex_rows(placed.vertices, placed.normals(), colors), face=faces)


def texture_colors(texture: Texture, mesh: Mesh) -> np.ndarray:
    """uint8 [V,3]: what a texture shows at the vertices, the mean where a vertex lies at several places of it."""
    height, width = texture.color.shape[:2]
    column = np.clip((texture.uv[:, 0] * width).astype(np.int64), 0, width - 1)
    row = np.clip(((1 - texture.uv[:, 1]) * height).astype(np.int64), 0, height - 1)
    shown = texture.color[row, column][texture.corners.ravel()]
    corners, count = mesh.faces.ravel(), len(mesh.vertices)
    total = np.stack([np.bincount(corners, shown[:, k], count) for k in range(3)], axis=1)
    return np.rint(total / np.maximum(np.bincount(corners, minlength=count), 1)[:, None]).astype(np.uint8)
