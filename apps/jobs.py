"""Commands side by side: in processes of this machine, or as tasks of a ray cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldlab.errors import BackendError, FieldlabError

CONNECT_SECONDS = 5.0
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


class LocalJobs:
    """Runs jobs in processes of this machine, which share its processors.

    Args:
        workers: how many at a time.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.threads = max((os.cpu_count() or 1) // workers, 1)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Do all jobs, and give each one when it is done, in whatever order. The place of a job that is done is taken
        when the next one is asked for, so that what is done with it disturbs no other's time.

        Raises:
            JobError: one failed; those that run are stopped, and have saved what they had.
        """
        left = list(jobs)
        running: dict[Future[None], Job] = {}
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                while (left or running) and not self._stopped:
                    while left and len(running) < self.workers:
                        job = left.pop(0)
                        running[pool.submit(self._one, job)] = job
                    done = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
                    job = running.pop(done)
                    done.result()
                    if not self._stopped:
                        yield job
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C would, and begin nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def _one(self, job: Job) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "ab") as log:
            with self._lock:
                if self._stopped:
                    return
                command = [sys.executable, "-m", "fieldlab.apps.main", *job.arguments]
                # A session of its own, so that Ctrl-C reaches it once, through us.
                process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
        if code and not self._stopped:
            raise job_error(job, code)


class RayJobs:
    """Runs jobs as tasks of a ray cluster whose machines see the same files.

    Args:
        address: of the cluster, or ``auto``.
        workers: processors that a job asks for.

    Raises:
        BackendError: ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str, workers: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise BackendError("ray is not installed", hint="pip install 'fieldlab[ray]'") from error
        _reach(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise BackendError("the ray cluster cannot be reached", field="--ray", found=f"{address}: {error}",
                               hint="start one with ray start --head, or leave --ray out") from error  # fmt: skip
        self._ray: Any = ray
        self._task = ray.remote(num_cpus=workers, max_retries=1)(_run_remotely)

    def run(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """As :meth:`LocalJobs.run`."""
        folder = os.getcwd()
        waiting = {self._task.remote(job.arguments, str(job.log), folder): job for job in jobs}
        while waiting:
            [done], _ = self._ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(done)
            if code := self._ray.get(done):
                self.stop()
                raise job_error(job, code)
            yield job

    def stop(self) -> None:
        """Leave the cluster, which ends this program's tasks."""
        self._ray.shutdown()


def _reach(address: str) -> None:
    """Try a cluster's port first: ray itself waits for minutes.

    Raises:
        BackendError: nothing answers.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # auto, or something ray knows
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BackendError("the ray cluster cannot be reached", field="--ray", found=f"{address}: {error}",
                           hint="start one with ray start --head, or leave --ray out") from error  # fmt: skip


@contextmanager
def job_runner(workers: int, ray: str | None) -> Iterator[LocalJobs | RayJobs]:
    """Who runs the jobs: this machine, or a ray cluster by its address."""
    runner = LocalJobs(workers) if ray is None else RayJobs(ray, workers)
    try:
        yield runner
    finally:
        runner.stop()


def job_error(job: Job, code: int) -> JobError:
    """What is told of a job that exited with ``code``."""
    lines = job.log.read_text(errors="replace").splitlines() if job.log.exists() else []
    return JobError(f"{job.name} failed", file=job.log, found=f"exit code {code}\n" + "\n".join(lines[-LAST_LINES:]))


def _run_remotely(arguments: Sequence[str], log: str, folder: str) -> int:
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        command = [sys.executable, "-m", "fieldlab.apps.main", *arguments]
        return subprocess.run(command, stdout=file, stderr=file, cwd=folder, check=False).returncode
