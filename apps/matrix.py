"""fieldlab matrix: every representation of a scene turned into every other, in one table and one picture."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fieldlab.apps.matrix_report import Result
from fieldlab.apps.options import Device, OptionalFile, OptionalText, all_kinds

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fieldlab.data.views import Views
    from fieldlab.jobs.job import Job
    from fieldlab.render.model import RadianceModel


@dataclass
class Matrix:
    """Train one teacher of each kind, or use what is there, turn each into all the others, and write one table and one
    picture. Called again, it goes on pair by pair where it was."""

    scene: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
    """A folder of photographs with poses (any supported format), a scene TOML, or the name of a procedural scene."""
    fields: str = dataclasses.field(default_factory=all_kinds)
    """Representations with commas between."""
    teachers: tuple[Annotated[str, tyro.conf.arg(metavar="FIELD=RUN")], ...] = ()
    """Runs that are there already to be the teachers of their kind: vm=runs/lego-vm; the others are trained."""
    teacher_time: str = "5m"
    """Training time of each teacher, such as 90s, 5m or 1h."""
    time: str = "1m"
    """Distillation time of each pair, with other times for some students behind it: 1m,cp=5m."""
    scratch: str = "same"
    """Times for which each field is also trained from scratch, to compare with, such as same,10m; same is the time its
    students get."""
    out: OptionalFile = None
    """Folder for all runs, the table and the picture; runs/matrix-<scene> by default."""
    workers: int = 1
    """How many commands run side by side, each with its share of this machine's processors."""
    ray: OptionalText = None
    """Address of a ray cluster that sees the same files, or auto, to run the commands there instead."""
    ray_processors: int = 2
    """Processors that every command asks of the cluster."""
    view: int = 0
    """The test view that the picture shows."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where to train, distill and render."""


def run(args: Matrix) -> list[Result]:
    """Do what is left to do, print the tables, and write ``matrix.json``, ``matrix.md`` and ``matrix.png``."""
    from rich.console import Console

    from fieldlab.apps.interrupt import stopping
    from fieldlab.apps.matrix_report import grid, markdown, picture
    from fieldlab.errors import ConfigError
    from fieldlab.files import write_json, write_text
    from fieldlab.jobs.runner import job_runner
    from fieldlab.ops.device import choose_device
    from fieldlab.pictures.sheets import write_picture

    names = list(dict.fromkeys(name.strip() for name in args.fields.split(",") if name.strip()))
    if len(names) < 2:
        raise ConfigError("a matrix has two fields or more", field="--fields", found=args.fields)
    if args.workers < 1:
        raise ConfigError("somebody has to work", field="--workers", found=args.workers, expected="1 or more")
    console, device = Console(stderr=True), choose_device(args.device)
    out = args.out or Path("runs") / f"matrix-{Path(args.scene).stem or 'scene'}"
    given = _check(args, names)
    with job_runner(args.workers, args.ray, args.ray_processors) as runner, stopping(runner.stop) as caught:
        measured = Measured(out, _test_views(args), given, device)
        _same_as_before(args, out, names)
        for stage, runs in (("teachers", teachers(args, out, names)), ("students", students(args, out, names))):
            left = [r for r in runs if not measured.known(r)]
            console.print(f"{stage}: {len(runs)}, {len(runs) - len(left)} done before", highlight=False)
            by_job = {r.job: r for r in left if r.job is not None}
            there = [r for r in left if r.job is None]
            for done in chain(there, (by_job[job] for job in runner.run(list(by_job)))):
                found = measured.measure(done)
                to = "" if found.psnr_to_teacher is None else f", {found.psnr_to_teacher:.2f} to its teacher"
                console.print(f"{done.name}: {found.psnr:.2f} dB{to}, {found.seconds:.0f} s", highlight=False)
            if caught:
                console.print("[bold]stopped[/]; the same command goes on where it was")
                raise SystemExit(128 + caught[0])
    everything = teachers(args, out, names) + students(args, out, names)
    results = [measured.load(r) for r in everything]
    write_json(out / "matrix.json", {"scene": args.scene, "results": [asdict(r) for r in results]})
    write_text(out / "matrix.md", markdown(names, results))
    write_picture(out / "matrix.png", picture(names, measured.run_of, args.view, device))
    Console().print(grid(names, results))
    for name in ("matrix.json", "matrix.md", "matrix.png"):
        console.print(f"  {out / name}", highlight=False, soft_wrap=True)
    return results


@dataclass(frozen=True)
class Wanted:
    """A run of the matrix and the command that makes it, None for a teacher that is there already."""

    name: str
    student: str
    teacher: str | None
    kind: str
    asked: float
    folder: Path
    job: Job | None


def teachers(args: Matrix, out: Path, names: Sequence[str]) -> list[Wanted]:
    """The runs that are trained for long, or are there already."""
    from fieldlab.apps.compare import duration

    given, seconds = given_teachers(args, names), duration(args.teacher_time)
    return [
        Wanted(f"teacher-{_plain(name)}", name, None, "teacher", seconds, given[name], None)
        if name in given
        else _trained(args, out, name, "teacher", seconds)
        for name in names
    ]


