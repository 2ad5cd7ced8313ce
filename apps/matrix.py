"""fieldlab matrix: every representation of a scene turned into every other, in one table and one picture."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fieldlab.apps.options import Device, OptionalFile, OptionalText

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from fieldlab.apps.jobs import Job
    from fieldlab.data.views import Views
    from fieldlab.render.model import RadianceModel

SHEET_HEIGHT = 160
KINDS = {"teacher": "teacher", "scratch": "from scratch", "same": "from scratch, same time", "pair": "distilled"}


@dataclass
class Matrix:
    """Train one teacher of each kind, or use what is there, turn each into all the others, and write one table and one
    picture. Called again, it goes on pair by pair where it was."""

    scene: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
    """A folder of photographs with poses (any supported format), a scene TOML, or the name of a procedural scene."""
    fields: str = "hashgrid,vm,cp,voxel,neurbf,mlp"
    """Representations with commas between."""
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
    """How many commands run side by side; with --ray, how many processors each asks for."""
    ray: OptionalText = None
    """Address of a ray cluster that sees the same files, or auto, to run the commands there."""
    view: int = 0
    """The test view that the picture shows."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where to train, distill and render."""


@dataclass(frozen=True)
class Result:
    """What is known of one run.

    Args:
        student: its representation.
        kind: teacher, scratch, same (from scratch for as long as its students) or pair.
        asked: seconds it was to take.
        teacher: that of the field it was distilled from, None for one trained on the photographs.
        psnr, ssim: against the photographs.
        psnr_to_teacher: against the teacher's renders of the same views.
    """

    student: str
    teacher: str | None
    kind: str
    asked: float
    psnr: float
    ssim: float
    psnr_to_teacher: float | None
    seconds: float
    steps: int
    trainable: int
    bytes: int


def run(args: Matrix) -> list[Result]:
    """Do what is left to do, print the tables, and write ``matrix.json``, ``matrix.md`` and ``matrix.png``."""
    from rich.console import Console

    from fieldlab.apps.interrupt import stopping
    from fieldlab.apps.jobs import job_runner
    from fieldlab.apps.train import choose_device
    from fieldlab.errors import ConfigError
    from fieldlab.export.pictures import write_picture
    from fieldlab.files import write_json, write_text

    names = list(dict.fromkeys(name.strip() for name in args.fields.split(",") if name.strip()))
    if len(names) < 2:
        raise ConfigError("a matrix has two fields or more", field="--fields", found=args.fields)
    if args.workers < 1:
        raise ConfigError("somebody has to work", field="--workers", found=args.workers, expected="1 or more")
    console, device = Console(stderr=True), choose_device(args.device)
    out = args.out or Path("runs") / f"matrix-{Path(args.scene).stem or 'scene'}"
    _check(args, names)
    measured = Measured(out, args.scene, device)
    with job_runner(args.workers, args.ray) as runner, stopping(runner.stop) as caught:
        _same_as_before(args, out, names)
        for stage, runs in (("teachers", teachers(args, out, names)), ("students", students(args, out, names))):
            left = [r for r in runs if not measured.known(r)]
            console.print(f"{stage}: {len(runs)}, {len(runs) - len(left)} done before", highlight=False)
            by_job = {r.job: r for r in left}
            for done in runner.run(list(by_job)):
                found = measured.measure(by_job[done])
                to = "" if found.psnr_to_teacher is None else f", {found.psnr_to_teacher:.2f} to its teacher"
                console.print(f"{done.name}: {found.psnr:.2f} dB{to}, {found.seconds:.0f} s", highlight=False)
            if caught:
                console.print("[bold]stopped[/]; the same command goes on where it was")
                raise SystemExit(128 + caught[0])
    everything = teachers(args, out, names) + students(args, out, names)
    results = [measured.load(r) for r in everything]
    write_json(out / "matrix.json", {"scene": args.scene, "results": [asdict(r) for r in results]})
    write_text(out / "matrix.md", markdown(names, results))
    write_picture(out / "matrix.png", picture(names, measured, args.view))
    Console().print(grid(names, results))
    for name in ("matrix.json", "matrix.md", "matrix.png"):
        console.print(f"  {out / name}", highlight=False, soft_wrap=True)
    return results


@dataclass(frozen=True)
class Wanted:
    """A run of the matrix and the command that makes it."""

    student: str
    teacher: str | None
    kind: str
    asked: float
    folder: Path
    job: Job


def teachers(args: Matrix, out: Path, names: Sequence[str]) -> list[Wanted]:
    """The runs that are trained for long."""
    from fieldlab.apps.compare import duration

    return [_trained(args, out, name, "teacher", duration(args.teacher_time)) for name in names]


