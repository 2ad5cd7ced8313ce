"""Colors that pictures are composited on."""

from __future__ import annotations

import re

from fieldlab.errors import ConfigError

NAMED = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


def background_color(name: str) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1 of ``white``, ``black``, or ``#rrggbb``.

    Raises:
        ConfigError: it is none of these.
    """
    if name in NAMED:
        return NAMED[name]
    if re.fullmatch(r"#[0-9a-f]{6}", name) is None:
        raise ConfigError("there is no such background", field="background", found=name,
                          expected=f"{' | '.join(NAMED)} | #rrggbb")  # fmt: skip
    red, green, blue = bytes.fromhex(name[1:])
    return red / 255, green / 255, blue / 255


def background_name(red: int, green: int, blue: int) -> str:
    """``#rrggbb`` of levels from 0 to 255."""
    return f"#{red:02x}{green:02x}{blue:02x}"
