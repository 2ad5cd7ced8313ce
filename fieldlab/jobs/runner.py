"""Choosing where jobs run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fieldlab.jobs.cluster import RayJobs
from fieldlab.jobs.job import Runner
from fieldlab.jobs.local import LocalJobs


@contextmanager
def job_runner(workers: int, ray: str | None, processors: int) -> Iterator[Runner]:
    """Who runs the jobs: ``workers`` processes of this machine, or a ray cluster by its address, of which each job asks
    for ``processors``.

    Raises:
        BackendError: ray is not installed, or the cluster cannot be reached.
    """
    runner: Runner = LocalJobs(workers) if ray is None else RayJobs(ray, processors)
    try:
        yield runner
    finally:
        runner.close()