def students(args: Matrix, out: Path, names: Sequence[str]) -> list[Wanted]:
    """All ordered pairs, and the runs that are trained beside them."""
    from fieldlab.apps.jobs import Job

    seconds, made = student_times(args, names), []
    for teacher in names:
        for student in names:
            if teacher == student:
                continue
            name = f"{_plain(teacher)}-to-{_plain(student)}"
            folder = out / name
            source = out / f"teacher-{_plain(teacher)}"
            arguments = ["distill", str(source), "--to", student, "--seconds", str(seconds[student])]
            arguments += [*_common(args, folder)]
            job = Job(name, tuple(arguments), out / f"logs/{name}.log")
            made.append(Wanted(student, teacher, "pair", seconds[student], folder, job))
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
    from fieldlab.apps.jobs import Job

    name = f"{kind}-{_plain(field)}" if kind != "scratch" else f"{kind}-{seconds:g}s-{_plain(field)}"
    arguments = ["train", args.scene, "--field", field, "--seconds", str(seconds), *_common(args, out / name)]
    return Wanted(field, None, kind, seconds, out / name, Job(name, tuple(arguments), out / f"logs/{name}.log"))


def _common(args: Matrix, folder: Path) -> list[str]:
    """Options of both commands: go on where there is something to go on from."""
    there = any((folder / "checkpoints").glob("*.safetensors"))
    again = ["--resume"] if there else ["--overwrite", "--seed", str(args.seed)]
    return ["--out", str(folder), "--device", args.device, *again]


def _plain(name: str) -> str:
    return re.sub(r"[^\w+]", "_", name)


def _check(args: Matrix, names: Sequence[str]) -> None:
    """Say what cannot work before hours are spent: the scene, the fields, the times."""
    from fieldlab.apps.compare import duration
    from fieldlab.apps.train import Train, read_scene
    from fieldlab.errors import DataError
    from fieldlab.fields.registry import config_named

    for name in names:
        config_named(name)
    duration(args.teacher_time)
    student_times(args, names)
    scratch_times(args)
    scene = read_scene(Train(args.scene))
    count = len(scene.splits["test"]) if "test" in scene.splits else 0
    if not 0 <= args.view < count:
        raise DataError("the scene has no such test view", field="--view", found=args.view,
                        expected=f"0 to {count - 1}" if count else "a scene with test views")  # fmt: skip


def _same_as_before(args: Matrix, out: Path, names: Sequence[str]) -> None:
    """Refuse to mix runs of different times or scenes in one table."""
    from fieldlab.apps.compare import duration
    from fieldlab.errors import RunFolderError
    from fieldlab.files import write_json

    file = out / "settings.json"
    now = {"scene": args.scene, "teacher": duration(args.teacher_time), "seed": args.seed,
           "times": student_times(args, names)}  # fmt: skip
    if file.is_file():
        before = json.loads(file.read_text())
        times = before.get("times", {})
        shared = {name: times.get(name, seconds) for name, seconds in now["times"].items()}
        if {**before, "times": shared} != now:
            raise RunFolderError("there is a matrix with other settings already", file=out, found=before, expected=now,
                                 hint="choose another --out, or take what does not fit out of it")  # fmt: skip
        now["times"] = {**times, **now["times"]}
    write_json(file, now)


class Measured:
    """Measures runs and remembers what was found, in a file per run."""

    def __init__(self, out: Path, scene: str, device: torch.device) -> None:
        self.out, self.scene, self.device = out, scene, device
        self._views: Views | None = None
        self._renders: dict[str, list[Tensor]] = {}

    def file(self, wanted: Wanted) -> Path:
        return self.out / "results" / f"{wanted.job.name}.json"

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
        from fieldlab.train.metrics import psnr, ssim
        from fieldlab.train.session import load_run

        model, info = load_run(wanted.folder, self.device)
        made = self.render(model)
        truth = [photograph(self.views(wanted), i, model) for i in range(len(made))]
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

    def views(self, wanted: Wanted) -> Views:
        """The test photographs."""
        from fieldlab.train.reload import reload_views
        from fieldlab.train.session import load_run

        if self._views is None:
            self._views = reload_views(load_run(wanted.folder)[1], "test")
        return self._views

    def teacher(self, name: str) -> list[Tensor]:
        """A teacher's renders of the test views."""
        from fieldlab.train.session import load_run

        if name not in self._renders:
            self._renders.clear()  # pairs come teacher by teacher
            self._renders[name] = self.render(load_run(self.out / f"teacher-{_plain(name)}", self.device)[0])
        return self._renders[name]

    def render(self, model: RadianceModel) -> list[Tensor]:
        """Clipped renders [H,W,3] of the test views."""
        views = self._views
        if views is None:
            from fieldlab.apps.train import Train, read_scene

            views = self._views = read_scene(Train(self.scene)).splits["test"]
        return [model.render_image(views.cameras, i)["rgb"].cpu() for i in range(len(views))]


