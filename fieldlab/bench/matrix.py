"""Every representation of a scene turned into every other: which runs there are to be, and the commands that make them.

Nothing is learnt twice: a run that was measured is known, one that was interrupted goes on, and settings that do not
fit those of before are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldlab.errors import RunFolderError
from fieldlab.fields.registry import config_named, spelled
from fieldlab.files import write_json
from fieldlab.jobs.job import Job
from fieldlab.runs.load import load_run


@dataclass(frozen=True)
class MatrixSettings:
    """What a matrix is made of; times in seconds.

    Args:
        scene: as a person names it.
        fields: the representations.
        out: folder of everything.
        teacher_seconds: training time of a teacher.
        student_seconds: time that a student of each representation gets.
        same: whether each field is also trained from scratch for as long as its students.
        scratch_seconds: other times for which it is.
        given: runs that are teachers of their kind already.
        seed: of all random numbers.
        device: cpu, cuda or auto.
    """

    scene: str
    fields: tuple[str, ...]
    out: Path
    teacher_seconds: float
    student_seconds: Mapping[str, float]
    same: bool
    scratch_seconds: tuple[float, ...]
    given: Mapping[str, Path]
    seed: int
    device: str


@dataclass(frozen=True)
class Wanted:
    """A run of the matrix and the command that makes it, None for a teacher that is there already.

    Args:
        kind: teacher, scratch, same (from scratch for as long as its students) or pair.
        asked: seconds it takes.
    """

    name: str
    student: str
    teacher: str | None
    kind: str
    asked: float
    folder: Path
    job: Job | None


def teachers(settings: MatrixSettings) -> list[Wanted]:
    """The runs that are trained for long, or are there already."""
    seconds, given = settings.teacher_seconds, settings.given
    return [
        Wanted(f"teacher-{_plain(name)}", name, None, "teacher", seconds, given[name], None)
        if name in given
        else _trained(settings, name, "teacher", seconds)
        for name in settings.fields
    ]


def students(settings: MatrixSettings) -> list[Wanted]:
    """All ordered pairs, and the runs that are trained beside them."""
    names, seconds = settings.fields, settings.student_seconds
    made = [_distilled(settings, teacher, student) for teacher in names for student in names if teacher != student]
    if settings.same:
        made += [_trained(settings, name, "same", seconds[name]) for name in names]
    return made + [_trained(settings, name, "scratch", each) for each in settings.scratch_seconds for name in names]


def folder_of(settings: MatrixSettings, teacher: str | None, student: str) -> Path:
    """The folder of a student, or, without a teacher, of a field trained on the photographs."""
    if teacher is None:
        return settings.given.get(student, settings.out / f"teacher-{_plain(student)}")
    return settings.out / f"{_plain(teacher)}-to-{_plain(student)}"


def _distilled(settings: MatrixSettings, teacher: str, student: str) -> Wanted:
    folder, seconds = folder_of(settings, teacher, student), settings.student_seconds[student]
    source = folder_of(settings, None, teacher)
    arguments = ["distill", str(source), "--to", student, "--seconds", str(seconds), *_common(settings, folder)]
    return _wanted(settings, folder.name, student, teacher, "pair", seconds, arguments)


def _trained(settings: MatrixSettings, field: str, kind: str, seconds: float) -> Wanted:
    name = f"{kind}-{_plain(field)}" if kind != "scratch" else f"{kind}-{seconds:g}s-{_plain(field)}"
    arguments = ["train", settings.scene, "--field", field, "--seconds", str(seconds)]
    arguments += _common(settings, settings.out / name)
    return _wanted(settings, name, field, None, kind, seconds, arguments)


def _wanted(
    settings: MatrixSettings, name: str, student: str, teacher: str | None, kind: str, seconds: float,
    arguments: list[str],
) -> Wanted:  # fmt: skip
    job = Job(name, tuple(arguments), settings.out / f"logs/{name}.log")
    return Wanted(name, student, teacher, kind, seconds, settings.out / name, job)


def _common(settings: MatrixSettings, folder: Path) -> list[str]:
    """Options of both commands: go on where there is something to go on from."""
    there = any((folder / "checkpoints").glob("*.safetensors"))
    again = ["--resume"] if there else ["--overwrite", "--seed", str(settings.seed)]
    return ["--out", str(folder), "--device", settings.device, *again]


def _plain(name: str) -> str:
    return re.sub(r"[^\w+]", "_", name)


def check(settings: MatrixSettings) -> None:
    """Say what cannot work before hours are spent.

    Raises:
        ConfigError: there is no such field.
        RunFolderError: a given teacher is of another kind or scene.
    """
    for name in settings.fields:
        config_named(name)
    for name, folder in settings.given.items():
        info = load_run(folder)[1]
        kind = spelled(info.config.field)
        if kind != spelled(config_named(name)):
            raise RunFolderError("a teacher is of another kind", field="--teachers", file=folder, found=kind,
                                 expected=name)  # fmt: skip
        if _absolute(info.config.source) != _absolute(settings.scene):
            raise RunFolderError("a teacher was trained on another scene", field="--teachers", file=folder,
                                 found=info.config.source, expected=settings.scene)  # fmt: skip


def same_as_before(settings: MatrixSettings) -> None:
    """Keep the settings in ``settings.json``, and refuse to mix runs of different times or scenes in one table.

    Raises:
        RunFolderError: there is a matrix with other settings.
    """
    file, now = settings.out / "settings.json", _stored(settings)
    if file.is_file():
        before = json.loads(file.read_text())
        times = before.get("times", {})
        shared = {name: times.get(name, seconds) for name, seconds in now["times"].items()}
        if {"teachers": {}, **before, "scene": _absolute(before["scene"]), "times": shared} != now:
            raise RunFolderError(
                "there is a matrix with other settings already", file=settings.out, found=before, expected=now,
                hint="choose another --out, or take what does not fit out of it",
            )  # fmt: skip
        now["times"] = {**times, **now["times"]}
    write_json(file, now)


def _stored(settings: MatrixSettings) -> dict[str, Any]:
    given = {name: str(folder.resolve()) for name, folder in settings.given.items()}
    return {"scene": _absolute(settings.scene), "teacher": settings.teacher_seconds, "seed": settings.seed,
            "times": dict(settings.student_seconds), "teachers": given}  # fmt: skip


def _absolute(scene: str) -> str:
    """One spelling of a scene: the whole path of a file or folder, or the name of a procedural one."""
    path = Path(scene).expanduser()
    return str(path.resolve()) if path.exists() else scene
