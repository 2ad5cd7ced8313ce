"""Who is using a run folder: a lock file that outlives no process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from fieldlab.errors import RunFolderError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; a lock whose process is gone is taken over.

    Raises:
        RunFolderError: another process that is alive holds it, or the folder cannot be written.
    """
    lock = folder / "lock"
    for _ in range(3):
        if _take_lock(lock):
            break
        owner = _owner(lock)
        if owner is not None and _alive(owner):
            raise RunFolderError(
                "the run folder is in use",
                file=folder,
                found=f"process {owner.get('pid')} on {owner.get('host')}",
                hint=f"wait for it to end; if it is certain that nothing uses it, delete {lock}",
            )
        lock.unlink(missing_ok=True)
    else:
        raise RunFolderError("the run folder is in use", file=folder)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def held_elsewhere(folder: Path) -> bool:
    """Whether another process that is alive holds a folder."""
    owner = _owner(folder / "lock")
    return owner is not None and owner.get("pid") != os.getpid() and _alive(owner)


def _take_lock(lock: Path) -> bool:
    """Make the lock file with this process's name in it; False when it exists. Never leaves a half-written one."""
    process = psutil.Process()
    text = json.dumps({"pid": process.pid, "host": socket.gethostname(), "started": process.create_time()})
    try:
        handle, name = tempfile.mkstemp(prefix=".lock-", dir=lock.parent)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            os.link(name, lock)
        finally:
            os.unlink(name)
    except FileExistsError:
        return False
    except OSError as error:
        raise RunFolderError("the run folder cannot be written", file=lock.parent, found=error.strerror) from error
    return True


def _owner(lock: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(lock.read_text())
        return owner if isinstance(owner, dict) else None
    except (OSError, ValueError):
        return None


def _alive(owner: dict[str, Any]) -> bool:
    """Whether the process that wrote the lock still runs. Elsewhere than on this host it is taken to be."""
    if owner.get("host") != socket.gethostname():
        return True
    try:
        started = psutil.Process(int(owner["pid"])).create_time()
        return bool(abs(started - float(owner["started"])) < 1.0)
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
