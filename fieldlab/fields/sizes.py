"""Sizes of fields as people write them. PyTorch is not needed for that."""

from __future__ import annotations

import re

from fieldlab.errors import ConfigError


def count(text: str) -> int:
    """Numbers such as 500000, 500k or 5M.

    Raises:
        ConfigError: it is not a number.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text)
    if not match:
        raise ConfigError("this is not a number of parameters", field="--params", found=text, expected="such as 5M")
    return int(float(match.group(1)) * {"": 1, "k": 1_000, "m": 1_000_000}[match.group(2).lower()])
