"""Where a page can be served."""

from __future__ import annotations

import errno
import socket

from fieldlab.errors import BackendError

LOCAL = "127.0.0.1"
TRIES = 1000  # ports above the wanted one
TAKEN = (errno.EADDRINUSE, errno.EACCES)


def free_port(host: str, port: int) -> int:
    """The first port from ``port`` on that can be listened at; any for 0. The server itself would wait for ever where
    there is none.

    Raises:
        BackendError: nothing can listen at that address, or no port is free.
    """
    if not 0 <= port <= 65535:
        raise _refused(host, port, "ports are numbers from 0 to 65535")
    for wanted in range(port, min(port + TRIES, 65536)):
        try:
            return _bound(host, wanted)
        except OSError as error:
            if error.errno not in TAKEN:
                raise _refused(host, port, str(error)) from error
    raise _refused(host, port, "no port from there on is free")


def _bound(host: str, port: int) -> int:
    """A port that was listened at for a moment, at every address that a name stands for."""
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        with socket.create_server((address[0], port), family=family) as probe:
            port = int(probe.getsockname()[1])
    return port


def _refused(host: str, port: int, hint: str) -> BackendError:
    return BackendError("the viewer cannot listen there", field="--host, --port", found=f"{host}:{port}", hint=hint)
