"""Writing files so that they appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fieldlab.errors import RunFolderError


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it to ``path``.

    The temporary name keeps the suffix, since many writers choose their format by it. When the body raises, the
    temporary file is removed and ``path`` is left as it was.

    Raises:
        RunFolderError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Whether a file can be written here, before work is done for it.

    Raises:
        RunFolderError: a file is in the place of a folder, or the folder cannot be written.
    """
    folder = Path(path).parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        handle, name = tempfile.mkstemp(prefix=".fieldlab-", dir=folder)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise _write_error(Path(path), error) from error


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def finite_or_none(value: Any) -> Any:
    """``value``, or None for a number that is not finite, which JSON cannot say."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_with(path: str | Path, writer: Callable[[Path], object]) -> None:
    """Let ``writer(temporary_path)`` make the file, then move it to ``path``."""
    with whole_file(path) as temporary:
        writer(temporary)


def _write_error(path: Path, error: OSError) -> RunFolderError:
    hints = {
        errno.ENOSPC: "free some disk space or choose another folder, then run the command again",
        errno.EDQUOT: "free some of your disk quota or choose another folder, then run the command again",
        errno.EACCES: "choose a folder you may write to",
        errno.EROFS: "choose a folder on a writable disk",
    }
    hint = hints.get(error.errno or 0, "check the folder and run the command again")
    return RunFolderError("a file could not be written", file=path, found=error.strerror or str(error), hint=hint)
