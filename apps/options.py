"""Kinds of options that several commands have, as their help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro


def _hint(default: str) -> str:
    """What stands behind the help of an option that need not be given: nothing."""
    return "" if default == "None" else f"(default: {default})"


def _optional(metavar: str) -> object:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=_hint)


RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
OptionalFile = Annotated[Path | None, _optional("FILE")]
OptionalInt = Annotated[int | None, _optional("N")]
OptionalFloat = Annotated[float | None, _optional("X")]
OptionalText = Annotated[str | None, _optional("TEXT")]
OptionalBox = Annotated[tuple[float, float, float, float, float, float] | None, _optional("X0 Y0 Z0 X1 Y1 Z1")]
OptionalSize = Annotated[str | None, _optional("WxH")]
OptionalBackground = Annotated[Literal["white", "black"] | None, _optional("{white,black}")]
Device = Literal["auto", "cpu", "cuda"]
