"""The registry of representations: from a name and plain values to a field.

Representations are entry points (:mod:`fieldlab.fields.kinds`) of this package and of others. A module is imported when
its kind is first asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import cache
from typing import Any

import torch

from fieldlab.errors import BackendError, ConfigError, require
from fieldlab.fields.base import Field, FieldConfig
from fieldlab.fields.kinds import FIELDS, MADE_FIELDS, kinds, made_kinds
from fieldlab.plugins import load

COMBINATIONS = {"+": "sum", ":": "concat"}
"""How names are joined, and what the hybrid of these fields calls it."""
USUAL_HYBRID = "vm+hashgrid"  # smooth large shapes from planes, detail from the hash grid


@cache
def field_type(kind: str) -> type[Field]:
    """The class of a representation.

    Raises:
        ConfigError: no representation has this name.
        BackendError: its package cannot be imported, or is not one of a field.
    """
    if kind not in kinds() + made_kinds():
        near = get_close_matches(kind.lower(), kinds() + made_kinds(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "a field of another package needs that package installed"
        raise ConfigError("there is no such field", found=kind, hint=hint,
                          expected=" | ".join(kinds()) + ", or several joined by + or by :")  # fmt: skip
    group = FIELDS if kind in kinds() else MADE_FIELDS
    found = load(group, kind)
    if not (isinstance(found, type) and issubclass(found, Field)):
        raise BackendError("a plug-in is not a field", field=f"{group}: {kind}", found=found,
                           expected="a subclass of fieldlab.fields.base.Field")  # fmt: skip
    names = (getattr(found, "kind", None), getattr(getattr(found, "config_type", None), "kind", None))
    if names != (kind, kind):
        raise BackendError("a field and its configuration are not called what its entry point is", found=names,
                           field=f"{group}: {kind}", expected=f"kind = {kind!r} in both classes")  # fmt: skip
    return found


def config_type(kind: str) -> type[FieldConfig]:
    """The configuration class of a representation.

    Raises:
        ConfigError: no representation has this name.
        BackendError: its package cannot be imported, or is not one of a field.
    """
    return field_type(kind).config_type


def config_named(name: str) -> FieldConfig:
    """The default configuration of a representation, or of several joined: ``vm+hashgrid`` adds their densities and
    latents, ``vm:hashgrid`` lets one perceptron read their encodings side by side; ``hybrid`` is the first of these.

    Raises:
        ConfigError: no representation has this name, or these cannot be joined.
    """
    name = USUAL_HYBRID if name == "hybrid" else name
    if all(sign in name for sign in COMBINATIONS):
        raise ConfigError("fields are either added or joined", found=name,
                          expected="parts with + or with : between them")  # fmt: skip
    for sign, combine in COMBINATIONS.items():
        if sign in name:
            hybrid: Any = config_type("hybrid")
            return hybrid(parts=tuple(config_type(part)().as_part() for part in name.split(sign)), combine=combine)
    if name in made_kinds():
        raise ConfigError("this field is made of others", found=name, expected=" | ".join(kinds()),
                          hint="join fields as in vm+hashgrid; fieldlab edit makes edited ones")  # fmt: skip
    return config_type(name)()


def spelled(config: FieldConfig) -> str:
    """The name that :func:`config_named` takes: of parts with their sign between them for a composition."""
    return config.spelling


def with_settings(config: FieldConfig, settings: Sequence[str]) -> FieldConfig:
    """The configuration with some values replaced, each given as ``name=value``; a dot leads into a field it is made
    of, as in ``grid.density_rank=8`` or ``parts.0.resolution=128``.

    Raises:
        ConfigError: there is no such setting, the value has another type, or the result is impossible.
    """
    parsed = []
    for text in settings:
        name, given, value = text.partition("=")
        if not given:
            raise ConfigError("a setting of a field has a value", found=text, expected="name=value")
        parsed.append((name.strip().split("."), value.strip(), text))
    return _with(config, parsed)


def _with(config: FieldConfig, settings: Sequence[tuple[list[str], str, str]]) -> FieldConfig:
    """The configuration with all settings (path, value, as given) at once: some are only possible together."""
    known = {f.name: getattr(config, f.name) for f in fields(config)}
    by_name: dict[str, list[tuple[list[str], str, str]]] = {}
    for path, value, text in settings:
        if path[0] not in known:
            near = get_close_matches(path[0], known, n=1, cutoff=0.5)
            raise ConfigError("a field has no such setting", field=config.kind, found=text, expected=", ".join(known),
                              hint=f"did you mean {near[0]}?" if near else None)  # fmt: skip
        by_name.setdefault(path[0], []).append((path[1:], value, text))
    return replace(config, **{name: _changed(config, name, known[name], given) for name, given in by_name.items()})


def _changed(config: FieldConfig, name: str, old: Any, settings: list[tuple[list[str], str, str]]) -> Any:
    """One value of a configuration after the settings of it, whose paths begin behind its name."""
    rest, value, text = settings[-1]
    if isinstance(old, FieldConfig) and all(path for path, _, _ in settings):
        return _with(old, settings)
    if isinstance(old, tuple) and all(len(path) > 1 and path[0].isdecimal() for path, _, _ in settings):
        numbered: dict[int, list[tuple[list[str], str, str]]] = {}
        for path, given, whole in settings:
            numbered.setdefault(int(path[0]), []).append((path[1:], given, whole))
        if max(numbered) < len(old):
            return tuple(_with(part, numbered[i]) if i in numbered else part for i, part in enumerate(old))
    if rest or isinstance(old, FieldConfig | tuple):
        raise ConfigError("this is not one setting of a field", field=config.kind, found=text)
    try:
        made = _BOOL[value.lower()] if isinstance(old, bool) else type(old)(value)
    except (ValueError, KeyError) as error:
        raise ConfigError("a setting has the wrong type", field=f"field.{name}", found=value,
                          expected=type(old).__name__) from error  # fmt: skip
    require(not isinstance(made, float) or math.isfinite(made), f"field.{name}", value, "a finite number")
    return made


_BOOL = {"true": True, "false": False}


def config_to_dict(config: FieldConfig) -> dict[str, Any]:
    """Plain values of a configuration, with its ``kind``; fields it is made of become such values too."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {"kind": config.kind, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, FieldConfig):
        return config_to_dict(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def config_from_dict(values: dict[str, Any]) -> FieldConfig:
    """The configuration that ``config_to_dict`` gave.

    Raises:
        ConfigError: unknown kind, an unknown key, or a value of the wrong type.
    """
    values = dict(values)
    cls = config_type(str(values.pop("kind", "")))
    known = {f.name: f for f in fields(cls)}
    for name, value in values.items():
        if name not in known:
            raise ConfigError("a field has no such setting", field=f"field.{name}", expected=", ".join(known))
        default = known[name].default
        if isinstance(default, tuple) and isinstance(value, (list, tuple)):
            values[name] = tuple(config_from_dict(v) if isinstance(v, dict) else v for v in value)
            continue
        if isinstance(default, FieldConfig) and isinstance(value, dict):
            values[name] = config_from_dict(value)
            continue
        if type(value) is not type(default) and not (isinstance(default, float) and isinstance(value, int)):
            raise ConfigError(
                "a setting has the wrong type",
                field=f"field.{name}",
                found=repr(value),
                expected=type(default).__name__,
            )
    return cls(**values)


def build_field(config: FieldConfig, unit_length: float, generator: torch.Generator | None = None) -> Field:
    """A freshly initialised field.

    Args:
        config: its plain values; their class chooses the representation.
        unit_length: world length of the side of its box.
        generator: CPU random numbers for the initial values.
    """
    return field_type(config.kind)(config, unit_length, generator)  # type: ignore[call-arg]
