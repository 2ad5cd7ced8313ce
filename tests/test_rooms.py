"""The table of rooms in docs/architecture.md is the law: imports run downward only, and never in a circle.

Every import counts, also inside functions and under TYPE_CHECKING: whoever names a room, even for a type, knows of it.
Only for circles within a room imports under TYPE_CHECKING are free, since two files may speak of each other's types.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "architecture.md"
FOR_ALL = {"errors", "files", "plugins"}  # fieldlab/*.py that anybody may import


def table() -> dict[str, set[str]]:
    """Room -> the rooms its row names in the last column."""
    rows = {}
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            folder = cells[0].strip("`").rstrip("/")
            if folder == "apps" or folder.startswith("fieldlab/"):
                named = {word.strip().strip("`") for word in cells[2].split(",")} - {"-"}
                rows[folder.removeprefix("fieldlab/")] = named
    return rows


def allowed(room: str, rows: dict[str, set[str]]) -> set[str]:
    """What a room may import: itself, what its row names, and whatever those may import."""
    found, ahead = {room}, [room]
    while ahead:
        new = rows.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found | FOR_ALL | ({"_native"} if room == "ops" else set())


def modules() -> dict[str, Path]:
    """Dotted name of every module of the package -> its file."""
    found = {}
    for folder, package in ((ROOT / "fieldlab", "fieldlab"), (ROOT / "apps", "fieldlab.apps")):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))] = file
    return found


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imports(tree: ast.AST, package: str, types: bool = True) -> set[tuple[str, int]]:
    """(dotted name, line) of everything of fieldlab that is imported; ``from a import b`` gives ``a.b``."""
    found: set[tuple[str, int]] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and not types and "TYPE_CHECKING" in ast.unparse(node.test):
            children: list[ast.stmt] = node.orelse
        else:
            children = list(ast.iter_child_nodes(node))  # type: ignore[arg-type]
        if isinstance(node, ast.Import):
            found.update((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.update((f"{base}.{alias.name}", node.lineno) for alias in node.names)
        for child in children:
            visit(child)

    visit(tree)
    return {(name, line) for name, line in found if name.split(".")[0] == "fieldlab"}


def package_of(name: str, file: Path) -> str:
    return name if file.name == "__init__.py" else name.rpartition(".")[0]


def room_of(name: str) -> str | None:
    """The room of a dotted name; None for the package itself, whose front door stands above all rooms."""
    parts = name.split(".")
    return parts[1] if (len(parts) > 1 and (ROOT / "fieldlab" / parts[1]).is_dir()) or parts[1:2] == ["apps"] else None


def violations(rows: dict[str, set[str]]) -> list[str]:
    found = []
    rooms = set(rows)
    for name, file in modules().items():
        room = room_of(name)
        alone = name.split(".")[-1] if name.count(".") == 1 and room is None else None
        if room is None and alone not in FOR_ALL:
            continue  # the front door may open every room
        may = allowed(room, rows) if room else set(FOR_ALL)
        for imported, line in sorted(imports(tree_of(file), package_of(name, file))):
            first = imported.split(".")[1] if "." in imported else ""
            outside = (ROOT / "fieldlab" / f"{first}.py").is_file() if first else False
            if (first in rooms or outside or first == "_native") and first not in may:
                found.append(f"{file.relative_to(ROOT)}:{line} imports {first}")
    return found


def circles() -> set[frozenset[str]]:
    """Groups of modules of one room that import each other, directly or around."""
    known = modules()
    edges: dict[str, set[str]] = {}
    for name, file in known.items():
        edges[name] = set()
        for imported, _ in imports(tree_of(file), package_of(name, file), types=False):
            target = imported if imported in known else imported.rpartition(".")[0]
            if target in known and target != name and room_of(target) == room_of(name) is not None:
                edges[name].add(target)

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        ahead = [start]
        while ahead:
            new = edges[ahead.pop()] - found
            found |= new
            ahead += new
        return found

    reach = {name: reached(name) for name in edges}
    return {frozenset(other for other in reach[name] if name in reach[other]) for name in reach if name in reach[name]}


def test_every_room_has_a_row_and_every_row_a_room():
    rooms = {path.name for path in (ROOT / "fieldlab").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert set(table()) == rooms | {"apps"}


def test_rows_name_rooms_above_them_in_the_table_only():
    above: set[str] = set()
    for room, named in table().items():
        assert named <= above, f"{room}: {named - above} must stand above it"
        above.add(room)


@pytest.mark.slow
def test_imports_keep_to_the_table():
    assert violations(table()) == []


@pytest.mark.slow
def test_an_import_against_the_table_is_seen():
    rows = table()
    rows["training"] = rows["training"] - {"runs"}
    assert any(line.startswith("fieldlab/training/") and "imports runs" in line for line in violations(rows))


@pytest.mark.slow
def test_no_circles_within_a_room():
    assert circles() == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f():\n    from fieldlab.training import trainer", {("fieldlab.training.trainer", 2)}),
        ("if TYPE_CHECKING:\n    import fieldlab.data.scene", {("fieldlab.data.scene", 2)}),
        ("from .mesh import Mesh", {("fieldlab.mesh.mesh.Mesh", 1)}),
        ("from fieldlab import ops", {("fieldlab.ops", 1)}),
        ("import torch", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(code, expected):
    assert imports(ast.parse(code), "fieldlab.mesh") == expected
