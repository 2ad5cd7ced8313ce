"""Times and lists as people write them."""

from __future__ import annotations

import re

from fieldlab.errors import ConfigError

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration(text: str, option: str) -> float:
    """Seconds of 90, 90s, 3m or 1.5h, given to an option.

    Raises:
        ConfigError: it is not a time above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    seconds = float(match.group(1)) * SECONDS[match.group(2)] if match else 0.0
    if seconds <= 0:
        hint = "a number of parameters goes into --params" if option == "--budget" else None
        raise ConfigError("this is not a training time", field=option, found=text, expected="such as 90s, 3m or 1h",
                          hint=hint)  # fmt: skip
    return seconds


def words(text: str) -> list[str]:
    """What stands between commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
