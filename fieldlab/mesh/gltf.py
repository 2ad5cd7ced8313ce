"""Binary glTF 2.0: one mesh or a tree of parts, with a physically based material that shows the field's colors.

Textures hold the 8-bit sRGB values of the pictures, as the format wants; vertex colors are linear there, so they are
converted and stored with 16 bits, in which dark colors do not fall into steps.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from PIL import Image

from fieldlab.mesh.mesh import Mesh, Texture, compacted
from fieldlab.mesh.placement import AS_IT_IS, Placement
from fieldlab.mesh.tangents import tangents

FLOAT, UINT16, UINT32 = 5126, 5123, 5125
ARRAY_BUFFER, ELEMENT_BUFFER = 34962, 34963
LINEAR_MIPMAPS, LINEAR, CLAMP = 9987, 9729, 33071
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
LARGEST = (1 << 32) - 1


@dataclass
class Node:
    """A node of the scene graph, perhaps with a mesh; ``extras`` is what it says of itself."""

    name: str
    mesh: Mesh | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)


def glb(roots: Node | Sequence[Node], placement: Placement = AS_IT_IS) -> bytes:
    """The file of a scene graph, of one root or several, whose meshes are in the scene's coordinates.

    Meshes with the same pictures (the same arrays) share them in the file. The placement is recorded in the extras of
    the scene, under ``fieldlab``.

    Raises:
        ValueError: it is larger than the format can hold (4 GiB), or a number in it is not finite.
    """
    writer = _Writer(placement)
    top = writer.nodes([roots] if isinstance(roots, Node) else roots)
    # A list in a file may not be empty.
    writer.add("scenes", ({"nodes": top} if top else {}) | {"extras": {"fieldlab": placement.record()}})
    return writer.bytes()


def linear(colors: np.ndarray) -> np.ndarray:
    """Linear light in [0,1] of uint8 sRGB (IEC 61966-2-1)."""
    value = colors / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


class _Writer:
    """Collects the JSON and the binary buffer of one file."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.binary = bytearray()
        self.materials: dict[tuple[int, int] | None, int] = {}
        self.made: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": f"fieldlab {_version()}"}, "scene": 0, "scenes": [], "nodes": [],
            "meshes": [], "accessors": [], "bufferViews": [], "materials": [],
        }  # fmt: skip

    def add(self, kind: str, thing: dict[str, Any]) -> int:
        self.made.setdefault(kind, []).append(thing)
        return len(self.made[kind]) - 1

    def nodes(self, roots: Sequence[Node]) -> list[int]:
        """Write nodes and all below them, level by level, as trees can be deeper than calls can; the roots' numbers."""
        nodes = list(roots)
        for node in nodes:
            first = len(nodes)
            nodes += node.children
            entry: dict[str, Any] = {"name": node.name}
            if node.children:
                entry["children"] = list(range(first, len(nodes)))
            if node.mesh is not None and len(node.mesh.faces):
                entry["mesh"] = self.mesh(node.name, self.placement.mesh(node.mesh))
            if node.extras:
                entry["extras"] = node.extras
            self.add("nodes", entry)
        return list(range(len(roots)))

    def mesh(self, name: str, mesh: Mesh) -> int:
        flat = split_at_seams(mesh)
        attributes = {
            "POSITION": self.array(flat.positions, FLOAT, "VEC3", ARRAY_BUFFER, bounds=True),
            "NORMAL": self.array(flat.normals, FLOAT, "VEC3", ARRAY_BUFFER),
        }
        if mesh.texture is not None and flat.uv is not None:
            # glTF counts v from the picture's upper edge.
            uv = np.stack((flat.uv[:, 0], 1 - flat.uv[:, 1]), axis=1)
            attributes["TEXCOORD_0"] = self.array(uv.astype(np.float32), FLOAT, "VEC2", ARRAY_BUFFER)
            if mesh.texture.normal is not None:
                along = tangents(flat.positions, flat.normals, flat.uv, flat.faces)
                attributes["TANGENT"] = self.array(along, FLOAT, "VEC4", ARRAY_BUFFER)
        elif flat.colors is not None:
            attributes["COLOR_0"] = self.array(_linear16(flat.colors), UINT16, "VEC4", ARRAY_BUFFER, normalized=True)
        faces = self.array(flat.faces.astype(np.uint32).ravel(), UINT32, "SCALAR", ELEMENT_BUFFER)
        primitive = {"attributes": attributes, "indices": faces, "material": self.material(mesh.texture), "mode": 4}
        return self.add("meshes", {"name": name, "primitives": [primitive]})

    def material(self, texture: Texture | None) -> int:
        """One for all meshes with the same pictures: matte, and drawn from both sides, since surfaces may be open."""
        key = None if texture is None else (id(texture.color), id(texture.normal))
        if key not in self.materials:
            surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
            material: dict[str, Any] = {"name": "field", "pbrMetallicRoughness": surface, "doubleSided": True}
            if texture is not None:
                surface["baseColorTexture"] = {"index": self.texture("color", texture.color)}
                if texture.normal is not None:
                    material["normalTexture"] = {"index": self.texture("normal", texture.normal)}
            self.materials[key] = self.add("materials", material)
        return self.materials[key]

    def texture(self, name: str, picture: np.ndarray) -> int:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, format="PNG")
        image = {"name": name, "mimeType": "image/png", "bufferView": self.view(file.getvalue())}
        if "samplers" not in self.made:
            self.add("samplers", {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAPS, "wrapS": CLAMP, "wrapT": CLAMP})
        return self.add("textures", {"source": self.add("images", image), "sampler": 0})

    def array(
        self, values: np.ndarray, kind: int, shape: str, target: int, *, bounds: bool = False, normalized: bool = False
    ) -> int:
        """An accessor to values of their own in the buffer."""
        view = self.view(np.ascontiguousarray(values).tobytes(), target)
        entry: dict[str, Any] = {"bufferView": view, "componentType": kind, "count": len(values), "type": shape}
        if normalized:
            entry["normalized"] = True
        if bounds:
            entry |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        return self.add("accessors", entry)

    def view(self, data: bytes, target: int | None = None) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        self.binary += data
        return self.add("bufferViews", entry if target is None else entry | {"target": target})

    def bytes(self) -> bytes:
        self.binary += b"\0" * (-len(self.binary) % 4)
        # The format knows no empty lists.
        made = {key: value for key, value in self.made.items() if not (isinstance(value, list) and not value)}
        if self.binary:
            made["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(made, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = [(JSON_CHUNK, text)] + ([(BINARY_CHUNK, bytes(self.binary))] if self.binary else [])
        total = 12 + sum(8 + len(data) for _, data in chunks)
        if total > LARGEST:
            raise ValueError("a binary glTF holds at most 4 GiB")
        parts = [struct.pack("<4sII", b"glTF", 2, total)]
        for kind, data in chunks:
            parts += [struct.pack("<II", len(data), kind), data]
        return b"".join(parts)


@dataclass
class Flat:
    """A mesh as graphics cards want it: one row per vertex and position on the texture.

    Args:
        positions, normals: float32 [N,3]; normals are unit.
        faces: int64 [F,3].
        colors: uint8 [N,3], or None.
        uv: float32 [N,2], v upwards, or None.
    """

    positions: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None
    uv: np.ndarray | None


def split_at_seams(mesh: Mesh) -> Flat:
    """The mesh with a vertex for each of its positions on the texture."""
    normals = np.asarray(mesh.normals(), np.float32)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(lengths > 0.5, normals / np.maximum(lengths, 1e-12), (0.0, 0.0, 1.0)).astype(np.float32)
    positions = mesh.vertices.astype(np.float32)
    if mesh.texture is None:
        return Flat(positions, normals, mesh.faces, mesh.colors, None)
    used, corners = compacted(len(mesh.texture.uv), mesh.texture.corners)
    uv = mesh.texture.uv[used]
    pairs, rows = np.unique(mesh.faces.ravel() * len(uv) + corners.ravel(), return_inverse=True)
    vertex, place = pairs // len(uv), pairs % len(uv)
    colors = None if mesh.colors is None else mesh.colors[vertex]
    return Flat(positions[vertex], normals[vertex], rows.reshape(-1, 3), colors, uv[place])


def _linear16(colors: np.ndarray) -> np.ndarray:
    """uint16 [V,4]: four values, since rows of three would not lie at multiples of four bytes."""
    made = np.full((len(colors), 4), 65535, dtype=np.uint16)
    made[:, :3] = np.rint(linear(colors) * 65535)
    return made


def _version() -> str:
    try:
        return version("fieldlab")
    except PackageNotFoundError:
        return ""
