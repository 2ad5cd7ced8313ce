"""Where the page may write: named files in a few folders of the run, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from fieldlab.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,79}")


def place(folder: Path | None, kind: str, name: str, suffix: str = "") -> Path:
    """The path of something called ``name`` in the folder ``kind`` of a run, with a suffix.

    Raises:
        ConfigError: the name could lead elsewhere or is none, a link leads out of the run, or there is no run folder.
    """
    if folder is None:
        raise ConfigError("this run has no folder to write to")
    if suffix and name.lower().endswith(suffix.lower()):
        name = name[: -len(suffix)]
    if not NAME.fullmatch(name) or ".." in name:
        raise ConfigError("this is not a name", found=name, expected="letters, digits, spaces, . _ -, 80 at most")
    made = folder / kind / f"{name}{suffix}"
    root = folder.resolve()
    if root not in made.resolve().parents or (folder / kind).is_symlink():
        raise ConfigError("a link leads out of the run's folder", file=made)
    return made
