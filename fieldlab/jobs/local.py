"""Jobs in processes of this machine."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from fieldlab.jobs.job import Job, JobError, start


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
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "ab") as log:
            with self._lock:
                if self._stopped:
                    return
                # A session of its own, so that Ctrl-C reaches it once, through us.
                process = start(job.arguments, log, self.threads, start_new_session=True)
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
        if code and not self._stopped:
            raise JobError.of(job, code)
