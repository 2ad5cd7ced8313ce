"""fieldlab matrix: all pairs of a scene, resumable, and the jobs it is made of."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import imageio.v3 as iio
import pytest

from fieldlab.apps.main import call, main
from fieldlab.bench.matrix_measure import Result
from fieldlab.bench.matrix_report import behind, markdown
from fieldlab.errors import BackendError
from fieldlab.jobs.cluster import RayJobs
from fieldlab.jobs.job import Job, JobError
from fieldlab.jobs.local import LocalJobs
from fieldlab.jobs.runner import job_runner
from tests.apps.test_commands import failure


class InThisProcess:
    """Runs jobs one after another without starting Python for each."""

    def run(self, jobs):
        for each in jobs:
            assert call(each.arguments) == 0
            yield each

    def stop(self) -> None:
        raise AssertionError("nobody interrupts")


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr("fieldlab.jobs.runner.job_runner", lambda *_: nullcontext(InThisProcess()))


@pytest.mark.slow
def test_every_pair_once(small_scene, tmp_path, capsys, in_this_process):
    out, fields, times = tmp_path / "matrix", "hashgrid,voxel", ["--teacher-time", "1s", "--time", "0.5s"]
    command = ["matrix", str(small_scene), "--fields", fields, *times, "--out", str(out), "--device", "cpu"]
    assert main(command) == 0
    results = json.loads((out / "matrix.json").read_text())["results"]
    pairs = {(r["teacher"], r["student"]) for r in results if r["teacher"]}
    assert pairs == {("hashgrid", "voxel"), ("voxel", "hashgrid")}
    assert [r["student"] for r in results if r["teacher"] is None] == ["hashgrid", "voxel"] * 2
    assert all((r["psnr_to_teacher"] is None) == (r["teacher"] is None) for r in results)
    assert all(r["psnr"] > 5 and r["seconds"] > 0 and r["bytes"] > 0 for r in results)
    text = (out / "matrix.md").read_text()
    assert "| from scratch, same time |" in text
    assert "| distilled | voxel | hashgrid |" in text
    assert iio.imread(out / "matrix.png").shape[1] > 3 * 16
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("*/checkpoints/*")}
    capsys.readouterr()
    (out / "results" / "hashgrid-to-voxel.json").unlink()  # as if interrupted before it was measured
    assert main(command) == 0
    assert "2 done before" in capsys.readouterr().err
    assert {p for p in out.glob("*/checkpoints/*") if p not in stamps} == set()
    assert json.loads((out / "matrix.json").read_text())["results"] == results
    assert "other settings" in failure(capsys, [*command, "--seed", "1"])
    there = f"hashgrid={out / 'teacher-hashgrid'}"
    other = [*command[:2], "--fields", fields, "--teachers", there, *times]
    other += ["--scratch", "", "--out", str(tmp_path / "other"), "--device", "cpu"]
    assert "of another kind" in failure(capsys, [*other, "--teachers", there.replace("hashgrid=", "voxel=")])
    assert "another scene" in failure(capsys, ["matrix", "toys", *other[2:]])
    assert main(other) == 0
    assert not (tmp_path / "other" / "teacher-hashgrid").exists()
    found = json.loads((tmp_path / "other" / "matrix.json").read_text())["results"]
    assert found[0] == results[0]  # the same run, measured again
    assert {r["kind"] for r in found} == {"teacher", "pair"}


@pytest.mark.slow
def test_what_makes_no_matrix(scene, tmp_path, capsys):
    base = ["matrix", str(scene), "--out", str(tmp_path / "out")]
    assert "two fields" in failure(capsys, [*base, "--fields", "vm"])
    assert "did you mean hashgrid" in failure(capsys, [*base, "--fields", "vm,hashgird"])
    assert "not a training time" in failure(capsys, [*base, "--time", "soon"])
    assert "no such test view" in failure(capsys, [*base, "--view", "99"])
    assert "not a training time" in failure(capsys, [*base, "--scratch", "same,soon"])
    assert "not in the matrix" in failure(capsys, [*base, "--time", "1m,tensorf=5m"])
    assert "workers must be 1 or more" in failure(capsys, [*base, "--workers", "0"])
    assert "and its run" in failure(capsys, [*base, "--teachers", "runs/vm"])
    assert not (tmp_path / "out").exists()


def result(student: str, psnr: float, asked: float, kind: str, teacher: str | None = None) -> Result:
    return Result(student, teacher, kind, asked, psnr, 0.9, None, asked, 1, 1, 1)


def test_a_student_is_held_to_the_lesser_of_its_teacher_and_its_own_kind_trained_longest():
    results = [
        result("vm", 34.0, 300, "teacher"), result("mlp", 24.0, 300, "teacher"), result("mlp", 20.0, 60, "scratch"),
        result("vm", 30.0, 60, "scratch"), result("mlp", 26.0, 600, "scratch"), result("vm", 36.0, 600, "scratch"),
        result("mlp", 25.5, 60, "pair", "vm"), result("vm", 23.0, 60, "pair", "mlp"),
    ]  # fmt: skip
    assert [(round(gap, 3), r.student) for gap, r in behind(results)] == [(1.0, "vm"), (0.5, "mlp")]
    text = markdown(["vm", "mlp"], results)
    assert "at most 1.00 dB (mlp to vm)" in text
    assert "| from scratch, 600 s |  | 36.00 | 26.00 |" in text


def job(tmp_path, name: str, *arguments: str) -> Job:
    return Job(name, arguments, tmp_path / "logs" / f"{name}.log")


def test_jobs_come_back_as_they_are_done_and_leave_a_log(tmp_path):
    jobs = [job(tmp_path, "one", "--version"), job(tmp_path, "two", "--help")]
    done = list(LocalJobs(2).run(jobs))
    assert sorted(j.name for j in done) == ["one", "two"]
    assert "usage: fieldlab COMMAND" in jobs[1].log.read_text()


def test_a_failing_job_says_why_and_stops_the_others(tmp_path):
    jobs = [job(tmp_path, "bad", "nowhere"), *(job(tmp_path, f"{i}", "--version") for i in range(3))]
    with pytest.raises(JobError, match="bad failed") as caught:
        list(LocalJobs(1).run(jobs))
    assert "there is no command 'nowhere'" in str(caught.value)
    assert "exit code 2" in str(caught.value)
    assert caught.value.file == jobs[0].log
    assert not jobs[3].log.exists() or jobs[3].log.read_text() == ""


@pytest.mark.slow
def test_stopping_interrupts_what_runs(small_scene, tmp_path):
    out = tmp_path / "run"
    runner = LocalJobs(1)
    long = job(tmp_path, "long", "train", str(small_scene), "--out", str(out), "--params", "40k", "--steps", "1000000")

    def stop() -> None:
        deadline = time.monotonic() + 300
        while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        runner.stop()

    waiting = threading.Thread(target=stop)
    waiting.start()
    list(runner.run([long]))
    waiting.join()
    assert list((out / "checkpoints").glob("*.safetensors"))


class FakeRay:
    """What :class:`RayJobs` uses of ray, in this process."""

    def __init__(self, refuses: Exception | None = None, loses: Exception | None = None) -> None:
        self.refuses, self.loses = refuses, loses
        self.asked: list[dict[str, object]] = []
        self.cancelled: list[object] = []
        self.left = False

    def init(self, **options: object) -> None:
        self.asked.append(options)
        if self.refuses is not None:
            raise self.refuses

    def remote(self, **options: object):
        self.asked.append(options)
        return lambda function: SimpleNamespace(remote=lambda *arguments: partial(function, *arguments))

    def wait(self, tasks: list, num_returns: int, timeout: float):
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task) -> int:
        if self.loses is not None:
            raise self.loses
        return task()

    def cancel(self, task: object) -> None:
        self.cancelled.append(task)

    def shutdown(self) -> None:
        self.left = True


def test_a_cluster_runs_the_jobs(tmp_path, monkeypatch):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    jobs = [job(tmp_path, "one", "--version"), job(tmp_path, "two", "--help")]
    with job_runner(1, "auto", 3) as runner:
        assert [done.name for done in runner.run(jobs)] == ["one", "two"]
    assert "usage: fieldlab COMMAND" in jobs[1].log.read_text()
    assert ray.asked[0]["address"] == "auto"
    assert ray.asked[1]["num_cpus"] == 3
    assert ray.left
    bad = job(tmp_path, "bad", "nowhere")
    with job_runner(1, "auto", 3) as runner, pytest.raises(JobError, match="bad failed"):
        list(runner.run([bad, *jobs]))
    assert len(ray.cancelled) == 2  # stopped when the first had failed
    with job_runner(1, "auto", 3) as runner:
        for _ in runner.run(jobs):
            runner.stop()  # as a signal would


def test_a_cluster_that_cannot_be_reached_or_goes_away(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match="not installed"):
        RayJobs("auto", 1)
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"):
        with pytest.raises(BackendError, match="cannot be reached"):
            RayJobs(address, 1)
    monkeypatch.setitem(sys.modules, "ray", FakeRay(refuses=ConnectionError("no cluster")))
    with pytest.raises(BackendError, match="cannot be reached"):
        RayJobs("auto", 1)
    lost = FakeRay(loses=RuntimeError("a machine is gone"))
    monkeypatch.setitem(sys.modules, "ray", lost)
    with job_runner(1, "auto", 1) as runner, pytest.raises(BackendError, match="lost a command"):
        list(runner.run([job(tmp_path, "one", "--version")]))
    assert lost.left
