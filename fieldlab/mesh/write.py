"""Meshes and point clouds on disk, in the scene's units and axes unless others are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fieldlab.errors import ConfigError
from fieldlab.files import write_bytes
from fieldlab.mesh.gltf import Node, glb
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.obj_file import write_obj
from fieldlab.mesh.placement import AS_IT_IS, Placement
from fieldlab.mesh.ply_file import mesh_ply, ply, vertex_rows
from fieldlab.mesh.stl_file import stl

MESH_SUFFIXES = (".glb", ".ply", ".obj", ".stl")
PARTS_SUFFIXES = (".glb", ".ply", ".obj")


def check_mesh_path(path: str | Path) -> None:
    """Whether a mesh can be written under this name.

    Raises:
        ConfigError: the suffix is unknown, or a folder is in the place of the file.
    """
    _check(Path(path), MESH_SUFFIXES, "a mesh")


def check_parts_path(path: str | Path) -> None:
    """Whether a mesh in parts can be written under this name.

    Raises:
        ConfigError: the suffix is unknown or of a format without parts, or a folder is in the place of the file.
    """
    _check(Path(path), PARTS_SUFFIXES, "a mesh in parts")


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


def write_mesh(path: str | Path, mesh: Mesh, placement: Placement = AS_IT_IS) -> None:
    """Write a mesh as .glb, .obj, .ply or .stl, every file whole or not at all.

    - .glb: a texture as a material, or vertex colors in linear light, as the format wants them.
    - .obj: a texture as .mtl and .png files beside it, or vertex colors in sRGB.
    - .ply: vertex colors in sRGB; of a texture those it has at the vertices.
    - .stl: the surface alone.

    The placement is recorded in the extras of the scene (.glb) or in a comment (.obj, .ply), and in short in the header
    (.stl). Coordinates are the scene's own by default; glTF viewers that take y for up show a z-up scene lying on its
    side then.

    Args:
        placement: from the mesh's coordinates to the file's.

    Raises:
        ConfigError: the suffix is unknown, or a folder is in the place of the file.
        RunFolderError: a file cannot be written.
        ValueError: a .glb is larger than the format can hold (4 GiB).
    """
    path = Path(path)
    check_mesh_path(path)
    suffix = path.suffix.lower()
    if suffix == ".obj":
        write_obj(path, mesh, placement)
    elif suffix == ".glb":
        write_bytes(path, glb(Node(path.stem, mesh), placement))
    else:
        write_bytes(path, mesh_ply(mesh, placement) if suffix == ".ply" else stl(mesh, placement))


def write_points(
    path: str | Path, positions: np.ndarray, normals: np.ndarray, colors: np.ndarray, nodes: np.ndarray | None = None,
    confidence: np.ndarray | None = None, placement: Placement = AS_IT_IS,
) -> None:  # fmt: skip
    """Write a point cloud as binary PLY: float32 x y z nx ny nz and uint8 red green blue, perhaps int32 node and
    float32 confidence; the placement is a comment in it.

    Args:
        positions, normals: [P,3] in the scene's coordinates.
        colors: uint8 [P,3] sRGB.
        nodes: ids of the parts that points belong to, int32 [P], -1 for none.
        confidence: [P] in [0,1], see :class:`fieldlab.export.points.PointCloud`.
        placement: from the scene's coordinates to the file's.

    Raises:
        ConfigError: the suffix is unknown, or a folder is in the place of the file.
        RunFolderError: the file cannot be written.
    """
    path = Path(path)
    check_points_path(path)
    placed, turned = placement.points(positions), placement.directions(normals)
    write_bytes(path, ply(placement, vertex=vertex_rows(placed, turned, colors, node=nodes, confidence=confidence)))
