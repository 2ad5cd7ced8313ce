"""Jobs as tasks of a ray cluster whose machines see the same files."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fieldlab.errors import BackendError
from fieldlab.jobs.job import Job, JobError, start

CONNECT_SECONDS = 5.0
POLL_SECONDS = 0.5
SAVE_SECONDS = 30.0  # that an interrupted command may take to save


class RayJobs:
    """Runs jobs as tasks of a ray cluster whose machines see the same files.

    Args:
        address: of the cluster, or ``auto``.
        processors: what a job asks for.

    Raises:
        BackendError: ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str, processors: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise BackendError("ray is not installed", hint="pip install 'fieldlab[ray]'") from error
        _try_port(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise _unreachable(address, error) from error
        self._ray: Any = ray
        self._processors, self._stopped = processors, False
        self._waiting: dict[Any, Job] = {}
        self._task = ray.remote(num_cpus=processors, max_retries=1)(_run_remotely)

    def run(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Do all jobs, and give each one when it is done, in whatever order.

        Raises:
            JobError: one failed; those that run are stopped, and have saved what they had.
            BackendError: the cluster went away.
        """
        folder = os.getcwd()
        waiting = {self._task.remote(job.arguments, str(job.log), folder, self._processors): job for job in jobs}
        self._waiting = waiting
        while waiting and not self._stopped:
            ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=POLL_SECONDS)
            for done in ready:
                job = waiting.pop(done)
                code = self._exit_code(done)
                if code and not self._stopped:
                    self.stop()
                    raise JobError.of(job, code)
                if not self._stopped:
                    yield job

    def _exit_code(self, task: Any) -> int:
        try:
            return int(self._ray.get(task))
        except Exception as error:  # ray raises kinds of its own for every way in which a machine can be lost
            if self._stopped:
                return 0
            self.stop()
            raise BackendError("the ray cluster lost a command", field="--ray", found=str(error),
                               hint="the same command goes on where it was") from error  # fmt: skip

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C would, and begin nothing more. May be called by a signal while
        :meth:`run` waits, and so leaves the cluster itself to :meth:`close`."""
        if self._stopped:
            return
        self._stopped = True
        for task in self._waiting:
            self._ray.cancel(task)  # raises KeyboardInterrupt in the task, which stops its process

    def close(self) -> None:
        """Interrupt what runs, wait a moment until it has saved, and leave the cluster."""
        self.stop()
        if self._waiting:
            self._ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=SAVE_SECONDS)
        self._ray.shutdown()


def _try_port(address: str) -> None:
    """Try a cluster's port first: ray itself waits for minutes.

    Raises:
        BackendError: nothing answers.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    host = host.strip("[]")  # of an IPv6 address
    if not host or not port.isdecimal():
        return  # auto, or something ray knows
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> BackendError:
    return BackendError("the ray cluster cannot be reached", field="--ray", found=f"{address}: {error}",
                        hint="start one with ray start --head, or leave --ray out")  # fmt: skip


def _run_remotely(arguments: Sequence[str], log: str, folder: str, processors: int) -> int:
    """A job, in a process that is interrupted when the task is cancelled."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        process = start(arguments, file, processors, cwd=folder)
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
