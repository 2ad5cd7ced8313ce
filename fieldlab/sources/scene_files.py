"""Scene files (.toml) and scenes by name.

A scene file has ``name``, ``description``, then either ``[procedural]`` with ``scene`` and settings for it, or
``[data]`` with ``path`` and any of :class:`SceneOptions`, and optionally ``[train]`` with recommended settings.
"""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fieldlab.data.bounds import given_box
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import Scene, load_capture
from fieldlab.errors import ConfigError, DataError
from fieldlab.synthetic.scene_file import scene_files

if TYPE_CHECKING:
    from fieldlab.synthetic import ProceduralOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SECTIONS = {"name", "description", "procedural", "data", "train"}


def scene_names() -> list[str]:
    """Every name :func:`fieldlab.sources.load.load_scene` understands."""
    return sorted(set(scene_files()) | set(_procedural_names()))


def load_named(name: str, options: SceneOptions) -> Scene:
    """Load a scene that comes with fieldlab.

    Raises:
        DataError: there is no such scene.
    """
    name = name.removeprefix("procedural:")
    files = scene_files()
    if name in files:
        scene = load_scene_file(files[name], options)
        scene.source = name
        return scene
    if name in _procedural_names():
        return _load_procedural(name, None, options)
    raise DataError(
        "a scene is not found",
        file=name,
        found="neither a folder, nor a file, nor a known scene",
        expected=f"a path, or one of {', '.join(scene_names()) or 'no scenes'}",
    )


def load_scene_file(path: Path, options: SceneOptions) -> Scene:
    """Load what a scene file describes. Options that differ from their defaults go before those of the file.

    Raises:
        DataError: the file is missing or damaged, or what it names is.
        ConfigError: a key in it is not known.
    """
    data = _read_toml(path)
    unknown = sorted(set(data) - _SECTIONS)
    if unknown:
        raise ConfigError(
            "a scene file has unknown keys", file=path, field=unknown[0], expected=", ".join(sorted(_SECTIONS))
        )
    if ("procedural" in data) == ("data" in data):
        raise ConfigError("a scene file needs one source", file=path, expected="either [procedural] or [data]")
    if "procedural" in data:
        from fieldlab import synthetic as procedural  # imports the renderer, which captures do not need

        scene = _load_procedural(*procedural.read_scene_file(path), options)
    else:
        scene = _load_data(path, dict(_table(path, data, "data")), options)
    scene.name = str(data.get("name", scene.name))
    scene.description = str(data.get("description", scene.description))
    scene.source = str(path.resolve())
    scene.recommended = {**scene.recommended, **_table(path, data, "train")}
    return scene


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("a scene file is missing", file=path, found="no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError("a scene file cannot be read", file=path, found=str(error), expected="TOML") from error


def _table(path: Path, data: dict[str, Any], key: str) -> dict[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict):
        raise ConfigError("a section of a scene file is not a table", file=path, field=key, found=table)
    return table


def _load_data(path: Path, table: dict[str, Any], options: SceneOptions) -> Scene:
    where = table.pop("path", None)
    if not isinstance(where, str):
        raise ConfigError("a scene file does not say where its data is", file=path, field="data.path", found=where)
    known = {item.name: item.default for item in fields(SceneOptions)}
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ConfigError(
            "a scene file has unknown options", file=path, field=f"data.{unknown[0]}", expected=", ".join(known)
        )
    if "aabb" in table:
        table["aabb"] = tuple(table["aabb"])
    chosen = {key: getattr(options, key) for key, default in known.items() if getattr(options, key) != default}
    target = Path(where).expanduser()
    if not target.is_absolute():
        target = path.parent / target
    if not target.exists():
        raise DataError(
            "the data of a scene file is missing", file=path, field="data.path", found=str(target), expected="a folder"
        )
    return load_capture(target, replace(SceneOptions(), **{**table, **chosen}))


def _procedural_names() -> list[str]:
    from fieldlab import synthetic as procedural

    return procedural.scene_names()


def _load_procedural(name: str, made: ProceduralOptions | None, options: SceneOptions) -> Scene:
    """Render a scene with the options that make sense for one: picture size, box, contraction and background."""
    from fieldlab import synthetic as procedural

    made = made or procedural.default_options(name)
    side = max(8, round(made.size / options.downscale))
    if options.max_side is not None:
        side = min(side, options.max_side)
    scene = procedural.load_procedural(name, replace(made, size=side))
    if options.aabb is not None:
        scene.aabb = torch.from_numpy(given_box(options.aabb)).float()
    if options.unbounded is not None:
        scene.unbounded = options.unbounded
    scene.background = options.background or scene.background
    return scene
