"""What a run is: its kind, what it was made from and with which settings. Stored once, as ``config.toml``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from fieldlab.data.options import SceneOptions
from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.registry import config_from_dict, config_to_dict
from fieldlab.files import write_text
from fieldlab.runs.kinds import RunKind, kind_named
from fieldlab.runs.upgrade import upgraded_config
from fieldlab.runs.values import from_dict, read_toml, to_dict

T = TypeVar("T")


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is made from.

    Args:
        kind: which kind of run, see :mod:`fieldlab.runs.kinds`.
        source: the scene or file as it was named: a path, or the name of a scene that comes with fieldlab.
        field: the representation.
        settings: one object for every section of the kind's configuration, in any order.
        parent: folder of the run it came from: its teacher, or what was edited or segmented; None for the first.
        parent_fingerprint: what that run is known by, wherever it is now.

    Raises:
        ConfigError: there is no such kind.
        TypeError: settings are not those of the kind: a mistake of the program.
    """

    kind: str
    source: str
    field: FieldConfig
    settings: tuple[Any, ...] = ()
    parent: str | None = None
    parent_fingerprint: str = ""

    def __post_init__(self) -> None:
        wanted = list(kind_named(self.kind).sections.values())
        given = {type(s): s for s in self.settings}
        if set(given) != set(wanted) or len(self.settings) != len(wanted):
            raise TypeError(f"a run of kind {self.kind} has settings {wanted}, not {self.settings}")
        object.__setattr__(self, "settings", tuple(given[cls] for cls in wanted))  # in the kind's order

    def get(self, cls: type[T]) -> T:
        """The settings of one section.

        Raises:
            ConfigError: a run of this kind has none such.
        """
        for found in self.settings:
            if isinstance(found, cls):
                return found
        raise ConfigError("this run " + (kind_named(self.kind).says or f"is of kind {self.kind}"), field="kind",
                          found=self.kind)  # fmt: skip

    def with_settings(self, *changed: Any) -> RunConfig:
        """The same with other settings in place of those of the same type."""
        kept = tuple(s for s in self.settings if type(s) not in {type(c) for c in changed})
        return dataclasses.replace(self, settings=(*kept, *changed))

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values without None."""
        values: dict[str, Any] = {"kind": self.kind, "source": self.source}
        if self.parent is not None:
            values["parent"] = self.parent
        if self.parent_fingerprint:
            values["parent_fingerprint"] = self.parent_fingerprint
        values["field"] = config_to_dict(self.field)
        for name, cls in kind_named(self.kind).sections.items():
            values[name] = to_dict(self.get(cls))
        return values

    @staticmethod
    def from_dict(values: dict[str, Any], file: Path | None = None) -> RunConfig:
        """The inverse of ``to_dict``; also of what fieldlab 0.1 wrote before runs said what they are.

        Raises:
            ConfigError: a section is missing, a key unknown or a value impossible.
        """
        values = upgraded_config(values)
        kind = _checked_kind(values, file)
        for name, cls in (("source", str), ("field", dict), *((name, dict) for name in kind.sections)):
            if not isinstance(values.get(name, {} if name == "scene" else None), cls):
                raise ConfigError("a run configuration is incomplete", file=file, field=name, found=values.get(name))
        return RunConfig(
            kind=kind.name,
            source=values["source"],
            field=config_from_dict(values["field"]),
            settings=tuple(from_dict(cls, values.get(n, {}), n, file) for n, cls in kind.sections.items()),
            parent=None if values.get("parent") is None else str(values["parent"]),
            parent_fingerprint=str(values.get("parent_fingerprint", "")),
        )

    @property
    def scene(self) -> SceneOptions:
        """How the scene is read.

        Raises:
            ConfigError: the run is of no scene.
        """
        return self.get(SceneOptions)


def _checked_kind(values: dict[str, Any], file: Path | None) -> RunKind:
    try:
        return kind_named(str(values.get("kind")))
    except ConfigError as error:
        raise ConfigError(error.what, file=file, field="kind", found=error.found, expected=error.expected,
                          hint="is the package that adds it installed?") from error  # fmt: skip


def write_config(path: Path, config: RunConfig) -> None:
    """Write ``config`` as TOML, whole or not at all."""
    write_text(path, tomli_w.dumps(config.to_dict()))


def read_config(path: Path) -> RunConfig:
    """Read what ``write_config`` wrote.

    Raises:
        ConfigError: the file is missing, not TOML, or not a run configuration.
    """
    return RunConfig.from_dict(read_toml(path), path)
