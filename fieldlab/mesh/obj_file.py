"""Wavefront OBJ: text, with a material and pictures in files beside it when the mesh has a texture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fieldlab.files import whole_file, write_text, write_with
from fieldlab.mesh.mesh import Mesh, Texture
from fieldlab.mesh.placement import AS_IT_IS, Placement

BLOCK = 1 << 16  # rows that become text at once
MATERIAL = "field"


def write_obj(
    path: Path, mesh: Mesh, placement: Placement = AS_IT_IS, groups: Mapping[str, np.ndarray] | None = None
) -> None:
    """Write a mesh, whole or not at all: positions with their colors, or with a texture in files named like it.

    Positions, places on the texture and normals have numbers of their own, so that seams of the texture do not cut the
    surface. Files beside it are written before the one that names them.

    Args:
        placement: from the mesh's coordinates to the file's, recorded in a comment.
        groups: for every name of a group its faces (bool [F]); None for no groups.

    Raises:
        RunFolderError: a file cannot be written.
    """
    stem = "_".join(path.stem.split())  # readers end names at spaces
    library = None if mesh.texture is None else f"{stem}.mtl"
    with whole_file(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(_text(placement.mesh(mesh), placement, library, groups))
        if mesh.texture is not None:  # quick beside the text, so that little can come between these files and that one
            _write_material(path, stem, mesh.texture)


def _write_material(path: Path, stem: str, texture: Texture) -> None:
    """Write the material and its pictures beside ``path``."""
    lines = [f"newmtl {MATERIAL}", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "d 1", "illum 1"]
    pictures = [(f"{stem}.png", texture.color, ["map_Kd"])]
    if texture.normal is not None:
        # Some readers know one of the two words and some the other.
        pictures.append((f"{stem}_normal.png", texture.normal, ["norm", "map_Bump"]))
    for name, picture, keys in pictures:
        write_with(path.with_name(name), Image.fromarray(picture).save)
        lines += [f"{key} {name}" for key in keys]
    write_text(path.with_name(f"{stem}.mtl"), "\n".join(lines) + "\n")


def _text(
    mesh: Mesh, placement: Placement, library: str | None, groups: Mapping[str, np.ndarray] | None
) -> Iterator[str]:
    yield f"# {placement.comment()}\n"
    if library is not None:
        yield f"mtllib {library}\nusemtl {MATERIAL}\n"
    # Nine digits tell all 32-bit numbers apart, and five all colors.
    if mesh.colors is not None and mesh.texture is None:
        yield from _lines("v %.9g %.9g %.9g %.5g %.5g %.5g\n", np.hstack((mesh.vertices, mesh.colors / 255)))
    else:
        yield from _lines("v %.9g %.9g %.9g\n", mesh.vertices)
    yield from _lines("vn %.6g %.6g %.6g\n", mesh.normals())
    corners = [mesh.faces, mesh.faces]
    if mesh.texture is not None:
        yield from _lines("vt %.9g %.9g\n", mesh.texture.uv)
        corners.insert(1, mesh.texture.corners)
    faces = np.stack(corners, axis=2).reshape(len(mesh.faces), -1) + 1
    template = "f %d//%d %d//%d %d//%d\n" if mesh.texture is None else "f %d/%d/%d %d/%d/%d %d/%d/%d\n"
    if groups is None:
        yield from _lines(template, faces)
    for name, chosen in (groups or {}).items():
        yield f"g {name}\n"
        yield from _lines(template, faces[chosen])


def _lines(template: str, rows: np.ndarray) -> Iterator[str]:
    """A line for every row, many at a time, which is much faster than one at a time."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        yield (template * len(block)) % tuple(block.ravel().tolist())
