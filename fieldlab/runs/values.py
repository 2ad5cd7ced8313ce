"""Flat dataclasses as plain values, as TOML and JSON hold them, and back with every type checked."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from fieldlab.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Fields of a flat dataclass without those that are None; tuples become lists, as in TOML and JSON."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def from_dict(cls: type[T], values: dict[str, Any], section: str, file: Path | None = None) -> T:
    """A flat dataclass from plain values.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type.
    """
    hints = typing.get_type_hints(cls)
    made = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(
                "there is no such setting", file=file, field=f"{section}.{name}", expected=", ".join(hints)
            )
        made[name] = _typed(value, hints[name], f"{section}.{name}", file)
    try:
        return cls(**made)
    except TypeError as error:
        raise ConfigError("a setting is missing", file=file, field=section, found=error) from error


def _typed(value: Any, hint: Any, name: str, file: Path | None) -> Any:
    allowed = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for kind in allowed:
        if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(kind)
            if Ellipsis in inner or len(inner) == len(value):
                return tuple(_typed(v, inner[0], name, file) for v in value)
        elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        elif isinstance(kind, type) and type(value) is kind:
            return value
    expected = getattr(hint, "__name__", str(hint))
    raise ConfigError("a setting has the wrong type", file=file, field=name, found=repr(value), expected=expected)


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a run's ``config.toml``.

    Raises:
        ConfigError: the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("a run configuration cannot be read", file=path, found=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("a run configuration is not TOML", file=path, found=error) from error