def given_teachers(args: Matrix, names: Sequence[str]) -> dict[str, Path]:
    """The runs of --teachers by their representation.

    Raises:
        ConfigError: one is not ``FIELD=RUN``, or is for a field that is not in the matrix.
    """
    from fieldlab.errors import ConfigError

    found: dict[str, Path] = {}
    for text in args.teachers:
        name, sign, folder = text.partition("=")
        if not sign or name.strip() not in names:
            raise ConfigError("a teacher is given as a field of the matrix and its run", field="--teachers",
                              found=text, expected=f"{names[0]}=runs/NAME")  # fmt: skip
        found[name.strip()] = Path(folder.strip()).expanduser()
    return found


def students(args: Matrix, out: Path, names: Sequence[str]) -> list[Wanted]:
    """All ordered pairs, and the runs that are trained beside them."""
    from fieldlab.jobs.job import Job

    seconds, made = student_times(args, names), []
    sources = {wanted.student: wanted.folder for wanted in teachers(args, out, names)}
    for teacher in names:
        for student in names:
            if teacher == student:
                continue
            name = f"{_plain(teacher)}-to-{_plain(student)}"
            folder = out / name
            arguments = ["distill", str(sources[teacher]), "--to", student, "--seconds", str(seconds[student])]
            arguments += [*_common(args, folder)]
            job = Job(name, tuple(arguments), out / f"logs/{name}.log")
            made.append(Wanted(name, student, teacher, "pair", seconds[student], folder, job))
    same, times = scratch_times(args)
    if same:
        made += [_trained(args, out, name, "same", seconds[name]) for name in names]
    return made + [_trained(args, out, name, "scratch", each) for each in times for name in names]


def student_times(args: Matrix, names: Sequence[str]) -> dict[str, float]:
    """Seconds that a student of each representation gets.

    Raises:
        ConfigError: a time makes no sense, or is for a field that is not in the matrix.
    """
    from fieldlab.apps.compare import duration
    from fieldlab.errors import ConfigError

    usual, *others = args.time.split(",")
    found = dict.fromkeys(names, duration(usual))
    for text in others:
        name, _, time = (word.strip() for word in text.partition("="))
        if name not in found:
            raise ConfigError("a time is for a field that is not in the matrix", field="--time", found=text,
                              expected=f"{names[0]}=5m")  # fmt: skip
        found[name] = duration(time)
    return found


def scratch_times(args: Matrix) -> tuple[bool, list[float]]:
    """Whether fields are also trained from scratch for as long as their students, and the seconds of longer runs."""
    from fieldlab.apps.compare import duration

    texts = [text.strip() for text in args.scratch.split(",") if text.strip()]
    return "same" in texts, sorted({duration(text) for text in texts if text != "same"})


def _trained(args: Matrix, out: Path, field: str, kind: str, seconds: float) -> Wanted:
    from fieldlab.jobs.job import Job

    name = f"{kind}-{_plain(field)}" if kind != "scratch" else f"{kind}-{seconds:g}s-{_plain(field)}"
    arguments = ["train", args.scene, "--field", field, "--seconds", str(seconds), *_common(args, out / name)]
    job = Job(name, tuple(arguments), out / f"logs/{name}.log")
    return Wanted(name, field, None, kind, seconds, out / name, job)


def _common(args: Matrix, folder: Path) -> list[str]:
    """Options of both commands: go on where there is something to go on from."""
    there = any((folder / "checkpoints").glob("*.safetensors"))
    again = ["--resume"] if there else ["--overwrite", "--seed", str(args.seed)]
    return ["--out", str(folder), "--device", args.device, *again]


def _plain(name: str) -> str:
    return re.sub(r"[^\w+]", "_", name)


def _check(args: Matrix, names: Sequence[str]) -> dict[str, Path]:
    """Say what cannot work before hours are spent: the fields, the times, teachers of another kind or scene. Returns
    the folders of the teachers that are there already."""
    from fieldlab.apps.compare import duration
    from fieldlab.errors import RunFolderError
    from fieldlab.fields.registry import config_named, spelled
    from fieldlab.runs.load import load_run

    for name in names:
        config_named(name)
    duration(args.teacher_time)
    student_times(args, names)
    scratch_times(args)
    given = given_teachers(args, names)
    for name, folder in given.items():
        info = load_run(folder)[1]
        kind = spelled(info.config.field)
        if kind != spelled(config_named(name)):
            raise RunFolderError("a teacher is of another kind", field="--teachers", file=folder, found=kind,
                                 expected=name)  # fmt: skip
        if _absolute(info.config.source) != _absolute(args.scene):
            raise RunFolderError("a teacher was trained on another scene", field="--teachers", file=folder,
                                 found=info.config.source, expected=args.scene)  # fmt: skip
    return given


