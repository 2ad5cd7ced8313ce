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
POLL_SECONDS = 0.5
SAVE_SECONDS = 30.0  # that an interrupted command may take to save
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

    close = stop  # :meth:`run` waits for them

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
        processors: what a job asks for.

    Raises:
        BackendError: ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str, processors: int) -> None:
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
        self._processors, self._stopped = processors, False
        self._waiting: dict[Any, Job] = {}
        self._task = ray.remote(num_cpus=processors, max_retries=1)(_run_remotely)

    def run(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """As :meth:`LocalJobs.run`.

        Raises:
            BackendError: the cluster went away.
        """
        folder = os.getcwd()
        waiting = {self._task.remote(job.arguments, str(job.log), folder, self._processors): job for job in jobs}
        self._waiting = waiting
        while waiting and not self._stopped:
            ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=POLL_SECONDS)
            for done in ready:
                job = waiting.pop(done)
                code = self._answer(done)
                if code and not self._stopped:
                    self.stop()
                    raise job_error(job, code)
                if not self._stopped:
                    yield job

    def _answer(self, task: Any) -> int:
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


def _reach(address: str) -> None:
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
        raise BackendError("the ray cluster cannot be reached", field="--ray", found=f"{address}: {error}",
                           hint="start one with ray start --head, or leave --ray out") from error  # fmt: skip


@contextmanager
def job_runner(workers: int, ray: str | None, processors: int) -> Iterator[LocalJobs | RayJobs]:
    """Who runs the jobs: ``workers`` processes of this machine, or a ray cluster by its address."""
    runner = LocalJobs(workers) if ray is None else RayJobs(ray, processors)
    try:
        yield runner
    finally:
        runner.close()


def job_error(job: Job, code: int) -> JobError:
    """What is told of a job that exited with ``code``."""
    lines = job.log.read_text(errors="replace").splitlines() if job.log.exists() else []
    return JobError(f"{job.name} failed", file=job.log, found=f"exit code {code}\n" + "\n".join(lines[-LAST_LINES:]))


def _run_remotely(arguments: Sequence[str], log: str, folder: str, processors: int) -> int:
    """A job, in a process that is interrupted when the task is cancelled."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(processors)}
    command = [sys.executable, "-m", "fieldlab.apps.main", *arguments]
    with open(log, "ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=folder, env=environment)
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
