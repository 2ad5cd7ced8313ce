"""What can be asked of a triangle mesh: nearest points, points spread over it, normals, and how its faces hang
together."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np

from fieldlab.data.graph import components
from fieldlab.mesh.mesh import Mesh

CHUNK = 1 << 20  # points asked for at a time


@dataclass(frozen=True)
class Topology:
    """What keeps a mesh from bounding a volume: edges of one face, edges of more than two, faces that disagree with a
    neighbor about which side is outside."""

    open_edges: int
    crowded_edges: int
    consistent: bool

    @property
    def closed(self) -> bool:
        """Whether the mesh bounds a volume."""
        return self.open_edges == 0 and self.crowded_edges == 0 and self.consistent

    def describe(self) -> str:
        """What was found, in words."""
        found = [f"{self.open_edges} open edges"] if self.open_edges else []
        found += [f"{self.crowded_edges} edges of more than two faces"] if self.crowded_edges else []
        found += [] if self.consistent else ["faces that disagree about which side is outside"]
        return ", ".join(found) or "a closed surface"


def topology(faces: np.ndarray) -> Topology:
    """How faces int64 [F,3] meet at their edges."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    n = int(faces.max()) + 1 if len(faces) else 0
    _, counts = np.unique(np.minimum(start, end) * n + np.maximum(start, end), return_counts=True)
    consistent = len(np.unique(start * n + end)) == len(start)
    return Topology(int((counts == 1).sum()), int((counts > 2).sum()), consistent)


def joined_faces(mesh: Mesh) -> np.ndarray:
    """The faces int64 [F',3] of a mesh whose vertices at one place are made one.

    Files split a vertex where its texture has a seam or its normals a crease. Faces that have two corners at one place
    are left out: they have no area, and hide where their neighbors meet.
    """
    # Sorting bit patterns is several times faster than sorting rows; adding zero makes -0.0 the same as 0.0.
    rows = np.ascontiguousarray(mesh.vertices + 0.0, dtype=np.float64).view(np.dtype((np.void, 24))).ravel()
    _, place = np.unique(rows, return_inverse=True)
    faces = place.reshape(-1)[mesh.faces]
    return faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]


def pieces(faces: np.ndarray) -> np.ndarray:
    """Which piece each of the faces int64 [F,3] belongs to, int64 [F] counted from 0; faces of a piece share vertices
    with one another."""
    if len(faces) == 0:
        return np.zeros(0, dtype=np.int64)
    used, corners = np.unique(faces, return_inverse=True)
    corners = corners.reshape(faces.shape)
    edges = np.concatenate((corners[:, :2], corners[:, 1:]))
    return components(len(used), edges)[corners[:, 0]]


def volume(mesh: Mesh) -> float:
    """The volume a closed mesh bounds, in cubic world units; negative where its faces look inward."""
    corners = mesh.vertices - mesh.vertices.mean(0)  # far from the origin the terms would cancel badly
    a, b, c = (corners[mesh.faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def nearest_on(mesh: Mesh, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance float64 [P] to the nearest point of a mesh and the face int64 [P] it is on."""
    if len(points) == 0:
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    found = [igl.point_mesh_squared_distance(part, mesh.vertices, mesh.faces)[:2] for part in point_chunks(points)]
    squared, face = (np.concatenate(column) for column in zip(*found, strict=True))
    return np.sqrt(squared), face.astype(np.int64)


def sample_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points float64 [count,3] spread evenly over the area of a mesh, and the faces int64 [count] they are on."""
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    ends = np.cumsum(area)
    face = np.searchsorted(ends, rng.random(count) * ends[-1], side="right").clip(max=len(area) - 1)
    root, share = np.sqrt(rng.random(count)), rng.random(count)  # Osada et al. 2002, eq. 1
    weights = np.stack((1 - root, root * (1 - share), root * share), axis=1)
    return (corners[face] * weights[:, :, None]).sum(1), face


def face_normals(mesh: Mesh) -> np.ndarray:
    """Unit normals float64 [F,3]; zero where a face has no area."""
    corners = mesh.vertices[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(across, axis=1, keepdims=True)
    return np.divide(across, length, out=np.zeros_like(across), where=length > 0)


def point_chunks(points: np.ndarray) -> list[np.ndarray]:
    """Points [P,3] in pieces of a size that queries take."""
    return [np.ascontiguousarray(points[start : start + CHUNK]) for start in range(0, len(points), CHUNK)]
