"""What a run is made from, as plain values: stored as ``config.toml`` and in every checkpoint."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import tomli_w

from fieldlab.data.options import SceneOptions
from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.registry import config_from_dict, config_to_dict
from fieldlab.files import write_text
from fieldlab.train.config import TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is made from."""

    source: str
    """The scene as it was named: a folder, a TOML file or a procedural scene."""
    field: FieldConfig
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    scene: SceneOptions = dataclasses.field(default_factory=SceneOptions)
    teacher: str | None = None
    """The run whose field this one's was initialised from."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values without None."""
        teacher = {} if self.teacher is None else {"teacher": self.teacher}
        return {
            "source": self.source,
            **teacher,
            "field": config_to_dict(self.field),
            "train": to_dict(self.train),
            "scene": to_dict(self.scene),
        }

    @staticmethod
    def from_dict(values: dict[str, Any], file: Path | None = None) -> RunConfig:
        """The inverse of ``to_dict``.

        Raises:
            ConfigError: a section is missing, a key unknown or a value impossible.
        """
        if "kind" in values:
            raise ConfigError(
                "this run is a fitted signal, not a scene", file=file, field="kind", found=values["kind"],
                hint="its pictures, numbers and mesh are in its folder",
            )  # fmt: skip
        for name, kind in (("source", str), ("field", dict), ("train", dict)):
            if not isinstance(values.get(name), kind):
                raise ConfigError("a run configuration is incomplete", file=file, field=name, found=values.get(name))
        return RunConfig(
            source=values["source"],
            field=config_from_dict(values["field"]),
            train=from_dict(TrainConfig, values["train"], "train", file),
            scene=from_dict(SceneOptions, values.get("scene", {}), "scene", file),
            teacher=None if values.get("teacher") is None else str(values["teacher"]),
        )


class Stored(Protocol):
    """A configuration that can be written as nested plain values."""

    def to_dict(self) -> dict[str, Any]: ...


def write_config(path: Path, config: Stored) -> None:
    """Write ``config`` as TOML, whole or not at all."""
    write_text(path, tomli_w.dumps(config.to_dict()))


def read_config(path: Path) -> RunConfig:
    """Read what ``write_config`` wrote.

    Raises:
        ConfigError: the file is missing, not TOML, or not a run configuration.
    """
    return RunConfig.from_dict(read_toml(path), path)


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
