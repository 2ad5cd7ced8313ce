"""fieldlab matrix: every representation of a scene turned into every other, in one table and one picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fieldlab.apps.options import Device, OptionalFolder, OptionalText, all_kinds, optional
from fieldlab.apps.texts import duration, words
from fieldlab.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.bench.matrix import MatrixSettings
    from fieldlab.bench.matrix_measure import Result, Results
    from fieldlab.data.views import Views


@dataclass
class Matrix:
    """Train one teacher of each kind, or use what is there, turn each into all the others, and write one table and one
    picture. Called again, it goes on pair by pair where it was."""

    scene: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
    """A folder of photographs with poses (any supported format), a scene TOML, or the name of a procedural scene."""
    fields: str = field(default_factory=all_kinds)
    """Representations with commas between."""
    teachers: Annotated[tuple[str, ...], optional("FIELD=RUN ...")] = ()
    """Runs that are there already to be the teachers of their kind: vm=runs/lego-vm; the others are trained."""
    teacher_time: str = "5m"
    """Training time of each teacher, such as 90s, 5m or 1h."""
    time: str = "1m"
    """Distillation time of each pair, with other times for some students behind it: 1m,cp=5m."""
    scratch: str = "same"
    """Times for which each field is also trained from scratch, to compare with, such as same,10m; same is the time its
    students get."""
    out: OptionalFolder = None
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
    from fieldlab.bench.matrix import check, same_as_before, students, teachers
    from fieldlab.bench.matrix_measure import Results
    from fieldlab.jobs.runner import job_runner
    from fieldlab.ops.device import choose_device

    settings = settings_of(args)
    console, device = Console(stderr=True), choose_device(args.device)
    check(settings)
    with job_runner(args.workers, args.ray, args.ray_processors) as runner, stopping(runner.stop) as caught:
        results = Results(settings, _test_views(args), device)
        same_as_before(settings)
        for stage, plan in (("teachers", teachers), ("students", students)):
            runs = plan(settings)
            console.print(f"{stage}: {len(runs)}, {sum(map(results.known, runs))} done before", highlight=False)
            for done, found in results.complete(runs, runner):
                to = "" if found.psnr_to_teacher is None else f", {found.psnr_to_teacher:.2f} to its teacher"
                console.print(f"{done.name}: {found.psnr:.2f} dB{to}, {found.seconds:.0f} s", highlight=False)
            if caught:
                console.print("[bold]stopped[/]; the same command goes on where it was")
                raise SystemExit(128 + caught[0])
    return _write(args, settings, results, console)


def settings_of(args: Matrix) -> MatrixSettings:
    """What the options ask for.

    Raises:
        ConfigError: options that make no sense.
    """
    from fieldlab.bench.matrix import MatrixSettings

    names = words(args.fields)
    if len(names) < 2:
        raise ConfigError("a matrix has two fields or more", field="--fields", found=args.fields)
    if args.workers < 1:
        raise ConfigError("workers must be 1 or more", field="--workers", found=args.workers)
    scratch = words(args.scratch)
    return MatrixSettings(
        scene=args.scene, fields=tuple(names),
        out=args.out or Path("runs") / f"matrix-{Path(args.scene).stem or 'scene'}",
        teacher_seconds=duration(args.teacher_time, "--teacher-time"), student_seconds=student_times(args.time, names),
        same="same" in scratch,
        scratch_seconds=tuple(sorted({duration(text, "--scratch") for text in scratch if text != "same"})),
        given=given_teachers(args.teachers, names), seed=args.seed, device=args.device,
    )  # fmt: skip


def student_times(text: str, names: list[str]) -> dict[str, float]:
    """Seconds that a student of each representation gets, of a text such as ``1m,cp=5m``.

    Raises:
        ConfigError: a time makes no sense, or is for a field that is not in the matrix.
    """
    usual, *others = text.split(",")
    found = dict.fromkeys(names, duration(usual, "--time"))
    for other in others:
        name, _, time = (word.strip() for word in other.partition("="))
        if name not in found:
            raise ConfigError("a time is for a field that is not in the matrix", field="--time", found=other,
                              expected=f"{names[0]}=5m")  # fmt: skip
        found[name] = duration(time, "--time")
    return found


def given_teachers(texts: tuple[str, ...], names: list[str]) -> dict[str, Path]:
    """The runs of --teachers by their representation.

    Raises:
        ConfigError: one is not ``FIELD=RUN``, or is for a field that is not in the matrix.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, sign, folder = text.partition("=")
        if not sign or name.strip() not in names:
            raise ConfigError("a teacher is given as a field of the matrix and its run", field="--teachers",
                              found=text, expected=f"{names[0]}=runs/NAME")  # fmt: skip
        found[name.strip()] = Path(folder.strip()).expanduser()
    return found


def _test_views(args: Matrix) -> Views:
    """The photographs that runs are measured by.

    Raises:
        DataError: the scene cannot be read, or has no such test view as the picture is to show.
    """
    from fieldlab.sources.load import load_scene
    from fieldlab.training.build import training_views

    scene = load_scene(args.scene)
    training_views(scene)
    count = len(scene.splits["test"]) if "test" in scene.splits else 0
    if not 0 <= args.view < count:
        raise DataError("the scene has no such test view", field="--view", found=args.view,
                        expected=f"0 to {count - 1}" if count else "a scene with test views")  # fmt: skip
    return scene.splits["test"]


def _write(args: Matrix, settings: MatrixSettings, results: Results, console: Console) -> list[Result]:
    """The grid on the terminal, and all files."""
    from rich.console import Console

    from fieldlab.bench.matrix import students, teachers
    from fieldlab.bench.matrix_report import grid, markdown, picture
    from fieldlab.bench.tables import text_table
    from fieldlab.files import write_json, write_text
    from fieldlab.pictures.sheets import write_picture

    names, out = settings.fields, settings.out
    found = [results.load(wanted) for wanted in teachers(settings) + students(settings)]
    write_json(out / "matrix.json", {"scene": args.scene, "results": [asdict(result) for result in found]})
    write_text(out / "matrix.md", markdown(names, found))
    write_picture(out / "matrix.png", picture(settings, args.view, results.device))
    Console().print(text_table(grid(names, found), "test PSNR (dB) of students, by teacher"))
    for name in ("matrix.json", "matrix.md", "matrix.png"):
        console.print(f"  {out / name}", highlight=False, soft_wrap=True)
    return found
