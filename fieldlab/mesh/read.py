"""Meshes and point clouds from files, with their colors, back in the world units of the scene they were made of."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import trimesh

from fieldlab.errors import ConfigError, DataError
from fieldlab.mesh.mesh import Mesh, Texture
from fieldlab.mesh.stl_file import HEADER, recorded

SUFFIXES = (".glb", ".obj", ".ply", ".stl")
MOST_BYTES = 4 << 30  # of a file
MOST_ROWS = 200_000_000  # of vertices or triangles
MOST_HEADER_LINES = 200
RECORD = "fieldlab"
COLOR = "_LINEAR_COLOR"  # attributes that begin with an underscore are handed through as they are in the file


@dataclass
class _Part:
    """One piece of a file, placed in the file's world.

    vertices [V,3], faces [F,3], normals [V,3] or None; then colors uint8 sRGB [V,3] or None, or a picture uint8 sRGB
    [h,w,3] with uv [V,2] (v upwards).
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None = None
    colors: np.ndarray | None = None
    picture: np.ndarray | None = None
    uv: np.ndarray | None = None


def read_mesh(path: Path, *, points: bool = False) -> Mesh:
    """Read a mesh: all pieces of a scene graph where it places them, with texture or vertex colors.

    Colors of GLB files are linear as glTF says and become sRGB; those of PLY and OBJ are taken for sRGB. Where
    fieldlab recorded how it turned and scaled a mesh on writing, that is undone; other files are taken as they are.
    Vertices stay split where the file splits them.

    Args:
        points: whether a file without triangles will do; the mesh then has no faces.

    Raises:
        DataError: the file is missing, damaged, too large or without triangles.
        ConfigError: the suffix is of no format that can be read.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError("this is no mesh that can be read", file=path, found=path.suffix or "no suffix",
                          expected=", ".join(SUFFIXES))  # fmt: skip
    if not path.is_file():
        raise DataError("a mesh is missing", file=path, found="no such file")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise DataError("a mesh is too large", file=path, found=f"{size} bytes", expected=f"{MOST_BYTES} at most")
    try:
        source, record = _opened(path, suffix)
        scene: Any = trimesh.load(source, file_type=suffix[1:], force="scene", process=False)
        mesh = _joined(_parts(scene, linear=suffix == ".glb"))
        mesh = mesh if record is None else _undone(mesh, record)
    except DataError as error:
        raise DataError(error.what, file=path, field=error.field, found=error.found, expected=error.expected,
                        hint=error.hint) from error  # fmt: skip
    except Exception as error:  # readers of damaged files raise anything
        raise DataError("a mesh is damaged", file=path, found=error, hint="copy the file again") from error
    if len(mesh.vertices) == 0 or (len(mesh.faces) == 0 and not points):
        raise DataError("a mesh has no surface", file=path, found=f"{len(mesh.faces)} triangles")
    if not np.isfinite(mesh.vertices).all() or not np.ptp(mesh.vertices, axis=0).any():
        raise DataError("a mesh has no extent", file=path, expected="vertices that are finite and apart")
    return mesh


def _opened(path: Path, suffix: str) -> tuple[str | IO[bytes], dict[str, Any] | None]:
    """What trimesh is to read, checked for its counts, and what fieldlab recorded in it."""
    if suffix == ".glb":
        data, record = _checked_glb(path.read_bytes())
        return io.BytesIO(data), record
    if suffix == ".stl":
        with path.open("rb") as file:
            placed = recorded(file.read(HEADER))
        return str(path), None if placed is None else placed.record()
    lines = _first_lines(path)
    if suffix == ".ply":
        _check_ply(lines, path.stat().st_size)
    marks = [f"{start}{RECORD} " for start in ("comment ", "# ")]
    for line in lines if suffix in (".ply", ".obj") else []:
        for mark in marks:
            if line.startswith(mark + "{"):
                return str(path), json.loads(line[len(mark) :])
    return str(path), None


def _first_lines(path: Path) -> list[str]:
    """Lines of text at the beginning of a file, to the end of the header of a PLY file at most."""
    lines: list[str] = []
    with path.open("rb") as file:
        while len(lines) < MOST_HEADER_LINES and (line := file.readline(1 << 16)):
            lines.append(line.decode("utf-8", errors="replace").rstrip("\r\n"))
            if lines[-1] == "end_header":
                break
    return lines


def _check_ply(lines: list[str], size: int) -> None:
    """No element of a PLY file can have more rows than the file has bytes."""
    if not lines or lines[0] != "ply" or lines[-1] != "end_header":
        raise DataError("a PLY file has no header", found=lines[0][:40] if lines else "an empty file")
    for words in (line.split() for line in lines):
        if words[:1] == ["element"] and not 0 <= int(words[2]) <= min(size, MOST_ROWS):
            raise DataError("a PLY file announces more than it holds", field=words[1], found=words[2])


def _checked_glb(data: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """A binary glTF file whose arrays are within it, its colors under a name of their own, and what was recorded.

    Colors are handed through because the reader would round them to 8 bits while they are linear, which loses shadows.
    """
    magic, _, _, length, kind = struct.unpack_from("<4s4I", data)
    if magic != b"glTF" or kind != 0x4E4F534A or 20 + length > len(data):
        raise DataError("this is no binary glTF file", found=data[:4])
    header = json.loads(data[20 : 20 + length])
    widths = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
    sizes = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
    for i, array in enumerate(header.get("accessors", [])):
        count = array["count"]
        if not 0 <= count * widths[array["type"]] * sizes[array["componentType"]] <= len(data):
            raise DataError("a glTF file announces more than it holds", field=f"accessors[{i}]", found=count)
    for part in (part for mesh in header.get("meshes", []) for part in mesh["primitives"]):
        if "COLOR_0" in part["attributes"]:
            part["attributes"][COLOR] = part["attributes"].pop("COLOR_0")
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    made = struct.pack("<4s4I", magic, 2, 20 + len(text) + len(rest), len(text), kind) + text + rest
    scenes = header.get("scenes", [])
    extras = scenes[header.get("scene", 0)].get("extras") if scenes else None
    return made, extras.get(RECORD) if isinstance(extras, dict) else None


def _parts(scene: Any, linear: bool) -> list[_Part]:
    """The pieces of a scene graph; ``linear``: whether colors outside pictures are."""
    placed = [scene.graph[node] for node in scene.graph.nodes_geometry]
    rows = sum(len(scene.geometry[name].vertices) for _, name in placed)
    if rows > MOST_ROWS:
        raise DataError("a mesh is too large", found=f"{rows} vertices", expected=f"{MOST_ROWS} at most")
    return [_part(scene.geometry[name], np.asarray(at, dtype=np.float64), linear) for at, name in placed]


def _part(geometry: Any, at: np.ndarray, linear: bool) -> _Part:
    vertices = np.array(geometry.vertices, dtype=np.float64)
    if isinstance(geometry, trimesh.PointCloud):
        return _placed(_Part(vertices, np.zeros((0, 3), dtype=np.int64)), at)
    faces = np.array(geometry.faces, dtype=np.int64).reshape(-1, 3)
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise DataError("triangles name vertices that are not there", found=int(faces.max()))
    part = _Part(vertices, faces, np.array(geometry.vertex_normals, dtype=np.float32))
    visual = geometry.visual
    if visual.kind == "texture":
        picture, uv = _picture(visual.material), visual.uv
        if picture is not None and uv is not None and len(uv) == len(vertices):
            part.picture, part.uv = picture, np.array(uv, dtype=np.float32)
            return _placed(part, at)
    part.colors = _colors(geometry, linear)
    return _placed(part, at)


def _picture(material: Any) -> np.ndarray | None:
    """The base color of a material as uint8 [h,w,3], or None."""
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return None if picture is None else np.array(picture.convert("RGB"))


def _colors(geometry: Any, linear: bool) -> np.ndarray | None:
    visual, given = geometry.visual, geometry.vertex_attributes.get(COLOR)
    if given is not None and len(given) == len(geometry.vertices):
        scale = 1.0 if given.dtype.kind == "f" else np.iinfo(given.dtype).max
        return _srgb(np.asarray(given)[:, :3] / scale)
    if visual.kind in ("vertex", "face"):
        return np.array(visual.vertex_colors, dtype=np.uint8)[:, :3]
    if visual.kind != "texture":
        return None
    color = np.asarray(visual.material.main_color, dtype=np.uint8)[:3]
    color = _srgb(color / 255) if linear else color
    return np.broadcast_to(color, geometry.vertices.shape).copy()


def _srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0,1] as sRGB uint8 (IEC 61966-2-1)."""
    value = np.clip(linear, 0, 1).astype(np.float64)
    value = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return (value * 255 + 0.5).astype(np.uint8)


