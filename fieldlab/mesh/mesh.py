"""Triangle meshes: corners, faces, colors, normals and a texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh


@dataclass
class Texture:
    """Pictures on a mesh, and where the corners of its faces lie on them.

    Corners of neighboring faces may lie apart (a seam), so a vertex of the mesh can have several positions here.

    Args:
        uv: float32 [T,2] in [0,1]; u to the right, v upwards from the lower edge of the picture (OpenGL, OBJ).
        corners: int64 [F,3], rows of ``uv`` for the three corners of every face of the mesh.
        color: uint8 [S,S,3] sRGB, first row at the top.
        normal: uint8 [S,S,3] normals in the tangent space of the mesh as glTF defines it, or None.
    """

    uv: np.ndarray
    corners: np.ndarray
    color: np.ndarray
    normal: np.ndarray | None = None

    def kept(self, faces: np.ndarray) -> Texture:
        """The texture of some of the faces (bool [F]); its pictures are shared."""
        used, corners = compacted(len(self.uv), self.corners[faces])
        return Texture(self.uv[used], corners, self.color, self.normal)


@dataclass
class Mesh:
    """Triangles whose corners go counterclockwise seen from outside.

    Args:
        vertices: float64 [V,3] in world units.
        faces: int64 [F,3].
        colors: uint8 [V,3] sRGB, or None.
        texture: what is on the faces instead of the colors, or None.
        vertex_normals: unit float32 [V,3], or None where the faces around tell them.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None
    texture: Texture | None = None
    vertex_normals: np.ndarray | None = None

    def normals(self) -> np.ndarray:
        """Unit vertex normals [V,3]: the given ones, or the mean of the faces around weighted by their area."""
        if self.vertex_normals is not None:
            return self.vertex_normals
        corners = self.vertices[self.faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        total = np.zeros_like(self.vertices)
        for corner in range(3):
            for axis in range(3):
                total[:, axis] += np.bincount(self.faces[:, corner], across[:, axis], len(total))
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return np.divide(total, length, out=np.zeros_like(total), where=length > 0)

    def to_trimesh(self) -> trimesh.Trimesh:
        """The same vertices and faces, with normals and opaque colors, for trimesh's writers and queries."""
        colors = None
        if self.colors is not None:
            colors = np.concatenate((self.colors, np.full_like(self.colors[:, :1], 255)), axis=1)
        return trimesh.Trimesh(
            self.vertices, self.faces, vertex_normals=self.normals(), vertex_colors=colors, process=False
        )

    def kept(self, faces: np.ndarray) -> Mesh:
        """The mesh of some of its faces (bool [F]) without the vertices that nothing uses any more."""
        used, chosen = compacted(len(self.vertices), self.faces[faces])
        return Mesh(
            self.vertices[used],
            chosen,
            None if self.colors is None else self.colors[used],
            None if self.texture is None else self.texture.kept(faces),
            None if self.vertex_normals is None else self.vertex_normals[used],
        )


def compacted(count: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of ``count`` things ``rows`` names, bool [count], and ``rows`` counted among those alone."""
    used = np.zeros(count, dtype=bool)
    used[rows] = True
    return used, (np.cumsum(used) - 1)[rows]


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """The rows of [N,3] with a length of one; zero rows stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
