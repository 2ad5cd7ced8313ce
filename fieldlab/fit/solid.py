"""A triangle mesh as a solid: read, normalized, and asked for signed distances and points on its surface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import igl
import numpy as np
import trimesh

from fieldlab.errors import ConfigError, DataError
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.queries import Topology, nearest_on, pieces, point_chunks, topology

RADIUS = 0.99  # of the normalized mesh, in the cube [-1,1]^3
SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".gltf", ".off")


@dataclass(frozen=True)
class Placement:
    """Where a normalized mesh came from: original = normalized * scale + center."""

    center: tuple[float, float, float]
    scale: float

    def normalized(self, points: np.ndarray) -> np.ndarray:
        """[P,3] in the file's units -> in [-1,1]^3."""
        return (points - np.asarray(self.center)) / self.scale

    def original(self, points: np.ndarray) -> np.ndarray:
        """The inverse of ``normalized``."""
        return points * self.scale + np.asarray(self.center)


class Solid:
    """A mesh whose largest distance from the middle of its bounding box is 0.99.

    Distances are exact (libigl's tree of boxes); inside is where the generalized winding number (Jacobson et al. 2013,
    in the fast approximation of Barill et al. 2018) passes one half. Faces that bound a negative volume are turned.
    """

    def __init__(self, mesh: Mesh) -> None:
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        center = (low + high) / 2
        scale = float(np.linalg.norm(mesh.vertices - center, axis=1).max()) / RADIUS
        x, y, z = center.tolist()
        self.placement = Placement((x, y, z), scale)
        vertices = self.placement.normalized(mesh.vertices)
        self.mesh = turned_outward(Mesh(vertices, mesh.faces))

    def topology(self) -> Topology:
        """Whether the mesh bounds a volume."""
        return topology(self.mesh.faces)

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance float64 [P] to the surface and the nearest face int64 [P], of points float64 [P,3]."""
        return nearest_on(self.mesh, points)

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Whether points [P,3] are inside, bool [P]."""
        vertices, faces = self.mesh.vertices, self.mesh.faces
        parts = [igl.fast_winding_number(vertices, faces, part) > 0.5 for part in point_chunks(points)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)

    def signed_distance(self, points: np.ndarray) -> np.ndarray:
        """Distance [P] of points [P,3] to the surface, negative inside."""
        distance, _ = self.nearest(points)
        return np.where(self.inside(points), -distance, distance)


def turned_outward(mesh: Mesh) -> Mesh:
    """The mesh with the faces of every piece, but for those of holes, turned to the outside.

    A piece of negative volume inside an odd number of others is a hole (the inner wall of a hollow shell) and stays.
    """
    piece = pieces(mesh.faces)
    volume = np.bincount(piece, weights=np.linalg.det(mesh.vertices[mesh.faces]))  # six times
    faces = mesh.faces.copy()
    if volume.sum() < 0:
        faces, volume = np.ascontiguousarray(faces[:, ::-1]), -volume
    for k in np.flatnonzero(volume < 0):
        others = [j for j in np.flatnonzero(volume) if j != k]
        point = mesh.vertices[faces[piece == k][:1, 0]]
        around = sum(
            abs(float(igl.fast_winding_number(mesh.vertices, np.ascontiguousarray(faces[piece == j]), point)[0])) > 0.5
            for j in others
        )
        if around % 2 == 0:
            faces[piece == k] = faces[piece == k][:, ::-1]
    return Mesh(mesh.vertices, faces)


def read_solid(path: Path, sign: str) -> Solid:
    """Read a mesh as a solid.

    Args:
        sign: ``closed`` asks for a mesh that bounds a volume, ``filled`` for one that does once its holes are filled,
            ``winding`` takes any.

    Raises:
        DataError: the file is missing, no mesh, empty, or not closed while it has to be.
        ConfigError: the suffix is of no mesh format that can be read.
    """
    mesh = read_mesh(path)
    solid = Solid(fill_holes(mesh) if sign == "filled" else mesh)
    topology = solid.topology()
    if sign != "winding" and not topology.closed:
        winding = "let the generalized winding number decide what is inside: --sign winding"
        hint = winding if sign == "filled" else f"fill its holes: --sign filled, or {winding}"
        raise DataError(
            "this mesh does not bound a volume, so that distances to it have no sign", file=path,
            found=topology.describe() + (" after its holes were filled" if sign == "filled" else ""),
            expected="a closed surface", hint=hint,
        )  # fmt: skip
    return solid


def fill_holes(mesh: Mesh) -> Mesh:
    """The mesh with a fan of triangles over every loop of open edges; as it is where they form no loops."""
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    try:
        fans = np.asarray(trimesh.repair.stitch(made), dtype=np.int64).reshape(-1, 3)
    except ValueError:  # trimesh's way of saying that there is no loop
        return mesh
    return Mesh(mesh.vertices, np.concatenate((mesh.faces, fans)))


def read_mesh(path: Path) -> Mesh:
    """Read the triangles of a file, all parts of it together, vertices at one place made one.

    Raises:
        DataError: the file is missing, no mesh, or without a triangle of any size.
        ConfigError: the suffix is of no mesh format that can be read.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError("this is no mesh that can be read", file=path, found=path.suffix or "no suffix",
                          expected=", ".join(SUFFIXES))  # fmt: skip
    if not path.is_file():
        raise DataError("a mesh is missing", file=path, found="no such file")
    try:
        loaded: Any = trimesh.load(path, force="mesh", process=False, skip_materials=True)
        made = trimesh.Trimesh(loaded.vertices, loaded.faces, process=False)
    except Exception as error:  # readers of damaged files raise anything
        raise DataError("a mesh is damaged", file=path, found=error, hint="copy the file again") from error
    made.merge_vertices()
    made.update_faces(made.nondegenerate_faces() & made.unique_faces())
    made.remove_unreferenced_vertices()
    vertices, faces = np.asarray(made.vertices, dtype=np.float64), np.asarray(made.faces, dtype=np.int64)
    if len(faces) == 0 or not np.isfinite(vertices).all() or np.ptp(vertices, axis=0).max() == 0:
        raise DataError("a mesh has no surface", file=path, found=f"{len(faces)} triangles",
                        expected="triangles with finite corners")  # fmt: skip
    return Mesh(vertices, faces)