def _placed(part: _Part, at: np.ndarray) -> _Part:
    """The piece moved by a matrix [4,4]; one that mirrors turns the faces round."""
    if np.array_equal(at, np.eye(4)):
        return part
    turn = at[:3, :3]
    part.vertices = part.vertices @ turn.T + at[:3, 3]
    mirrored = np.linalg.det(turn) < 0
    if part.normals is not None:
        normals = part.normals @ np.linalg.inv(turn)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        part.normals = (normals / np.maximum(length, 1e-30)).astype(np.float32)
    part.faces = np.ascontiguousarray(part.faces[:, ::-1]) if mirrored else part.faces
    return part


def _joined(parts: list[_Part]) -> Mesh:
    """All pieces as one mesh: textured when one of them is, colored when one of them is."""
    if not parts:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    mesh = Mesh(np.concatenate([part.vertices for part in parts]), faces)
    normals = [part.normals for part in parts if part.normals is not None]
    mesh.vertex_normals = np.concatenate(normals) if len(normals) == len(parts) else None
    if any(part.picture is not None for part in parts):
        color, uv = _atlas(parts)
        mesh.texture = Texture(uv, faces, color)
    elif any(part.colors is not None for part in parts):
        gray = [np.full(part.vertices.shape, 128, dtype=np.uint8) for part in parts]
        mesh.colors = np.concatenate([g if p.colors is None else p.colors for p, g in zip(parts, gray, strict=True)])
    return mesh


