"""Binary STL: triangles and nothing else."""

from __future__ import annotations

import numpy as np

from fieldlab.export.mesh import Mesh
from fieldlab.export.placement import AS_IT_IS, Placement

HEADER = 80  # bytes of free text
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])


def stl(mesh: Mesh, placement: Placement = AS_IT_IS) -> bytes:
    """The file of a mesh; the format has room for the axes and the scale, not for the whole placement."""
    placed = placement.mesh(mesh)
    triangles = np.zeros(len(placed.faces), TRIANGLE)
    corners = placed.vertices[placed.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(across, axis=1, keepdims=True)
    triangles["normal"] = np.divide(across, length, out=np.zeros_like(across), where=length > 0)
    triangles["corners"] = corners
    header = f"fieldlab axes {placement.axes} scale {placement.scale:.9g}".encode("ascii")
    return header.ljust(HEADER, b" ") + np.uint32(len(triangles)).astype("<u4").tobytes() + triangles.tobytes()
