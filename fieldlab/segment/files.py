"""A hierarchy on disk: points and leaves in ``hierarchy.npz``, the tree in ``hierarchy.json``, which people may edit.

Rename a part by its ``name``. To merge parts, take their entries out: their points belong to the parent then; or put an
entry with a new id over them as their ``parent``. To split a part, take its own entry out and give its children the
parent it had. Births follow where they are missing.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldlab.errors import DataError, FieldlabError
from fieldlab.files import write_bytes, write_json, write_with
from fieldlab.segment.hierarchy import APART, Hierarchy, palette

FORMAT = 1
ARRAYS, TREE = "hierarchy.npz", "hierarchy.json"
MOST_BYTES = 4 << 30


def has_hierarchy(folder: Path) -> bool:
    """Whether a run has a tree of segments, if only a damaged one."""
    return (folder / ARRAYS).exists() or (folder / TREE).exists()


def stored_hierarchy(folder: Path) -> Hierarchy | None:
    """The tree of a run, None where it is not segmented.

    Raises:
        DataError: it is damaged.
    """
    return read_hierarchy(folder) if has_hierarchy(folder) else None


def write_hierarchy(folder: Path, hierarchy: Hierarchy) -> None:
    """Write both files, each whole or not at all."""
    leaf = hierarchy.ids[hierarchy.leaf]

    def save(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez_compressed(file, format=np.int64(FORMAT), points=hierarchy.points.numpy(), leaf=leaf.numpy(),
                                ids=hierarchy.ids.numpy(), parent=_parent_ids(hierarchy).numpy(),
                                birth=hierarchy.birth.numpy())  # fmt: skip

    write_with(folder / ARRAYS, save)
    write_json(folder / TREE, tree_of(hierarchy))


def tree_of(hierarchy: Hierarchy) -> dict[str, Any]:
    """The tree as plain values, parents before their children."""
    sizes, death, parents = hierarchy.sizes.tolist(), hierarchy.death.tolist(), _parent_ids(hierarchy).tolist()
    nodes = []
    for row in reversed(hierarchy.bottom_up()):
        birth = float(hierarchy.birth[row])
        ends = None if math.isinf(death[row]) else round(death[row], 6)
        nodes.append({
            "id": int(hierarchy.ids[row]), "parent": None if parents[row] < 0 else parents[row],
            "name": hierarchy.names[row], "color": "#" + bytes(hierarchy.colors[row].tolist()).hex(),
            "birth": round(birth, 6), "death": ends, "persistence": None if ends is None else round(ends - birth, 6),
            "points": sizes[row],
        })  # fmt: skip
    return {"format": FORMAT, "nodes": nodes}


def copy_hierarchy(source: Path, run: Path) -> None:
    """Copy the tree of a run, if it has one, into another of the same geometry. What is there already stays: people
    may have edited it.

    Raises:
        RunFolderError: it cannot be written.
    """
    for name in (ARRAYS, TREE):
        if (source / name).is_file() and not (run / name).exists():
            write_bytes(run / name, (source / name).read_bytes())


def back_up_edits(folder: Path) -> Path | None:
    """Before another tree is written: copy one that is not as it was written, so that no edits are lost. Returns
    where the copy is, None where there is nothing to keep.

    Raises:
        RunFolderError: it cannot be written.
    """
    file = folder / TREE
    if not file.is_file():
        return None
    try:
        points, leaf, written = _read_arrays(folder / ARRAYS)
        if _read_json(file) == tree_of(_assembled(written, points, leaf, written, file)):
            return None
    except FieldlabError:
        pass  # what cannot be compared may have been edited
    kept = next(path for n in count(1) if not (path := folder / f"{TREE}.bak{n if n > 1 else ''}").exists())
    write_bytes(kept, file.read_bytes())
    return kept


def read_hierarchy(folder: Path) -> Hierarchy:
    """Read both files; where they differ, the tree that people may have edited counts.

    Raises:
        DataError: a file is missing or damaged, or the tree is none: an id twice, a parent that is not there, parts
            above themselves.
    """
    points, leaf, written = _read_arrays(folder / ARRAYS)
    return _assembled(_read_nodes(folder / TREE), points, leaf, written, folder / TREE)


def _assembled(
    nodes: list[dict[str, Any]], points: Tensor, leaf: Tensor, written: list[dict[str, Any]], file: Path
) -> Hierarchy:
    """The hierarchy of a tree's entries and of points whose leaves are ids of the tree as it was written."""
    ids = [node["id"] for node in nodes]
    row = {node: i for i, node in enumerate(ids)}
    if len(row) != len(ids):
        raise DataError("two nodes have one id", file=file, field="id", found=_first_double(ids))
    parent = []
    for node in nodes:
        above = node["parent"]
        if above is not None and above not in row:
            raise DataError("a node's parent is not there", file=file, field=f"node {node['id']}, parent", found=above,
                            hint="give it the parent that was taken out had, or null")  # fmt: skip
        parent.append(-1 if above is None else row[above])
    above = torch.tensor(parent, dtype=torch.int64)
    _check_rooted(above, ids, file)
    m = len(nodes)
    colors = torch.stack([_color(node["color"], node["id"], file) for node in nodes])
    made = Hierarchy(torch.tensor(ids, dtype=torch.int32), above, torch.zeros(m), [node["name"] for node in nodes],
                     colors, points, _leaves(leaf, row, written, file))  # fmt: skip
    made.birth = _births(made, [node["birth"] for node in nodes])
    return made


def _parent_ids(hierarchy: Hierarchy) -> Tensor:
    return torch.where(hierarchy.parent >= 0, hierarchy.ids[hierarchy.parent.clamp_min(0)], -1)


