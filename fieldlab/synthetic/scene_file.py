"""The TOML files that describe procedural scenes (folder ``scenes``)."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import fieldlab
from fieldlab.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class ProceduralOptions:
    """How many pictures to make of a procedural scene, and how."""

    n_train: int = 60
    """Training views."""
    n_test: int = 12
    """Held-out views."""
    size: int = 200
    """Width and height of each picture in pixels."""
    seed: int = 0
    """Changes where the cameras stand."""
    samples: int = 2
    """Rays per pixel along each side on edges: 2 gives four samples."""


def scene_files() -> dict[str, Path]:
    """Scene files that come with fieldlab, by name."""
    # A package in use from its source tree has the scenes beside it instead of in it.
    folders = [Path(entry) / "scenes" for entry in fieldlab.__path__]
    folders.append(Path(fieldlab.__file__).resolve().parent.parent / "scenes")
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
            found.setdefault(file.stem, file)
    return found


_LIMITS = {"n_train": (1, 10_000), "n_test": (0, 10_000), "size": (8, 4096), "seed": (0, 2**31), "samples": (1, 8)}


def check_options(options: ProceduralOptions, file: Path | None = None) -> ProceduralOptions:
    """The options, if they make sense.

    Raises:
        ConfigError: a number is out of range or no whole number.
    """
    for name, (low, high) in _LIMITS.items():
        value = getattr(options, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            expected = f"a whole number from {low} to {high}"
            raise ConfigError(
                "a procedural scene cannot be made so",
                file=file,
                field=f"procedural.{name}",
                found=value,
                expected=expected,
                hint=f"set {name} within that range",
            )
    return options


def read_scene_file(file: str | Path) -> tuple[str, ProceduralOptions]:
    """Name in the catalog and options of the procedural scene that a TOML file describes.

    Raises:
        ConfigError: the file is no TOML, has no table ``procedural`` or says something impossible there.
    """
    file = Path(file)
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("a scene file cannot be read", file=file, found=error, hint="mend the file") from error
    table: Any = data.get("procedural")
    if not isinstance(table, dict) or not isinstance(table.get("scene"), str):
        raise ConfigError(
            "a scene file does not name a procedural scene",
            file=file,
            field="procedural.scene",
            found=table,
            expected='a table [procedural] with scene = "name"',
        )
    known = {field.name for field in fields(ProceduralOptions)}
    unknown = sorted(set(table) - known - {"scene"})
    if unknown:
        raise ConfigError(
            "a scene file has an unknown setting",
            file=file,
            field=f"procedural.{unknown[0]}",
            expected="one of " + ", ".join(sorted(known)),
            hint="remove it or correct its spelling",
        )
    options = ProceduralOptions(**{key: value for key, value in table.items() if key != "scene"})
    return table["scene"], check_options(options, file)
