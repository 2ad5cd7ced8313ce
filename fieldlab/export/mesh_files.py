"""Meshes and point clouds on disk, in world units and axes as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fieldlab.errors import ConfigError
from fieldlab.export.mesh import Mesh
from fieldlab.files import write_bytes, write_with

MESH_SUFFIXES = (".glb", ".ply", ".obj")


def check_mesh_path(path: str | Path) -> None:
    """Whether a mesh can be written under this name.

    Raises:
        ConfigError: the suffix is unknown, or a folder is in the place of the file.
    """
    _check(Path(path), MESH_SUFFIXES, "a mesh")


def check_points_path(path: str | Path) -> None:
    """Whether a point cloud can be written under this name.

    Raises:
        ConfigError: the suffix is unknown, or a folder is in the place of the file.
    """
    _check(Path(path), (".ply",), "a point cloud")


def _check(path: Path, suffixes: tuple[str, ...], what: str) -> None:
    if path.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{what} cannot be written to this kind of file",
            file=path,
            found=path.suffix or "no suffix",
            expected=", ".join(suffixes),
        )
    if path.is_dir():
        raise ConfigError("there is a folder in the place of the file", file=path)


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh with its vertex colors as .glb, .ply or .obj, whole or not at all.

    Coordinates are the scene's own world units and axes in every format; glTF viewers that take y for up show a z-up
    scene lying on its side. Colors are the 8-bit sRGB values of the pictures in every format.

    Raises:
        ConfigError: the suffix is unknown.
        RunFolderError: the file cannot be written.
    """
    path = Path(path)
    check_mesh_path(path)
    suffix = path.suffix.lower()
    options: dict[str, dict[str, Any]] = {
        ".glb": {"include_normals": True},
        ".ply": {"vertex_normal": True},
        ".obj": {"include_normals": True, "include_color": True, "digits": 8},
    }
    data = mesh.to_trimesh().export(file_type=suffix[1:], **options[suffix])
    write_bytes(path, data if isinstance(data, bytes) else str(data).encode())


def write_points(
    path: str | Path, positions: np.ndarray, normals: np.ndarray, colors: np.ndarray, nodes: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Write a point cloud as binary PLY: float32 x y z nx ny nz and uint8 red green blue, perhaps int32 node and
    float32 confidence.

    Args:
        positions, normals: [P,3].
        colors: uint8 [P,3].
        nodes: ids of the parts that points belong to, int32 [P], -1 for none.
        confidence: [P] in [0,1], see :class:`fieldlab.export.points.PointCloud`.

    Raises:
        ConfigError: the suffix is unknown.
        RunFolderError: the file cannot be written.
    """
    path = Path(path)
    check_points_path(path)
    names = ("x", "y", "z", "nx", "ny", "nz")
    kinds = [(n, "<f4") for n in names] + [(n, "u1") for n in ("red", "green", "blue")]
    extras = [("node", "<i4", "int", nodes), ("confidence", "<f4", "float", confidence)]
    given = [extra for extra in extras if extra[3] is not None]
    rows = np.empty(len(positions), dtype=[*kinds, *((n, kind) for n, kind, _, _ in given)])
    for n, _, _, values in given:
        rows[n] = values
    for i in range(3):
        rows[names[i]], rows[names[3 + i]] = positions[:, i], normals[:, i]
        rows[("red", "green", "blue")[i]] = colors[:, i]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {n}" for n in names] + [f"property uchar {n}" for n in ("red", "green", "blue")]
    header += [f"property {word} {n}" for n, _, word, _ in given]

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(("\n".join([*header, "end_header"]) + "\n").encode("ascii"))
            rows.tofile(file)

    write_with(path, write)
