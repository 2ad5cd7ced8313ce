"""Kinds of options that several commands have, as their help shows them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fieldlab.errors import ConfigError
from fieldlab.fields.kinds import kinds, kinds_in_words
from fieldlab.fields.sizes import count


def _hint(default: str) -> str:
    """What stands behind the help of an option that need not be given: nothing."""
    return "" if default in ("None", "") else f"(default: {default})"


def optional(metavar: str) -> object:
    """How an option that need not be given reads: no default is told."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=_hint)


RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
OptionalFile = Annotated[Path | None, optional("FILE")]
OptionalFolder = Annotated[Path | None, optional("DIR")]
OptionalInt = Annotated[int | None, optional("N")]
OptionalFloat = Annotated[float | None, optional("X")]
OptionalText = Annotated[str | None, optional("TEXT")]
OptionalBox = Annotated[tuple[float, float, float, float, float, float] | None, optional("X0 Y0 Z0 X1 Y1 Z1")]
OptionalSize = Annotated[str | None, optional("WxH")]
OptionalBackground = Annotated[Literal["white", "black"] | None, optional("{white,black}")]
FieldSettings = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...", help_behavior_hint="")]
Device = Literal["auto", "cpu", "cuda"]


def field_help(of: str, *, auto: bool = False) -> object:
    """The help of an option that names a representation: those that are installed, or what suits the scene."""
    suits = " auto takes the one that suits the scene, and says why." if auto else ""
    return tyro.conf.arg(metavar="FIELD", help=f"{of}: {kinds_in_words()}; vm+hashgrid (or hybrid) adds two fields, "
                         f"hashgrid:mlp joins their encodings.{suits}")  # fmt: skip


def all_kinds() -> str:
    """All representations that are installed, as options take several."""
    return ",".join(kinds())


def budget(params: str | None, megabytes: float | None) -> tuple[int | None, int | None]:
    """Most trainable values and most bytes, of which one at most is given.

    Raises:
        ConfigError: both are, or one is no number above zero.
    """
    if params is not None and megabytes is not None:
        raise ConfigError("there are two budgets", field="--params, --megabytes", hint="give one of them")
    if megabytes is not None and not (megabytes > 0 and math.isfinite(megabytes)):
        raise ConfigError("this is not a size", field="--megabytes", found=megabytes, expected="above 0, such as 20")
    return None if params is None else count(params), None if megabytes is None else int(megabytes * 1e6)


def ignored_on_resume(args: Any, kept: frozenset[str], *, same_field: str) -> list[str]:
    """Options given that a run which goes on does not take.

    Args:
        args: the command's options.
        kept: names of options that have an effect.
        same_field: the run's own field, which may be named again.
    """
    given = [f for f in dataclasses.fields(args) if f.default is not dataclasses.MISSING and f.name not in kept]
    changed = [f.name for f in given if getattr(args, f.name) != f.default]
    return [f"--{name.replace('_', '-')}" for name in changed if name != "field" or args.field != same_field]