def _atlas(parts: list[_Part]) -> tuple[np.ndarray, np.ndarray]:
    """One picture uint8 [S,S,3] for all pieces, their pictures beside one another, and uv float32 [V,2] on it.

    A piece without a picture gets one of its mean color. A single picture stays as it is, square or not.
    """
    pictures = [_own_picture(part) for part in parts]
    uvs = [np.full((len(p.vertices), 2), 0.5, dtype=np.float32) if p.uv is None else p.uv for p in parts]
    if len(parts) == 1:
        return pictures[0], uvs[0]
    side = max(*(picture.shape[0] for picture in pictures), sum(picture.shape[1] for picture in pictures))
    if side * side > MOST_ROWS:
        raise DataError("the textures of a mesh are too large together", found=f"{side} pixels wide")
    color, moved, left = np.zeros((side, side, 3), dtype=np.uint8), [], 0
    for picture, uv in zip(pictures, uvs, strict=True):
        height, width = picture.shape[:2]
        color[:height, left : left + width] = picture
        # Half a pixel from the edge, so that the neighbor's colors do not bleed in.
        u = np.clip(uv[:, 0] * width, 0.5, width - 0.5)
        v = np.clip((1 - uv[:, 1]) * height, 0.5, height - 0.5)
        moved.append(np.stack(((left + u) / side, 1 - v / side), axis=1))
        left += width
    return color, np.concatenate(moved).astype(np.float32)


def _own_picture(part: _Part) -> np.ndarray:
    if part.picture is not None:
        return part.picture
    color = np.array([128, 128, 128]) if part.colors is None else part.colors.mean(0).round()
    return color.astype(np.uint8).reshape(1, 1, 3)


def _undone(mesh: Mesh, record: Any) -> Mesh:
    """The mesh in the world it was made in, by the inverse of the recorded matrix from that world to the file."""
    values = np.asarray(record["to_file"] if isinstance(record, dict) else None, dtype=np.float64)
    matrix = values.reshape(4, 4) if values.shape == (16,) else np.zeros((4, 4))
    if not np.isfinite(matrix).all() or not (matrix[3] == (0, 0, 0, 1)).all() or np.linalg.det(matrix) == 0:
        raise DataError("the recorded way into the file cannot be undone", field=f"{RECORD}.to_file",
                        found=values.tolist(), expected="16 numbers of an invertible matrix, row by row")  # fmt: skip
    part = _placed(_Part(mesh.vertices, mesh.faces, mesh.vertex_normals), np.linalg.inv(matrix))
    if mesh.texture is not None:
        mesh.texture.corners = part.faces
    mesh.vertices, mesh.faces, mesh.vertex_normals = part.vertices, part.faces, part.normals
    return mesh
