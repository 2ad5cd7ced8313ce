"""One call of fieldlab in a process of its own, and who runs many of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from fieldlab.errors import FieldlabError

LAST_LINES = 12  # of a failed job's log, in its error


@dataclass(frozen=True)
class Job:
    """One call of ``fieldlab``.

    Args:
        name: what it is called in messages.
        arguments: of the command line.
        log: file for everything it prints.
    """

    name: str
    arguments: tuple[str, ...]
    log: Path


class JobError(FieldlabError):
    """A command that was run for another one failed."""

    @staticmethod
    def of(job: Job, code: int) -> JobError:
        """What is told of a job that exited with ``code``: the end of its log."""
        lines = job.log.read_text(errors="replace").splitlines() if job.log.exists() else []
        found = f"exit code {code}\n" + "\n".join(lines[-LAST_LINES:])
        return JobError(f"{job.name} failed", file=job.log, found=found)


class Runner(Protocol):
    """Runs jobs, several at a time."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Do all jobs, and give each one when it is done, in whatever order.

        Raises:
            JobError: one failed; those that run are stopped, and have saved what they had.
        """

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C would, and begin nothing more. May be called from a signal handler."""

    def close(self) -> None:
        """Interrupt what runs, wait until it has saved, and let go of everything."""


def start(arguments: Sequence[str], log: IO[bytes], threads: int, **options: Any) -> subprocess.Popen[bytes]:
    """Start a call of ``fieldlab`` that computes on so many threads and prints into ``log``."""
    command = [sys.executable, "-m", "fieldlab", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment, **options)
