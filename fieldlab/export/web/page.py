"""A mesh and its segments as one HTML file that opens from disk."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from fieldlab.errors import ConfigError
from fieldlab.export.web.packing import mesh_arrays, packed
from fieldlab.export.web.parts import parts_facts
from fieldlab.files import write_text
from fieldlab.mesh.mesh import Mesh
from fieldlab.segment.hierarchy import Hierarchy

SUFFIXES = (".html", ".htm")
SCRIPTS = ("data.js", "camera.js", "shaders.js", "gl.js", "tree.js", "rows.js", "panel.js", "controls.js", "main.js")
QUALITY = 90  # of pictures as JPEG
POSTER = 1280  # most pixels along the longer side of the poster

Point = tuple[float, float, float]


def check_page_path(path: str | Path) -> None:
    """Whether a page can be written under this name.

    Raises:
        ConfigError: the suffix is not that of a page, or a folder is in the place of the file.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError("a page cannot be written to this kind of file", file=path,
                          found=path.suffix or "no suffix", expected=", ".join(SUFFIXES))  # fmt: skip
    if path.is_dir():
        raise ConfigError("there is a folder in the place of the file", file=path)


def write_page(
    path: str | Path,
    mesh: Mesh,
    *,
    title: str,
    leaf: np.ndarray | None = None,
    tree: Hierarchy | None = None,
    poster: np.ndarray | None = None,
    up: Point = (0.0, 0.0, 1.0),
    view: tuple[Point, Point] | None = None,
) -> None:
    """Write a page that shows a mesh, and where there is a hierarchy, its segments, without anything from elsewhere.

    Args:
        path: .html or .htm.
        mesh: F faces with a texture, colors, or neither.
        title: above the mesh, as plain text.
        leaf: int64 [F], row in ``tree`` of the finest segment of each face; of :func:`leaves_of_faces`.
        tree: the hierarchy of the segments; both or neither.
        poster: uint8 [H,W,3], shown until the mesh is there, and instead of it where a browser cannot show meshes.
        up: direction of the axis the camera turns around, in world coordinates.
        view: where the camera begins and what it looks at, in world units; by default the whole mesh from aside.

    Raises:
        ConfigError: the suffix is unknown, the mesh has no faces, or the segments are not those of the mesh.
        RunFolderError: the file cannot be written.
    """
    check_page_path(path)
    if not len(mesh.faces):
        raise ConfigError("a mesh without triangles makes no page", file=path)
    if (leaf is None) != (tree is None) or (leaf is not None and len(leaf) != len(mesh.faces)):
        raise ConfigError("every triangle of a page with segments belongs to one of the hierarchy", file=path,
                          found=None if leaf is None else len(leaf), expected=len(mesh.faces))  # fmt: skip
    row, parts = np.zeros(len(mesh.faces), np.int64), None
    if leaf is not None and tree is not None:
        parts, row = parts_facts(mesh, leaf, tree)
    arrays, low, size = mesh_arrays(mesh, row)
    listed, data = packed(arrays)
    facts = {
        "arrays": listed, "low": low.tolist(), "size": size.tolist(), "up": _floats(up),
        "view": None if view is None else [_floats(point) for point in view], "parts": parts,
    }  # fmt: skip
    picture = None if mesh.texture is None else jpeg(mesh.texture.color)
    write_text(path, _page(title, facts, data, picture, poster))


def jpeg(picture: np.ndarray, side: int | None = None) -> str:
    """uint8 [H,W,3] as JPEG in a data URI, no longer than ``side`` pixels."""
    image, file = Image.fromarray(picture), io.BytesIO()
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _page(title: str, facts: Mapping[str, Any], data: str, picture: str | None, poster: np.ndarray | None) -> str:
    style = _asset("page.css")
    script = "\n".join(map(_asset, SCRIPTS))
    name = html.escape(title.encode(errors="replace").decode())  # a file's name can hold what is no text
    shown = "" if poster is None else f'<img id="poster" alt="{name}" src="{jpeg(poster, POSTER)}">'
    return Template(_asset("page.html")).substitute(
        policy=_policy(style, script), title=name, style=style, script=script, poster=shown, facts=_json(facts),
        arrays=data, picture=picture or "", kind="plain" if facts["parts"] is None else "parted",
    )  # fmt: skip


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _floats(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values]


def _json(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _policy(style: str, script: str) -> str:
    """A content security policy: this script, this style, pictures from within, and nothing else."""
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