def _read_arrays(file: Path) -> tuple[Tensor, Tensor, list[dict[str, Any]]]:
    """Points, the ids of their leaves, and the tree's entries as they were written."""
    try:
        with zipfile.ZipFile(file) as archive:
            if (size := sum(info.file_size for info in archive.infolist())) > MOST_BYTES:
                raise DataError("a hierarchy is too large", file=file, found=size, expected=MOST_BYTES)
        with np.load(file, allow_pickle=False) as arrays:
            version = int(arrays["format"])
            points, leaf = (torch.from_numpy(arrays[name]) for name in ("points", "leaf"))
            rows = zip(*(arrays[name].tolist() for name in ("ids", "parent", "birth")), strict=True)
            written = [_node({"id": i, "parent": None if above < 0 else above, "birth": birth}, k, file)
                       for k, (i, above, birth) in enumerate(rows)]  # fmt: skip
    except FileNotFoundError as error:
        raise DataError("there is no hierarchy", file=file, hint="fieldlab segment makes one") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError("a hierarchy cannot be read", file=file, found=error) from error
    if version > FORMAT:
        raise DataError("a hierarchy is from a newer version of fieldlab", file=file, found=version, expected=FORMAT)
    if points.dim() != 2 or points.shape[1] != 3 or leaf.shape != points.shape[:1]:
        raise DataError("a hierarchy's arrays do not fit", file=file, found=(tuple(points.shape), tuple(leaf.shape)))
    return points.float(), leaf.long(), written


def _read_json(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MOST_BYTES // 16:
            raise DataError("a tree is too large", file=file, found=file.stat().st_size)
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("there is no tree", file=file, hint="fieldlab segment makes one") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("a tree cannot be read", file=file, found=error) from error
    if not isinstance(data, dict):
        raise DataError("a tree is an object", file=file, found=type(data).__name__, expected='{"nodes": [...]}')
    return data


def _read_nodes(file: Path) -> list[dict[str, Any]]:
    data = _read_json(file)
    version, nodes = data.get("format", FORMAT), data.get("nodes")
    if type(version) is not int or version != FORMAT:
        raise DataError("a tree is of another format", file=file, field="format", found=version, expected=FORMAT)
    if not isinstance(nodes, list) or not nodes:
        raise DataError("a tree has nodes", file=file, field="nodes", found=nodes)
    return [_node(node, i, file) for i, node in enumerate(nodes)]


def _node(node: Any, i: int, file: Path) -> dict[str, Any]:
    """One entry with all it needs.

    Raises:
        DataError: a value has the wrong type.
    """
    if not isinstance(node, dict) or type(node.get("id")) is not int or not 0 <= node["id"] < 1 << 31:
        raise DataError("a node has an id", file=file, field=f"nodes[{i}].id", expected="a whole number from 0 up")
    parent, birth = node.get("parent"), node.get("birth")
    if parent is not None and type(parent) is not int:
        raise DataError("a parent is an id", file=file, field=f"node {node['id']}, parent", found=parent)
    if birth is not None and not (type(birth) in (int, float) and 0 <= birth <= APART):
        raise DataError("a birth is a threshold", file=file, field=f"node {node['id']}, birth", found=birth,
                        expected=f"0 to {APART:g}")  # fmt: skip
    name = node.get("name", f"part_{node['id']}")
    if not isinstance(name, str):
        raise DataError("a name is text", file=file, field=f"node {node['id']}, name", found=name)
    return {"id": node["id"], "parent": parent, "birth": birth, "name": name, "color": node.get("color")}


def _check_rooted(parent: Tensor, ids: list[int], file: Path) -> None:
    """Every chain of parents ends at a root."""
    at = parent
    for _ in range(len(parent)):
        if not bool((at >= 0).any()):
            return
        at = torch.where(at >= 0, parent[at.clamp_min(0)], at)
    circle = ids[int((at >= 0).nonzero()[0, 0])]
    raise DataError("nodes are above themselves", file=file, field="parent", found=f"node {circle} is one of them",
                    hint="all chains of parents end at a node whose parent is null")  # fmt: skip


def _leaves(leaf: Tensor, row: dict[int, int], written: list[dict[str, Any]], file: Path) -> Tensor:
    """Rows of the points' leaves; of one that was taken out, the nearest ancestor it had that is left."""
    before = {node["id"]: node["parent"] for node in written}
    rows: dict[int, int] = {}
    for part in leaf.unique().tolist():
        at: int | None = part
        while at not in row:
            at = None if at is None else before.get(at)
            if at is None:
                raise DataError("the points of a node belong to nothing", file=file, field=f"node {part}",
                                found="it and all above it were taken out")  # fmt: skip
        rows[part] = row[at]
    table = torch.full((max(rows, default=0) + 1,), -1)
    for part, place in rows.items():
        table[part] = place
    return table[leaf]


def _births(made: Hierarchy, given: list[float | None]) -> Tensor:
    """Births as given, raised where a child is born later, and those of the children where there are none."""
    birth = torch.tensor([-math.inf if b is None else b for b in given])
    for row in made.bottom_up():
        if birth[row] == -math.inf and not made.children(row):
            birth[row] = 0.0
        above = int(made.parent[row])
        if above >= 0:
            birth[above] = torch.maximum(birth[above], birth[row])
    return birth


def _color(text: Any, node: int, file: Path) -> Tensor:
    if text is None:
        return palette(torch.tensor([node]))[0]
    try:
        values = bytes.fromhex(text.removeprefix("#"))
        if len(values) == 3:
            return torch.tensor(list(values), dtype=torch.uint8)
    except (ValueError, AttributeError):
        pass
    raise DataError("a color is #rrggbb", file=file, field=f"node {node}, color", found=text)


def _first_double(ids: list[int]) -> int:
    return next(i for n, i in enumerate(ids) if i in ids[:n])