def _absolute(scene: str) -> str:
    """One spelling of a scene: the whole path of a file or folder, or the name of a procedural one."""
    path = Path(scene).expanduser()
    return str(path.resolve()) if path.exists() else scene


def _test_views(args: Matrix) -> Views:
    """The photographs that runs are measured by.

    Raises:
        DataError: the scene cannot be read, or has no such test view as the picture is to show.
    """
    from fieldlab.apps.train import Train, read_scene
    from fieldlab.errors import DataError

    scene = read_scene(Train(args.scene))
    count = len(scene.splits["test"]) if "test" in scene.splits else 0
    if not 0 <= args.view < count:
        raise DataError("the scene has no such test view", field="--view", found=args.view,
                        expected=f"0 to {count - 1}" if count else "a scene with test views")  # fmt: skip
    return scene.splits["test"]


def _same_as_before(args: Matrix, out: Path, names: Sequence[str]) -> None:
    """Refuse to mix runs of different times or scenes in one table."""
    from fieldlab.apps.compare import duration
    from fieldlab.errors import RunFolderError
    from fieldlab.files import write_json

    file = out / "settings.json"
    given = {name: str(folder.resolve()) for name, folder in given_teachers(args, names).items()}
    now = {"scene": _absolute(args.scene), "teacher": duration(args.teacher_time), "seed": args.seed,
           "times": student_times(args, names), "teachers": given}  # fmt: skip
    if file.is_file():
        before = json.loads(file.read_text())
        times = before.get("times", {})
        shared = {name: times.get(name, seconds) for name, seconds in now["times"].items()}
        if {"teachers": {}, **before, "scene": _absolute(before["scene"]), "times": shared} != now:
            raise RunFolderError("there is a matrix with other settings already", file=out, found=before, expected=now,
                                 hint="choose another --out, or take what does not fit out of it")  # fmt: skip
        now["times"] = {**times, **now["times"]}
    write_json(file, now)


class Measured:
    """Measures runs and remembers what was found, in a file per run.

    Args:
        out: folder of the matrix.
        views: the test photographs.
        given: folders of teachers that are elsewhere.
        device: where to render.
    """

    def __init__(self, out: Path, views: Views, given: Mapping[str, Path], device: torch.device) -> None:
        self.out, self.views, self.given, self.device = out, views, given, device
        self._renders: dict[str, list[Tensor]] = {}

    def file(self, wanted: Wanted) -> Path:
        return self.out / "results" / f"{wanted.name}.json"

    def known(self, wanted: Wanted) -> bool:
        """Whether a run was made and measured before."""
        return self.file(wanted).is_file()

    def load(self, wanted: Wanted) -> Result:
        """What is known of a run."""
        return Result(**json.loads(self.file(wanted).read_text()))

    def measure(self, wanted: Wanted) -> Result:
        """Render the test views of a run and compare them with photographs and teacher."""
        from statistics import mean

        from fieldlab.files import write_json
        from fieldlab.runs.load import load_run
        from fieldlab.train.metrics import psnr, ssim

        model, info = load_run(wanted.folder, self.device)
        made = self.render(model)
        truth = [photograph(self.views, i, model) for i in range(len(made))]
        to_teacher = None
        if wanted.teacher is not None:
            to_teacher = mean(psnr(a, b) for a, b in zip(made, self.teacher(wanted.teacher), strict=True))
        found = Result(
            wanted.student, wanted.teacher, wanted.kind, wanted.asked,
            mean(psnr(a, b) for a, b in zip(made, truth, strict=True)),
            mean(ssim(a, b) for a, b in zip(made, truth, strict=True)), to_teacher, info.seconds, info.step,
            model.field.n_parameters, model.field.n_bytes,
        )  # fmt: skip
        write_json(self.file(wanted), asdict(found))
        return found

    def run_of(self, teacher: str | None, student: str) -> Path:
        """The folder of a student, or, without a teacher, of a field trained on the photographs."""
        if teacher is None:
            return self.given.get(student, self.out / f"teacher-{_plain(student)}")
        return self.out / f"{_plain(teacher)}-to-{_plain(student)}"

    def teacher(self, name: str) -> list[Tensor]:
        """A teacher's renders of the test views."""
        from fieldlab.runs.load import load_run

        if name not in self._renders:
            self._renders.clear()  # pairs come teacher by teacher
            self._renders[name] = self.render(load_run(self.run_of(None, name), self.device)[0])
        return self._renders[name]

    def render(self, model: RadianceModel) -> list[Tensor]:
        """Clipped renders [H,W,3] of the test views."""
        return [model.render_image(self.views.cameras, i)["rgb"].cpu() for i in range(len(self.views))]


def photograph(views: Views, i: int, model: RadianceModel) -> Tensor:
    """Photograph i [H,W,3] in [0,1] on the scene's background."""
    import torch

    pixels = views.image(i).float() / 255
    if pixels.shape[-1] == 3:
        return pixels
    return torch.lerp(model.background(None).cpu(), pixels[..., :3], pixels[..., 3:])