def photograph(views: Views, i: int, model: RadianceModel) -> Tensor:
    """Photograph i [H,W,3] in [0,1] on the scene's background."""
    import torch

    pixels = views.image(i).float() / 255
    if pixels.shape[-1] == 3:
        return pixels
    return torch.lerp(model.background(None).cpu(), pixels[..., :3], pixels[..., 3:])


def grid(names: Sequence[str], results: Sequence[Result]) -> Any:
    """Teachers down, students across: PSNR against the photographs, as a rich table."""
    from rich.box import SIMPLE
    from rich.table import Table

    made = Table(title="test PSNR (dB) of students, by teacher", title_justify="left", box=SIMPLE)
    for i, heading in enumerate(_rows(names, results)[0]):
        made.add_column(heading, justify="right" if i else "left", no_wrap=True)
    for row in _rows(names, results)[1:]:
        made.add_row(*row)
    return made


def _rows(names: Sequence[str], results: Sequence[Result]) -> list[list[str]]:
    pairs = {(r.teacher, r.student): r.psnr for r in results if r.kind == "pair"}
    own = {r.student: r.psnr for r in results if r.kind == "teacher"}
    rows = [["teacher", "its own", *names]]
    for teacher in names:
        cells = [f"{pairs[teacher, s]:.2f}" if (teacher, s) in pairs else "-" for s in names]
        rows.append([teacher, f"{own[teacher]:.2f}", *cells])
    if same := {r.student: r for r in results if r.kind == "same"}:
        rows.append(["from scratch, same time", "", *(f"{same[s].psnr:.2f}" for s in names)])
    for asked in sorted({r.asked for r in results if r.kind == "scratch"}):
        alone = {r.student: r.psnr for r in results if r.kind == "scratch" and r.asked == asked}
        rows.append([f"from scratch, {asked:g} s", "", *(f"{alone[s]:.2f}" for s in names)])
    return rows


def behind(results: Sequence[Result]) -> list[tuple[float, Result]]:
    """How far each student is below what can be expected of it, the largest first: the lesser of its teacher and of
    its own representation trained from scratch for the longest time."""
    longest: dict[str, Result] = {}
    for r in results:
        if r.kind != "pair" and (r.student not in longest or r.asked > longest[r.student].asked):
            longest[r.student] = r
    teachers = {r.student: r.psnr for r in results if r.kind == "teacher"}
    gaps = [(min(teachers[r.teacher], longest[r.student].psnr) - r.psnr, r) for r in results if r.teacher is not None]
    return sorted(gaps, key=lambda gap: -gap[0])


def markdown(names: Sequence[str], results: Sequence[Result]) -> str:
    """The grid, how far the worst student is behind, and everything of every run."""
    gap, worst = behind(results)[0]
    note = (f"Behind the lesser of its teacher and its own representation trained longest from scratch: at most "
            f"{gap:.2f} dB ({worst.teacher} to {worst.student}).\n")  # fmt: skip
    head = ["", "teacher", "student", "PSNR", "behind", "SSIM", "to teacher", "seconds", "steps", "trainable", "MB"]
    below = {(r.teacher, r.student): f"{value:.2f}" for value, r in behind(results)}
    rows = [head]
    for r in results:
        rows.append([
            KINDS[r.kind], r.teacher or "-", r.student, f"{r.psnr:.2f}", below.get((r.teacher, r.student), "-"),
            f"{r.ssim:.4f}", "-" if r.psnr_to_teacher is None else f"{r.psnr_to_teacher:.2f}", f"{r.seconds:.0f}",
            f"{r.steps}", f"{r.trainable:,}", f"{r.bytes / 1e6:.2f}",
        ])  # fmt: skip
    return "\n".join([_markdown(_rows(names, results)), note, _markdown(rows)])


def _markdown(rows: list[list[str]]) -> str:
    ruler = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (rows[0], ruler, *rows[1:]))


def picture(names: Sequence[str], measured: Measured, view: int) -> np.ndarray:
    """A row per teacher: its render of a view, then every student's."""
    from fieldlab.export.pictures import fitted, labeled, sheet, to_uint8
    from fieldlab.train.session import load_run

    def one(folder: Path, text: str) -> np.ndarray:
        model, info = load_run(folder, measured.device)
        made = model.render_image(info.scene.cameras["test"], view)["rgb"].cpu()
        return labeled(fitted(to_uint8(made), min(SHEET_HEIGHT, made.shape[0])), text)

    def row(teacher: str) -> Iterator[np.ndarray]:
        yield one(measured.out / f"teacher-{_plain(teacher)}", f"{teacher}, trained")
        for student in names:
            if student == teacher:
                yield one(measured.out / f"teacher-{_plain(teacher)}", "the same")
            else:
                yield one(measured.out / f"{_plain(teacher)}-to-{_plain(student)}", f"to {student}")

    return sheet([list(row(teacher)) for teacher in names])
