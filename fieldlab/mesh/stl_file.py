"""Binary STL: triangles and nothing else."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.placement import AS_IT_IS, AXES, Placement

HEADER = 80  # bytes of free text
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])


def stl(mesh: Mesh, placement: Placement = AS_IT_IS) -> bytes:
    """The file of a mesh; the format has room for axes, scale and a quaternion (w x y z) in its free text."""
    placed = placement.mesh(mesh)
    triangles = np.zeros(len(placed.faces), TRIANGLE)
    corners = placed.vertices[placed.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(across, axis=1, keepdims=True)
    triangles["normal"] = np.divide(across, length, out=np.zeros_like(across), where=length > 0)
    triangles["corners"] = corners
    w, x, y, z = np.roll(Rotation.from_matrix(placement.rotation).as_quat(canonical=True), 1)
    header = f"fieldlab {placement.axes} {placement.scale:.7g} {w:.9f} {x:.9f} {y:.9f} {z:.9f}".encode("ascii")
    return header.ljust(HEADER, b" ") + np.uint32(len(triangles)).astype("<u4").tobytes() + triangles.tobytes()


def recorded(header: bytes) -> Placement | None:
    """The placement that the free text of a file tells of, None when fieldlab did not write it."""
    words = header.decode("ascii", errors="replace").split()
    if len(words) != 7 or words[0] != "fieldlab" or words[1] not in AXES:
        return None
    scale, w, x, y, z = map(float, words[2:])
    return Placement(words[1], scale, Rotation.from_quat((x, y, z, w)).as_matrix())
