"""fieldlab distill: one field turned into another, without the photographs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fieldlab.apps.options import (
    Device,
    FieldSettings,
    OptionalFile,
    OptionalFloat,
    OptionalInt,
    OptionalText,
    RunFolder,
    field_help,
)

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from fieldlab.distill.config import DistillConfig
    from fieldlab.distill.distiller import DistillEvent
    from fieldlab.distill.session import DistillSession
    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.checkpoint import Checkpoint
    from fieldlab.runs.folder import Run
    from fieldlab.runs.load import RunInfo

DEFAULT_SECONDS = 60.0
KEPT_ON_RESUME = frozenset(("out", "resume", "steps", "seconds", "device", "checkpoint_seconds"))


@dataclass
class Distill:
    """Turn a trained field into another one, without the photographs: the new field learns from the old one's latents,
    densities, colors and pixels, along rays from where photographs were taken. The result is an ordinary run."""

    run: RunFolder
    """The teacher: a run of any representation."""
    to: Annotated[str, field_help("The student's representation")]
    out: OptionalFile = None
    """Folder for the student; <run>-<field> beside the teacher by default."""
    steps: OptionalInt = None
    """Stop after this many steps."""
    seconds: OptionalFloat = None
    """Stop after this much time of distillation, what begins it included; 60 without --steps."""
    params: OptionalText = None
    """Largest number of trainable values of the student, such as 500k or 5M."""
    megabytes: OptionalFloat = None
    """Most megabytes of the student, what is fixed included; instead of --params."""
    set: FieldSettings = ()
    """Settings of the student itself, such as density_rank=8 grid.resolution=200."""
    real_poses: float = 0.0
    """Share of the poses, 0 to 1, that are those of the photographs; the others lie where photographs could have been
    taken."""
    active: bool = True
    """Look again at hard poses and rays, and late compare colors at influential samples only."""
    initialize: bool = True
    """Begin with what can be copied or computed in closed form."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where to distill."""
    resume: bool = False
    """Go on with the student in --out; only --steps and --seconds may be new."""
    overwrite: bool = False
    """Start again when there is a run in --out already."""
    checkpoint_seconds: float = 60.0
    """Wall time between two checkpoints."""


def run(args: Distill) -> None:
    """Distill, with progress on the terminal. Exits with 130 or 143 after an interruption, when all is saved."""
    from rich.console import Console

    from fieldlab.apps.interrupt import discarded_on_error, stopping
    from fieldlab.apps.train import choose_device
    from fieldlab.distill.session import DistillSession
    from fieldlab.runs.load import load_run
    from fieldlab.segment.files import carry_hierarchy

    console, device = Console(stderr=True), choose_device(args.device)
    with console.status("reading the teacher"):
        teacher, info = load_run(args.run, device)
    folder, config, checkpoint = _prepare(args, teacher, info, device, console)
    with discarded_on_error(folder), folder.locked():
        if teacher.field.in_place:
            carry_hierarchy(info.run.path, folder.path)
        if checkpoint is not None:
            folder.trim_metrics(int(checkpoint.header["training"]["progress"]["step"]))
        with console.status(f"beginning from {info.config.field.kind}"):
            session = DistillSession(
                folder, config, teacher, info.scene, resume=checkpoint, checkpoint_seconds=args.checkpoint_seconds
            )
        for words in session.log or ([] if checkpoint is not None else ["nothing that fits the student"]):
            console.print(f"from the teacher: {words}", highlight=False, soft_wrap=True)
        with stopping(session.distiller.stop) as caught:
            last = _show(session, console)
    _summary(folder, session, last, console)
    if caught:
        raise SystemExit(128 + caught[0])


def _prepare(
    args: Distill, teacher: RadianceModel, info: RunInfo, device: torch.device, console: Console
) -> tuple[Run, DistillConfig, Checkpoint | None]:
    """The folder and configuration of a new student, or of the one to go on with."""
    from fieldlab.apps.options import ignored_on_resume
    from fieldlab.distill.config import read_distill_config
    from fieldlab.errors import ConfigError
    from fieldlab.fields.registry import config_named, spelled
    from fieldlab.runs.config import write_config
    from fieldlab.runs.folder import Run
    from fieldlab.runs.load import fingerprint

    out = args.out or args.run.resolve().parent / f"{args.run.resolve().name}-{args.to}"
    if out.resolve() == args.run.resolve():
        raise ConfigError("teacher and student cannot be in one folder", field="--out", found=out)
    if not args.resume:
        config = new_config(args, teacher, info, device)
        return Run.create(out, config, overwrite=args.overwrite), config, None
    folder = Run.open(out)
    config = read_distill_config(folder.config_file)
    if config.teacher_print != fingerprint(teacher, info.scene):
        raise ConfigError("the student has another teacher", field="RUN", found=f"{args.run}, of {info.scene.name}",
                          expected=config.run.teacher)  # fmt: skip
    if spelled(config_named(args.to)) != spelled(config.run.field):
        raise ConfigError("the student in --out is of another kind", field="--to", found=args.to,
                          expected=spelled(config.run.field))  # fmt: skip
    if ignored := ignored_on_resume(args, KEPT_ON_RESUME, same_field=""):
        console.print(f"[yellow]the student goes on with its own settings; without effect: {', '.join(ignored)}[/]")
    if args.steps is not None or args.seconds is not None:
        train = dataclasses.replace(config.run.train, steps=args.steps, seconds=args.seconds)
        config = dataclasses.replace(config, run=dataclasses.replace(config.run, train=train))
        write_config(folder.config_file, config)  # what it was extended to outlives an interruption
    # One that was interrupted before its first checkpoint begins anew, with its own settings.
    return folder, config, folder.latest_checkpoint() if folder.checkpoints() else None


def new_config(args: Distill, teacher: RadianceModel, info: RunInfo, device: torch.device) -> DistillConfig:
    """What a new student would be made from.

    Raises:
        ConfigError: options that make no sense.
    """
    from fieldlab.apps.options import budget
    from fieldlab.distill.config import DistillConfig, DistillSettings
    from fieldlab.distill.session import choose_student
    from fieldlab.runs.config import RunConfig
    from fieldlab.runs.load import fingerprint
    from fieldlab.train.build import FieldChoice
    from fieldlab.train.config import TrainConfig

    choice = FieldChoice(args.to, args.set, *budget(args.params, args.megabytes))
    field = choose_student(choice, teacher, info.scene.cameras["train"], device)
    seconds = DEFAULT_SECONDS if args.steps is None and args.seconds is None else args.seconds
    train = TrainConfig(
        steps=args.steps, seconds=seconds, seed=args.seed, appearance=getattr(field, "appearance", 0),
        **{**field.recipe, **field.distill_recipe},
    )  # fmt: skip
    settings = DistillSettings(initialize=args.initialize, active=args.active, real_poses=args.real_poses)
    student = RunConfig(info.config.source, field, train, info.config.scene, str(args.run.resolve()))
    return DistillConfig(student, settings, fingerprint(teacher, info.scene))


def _show(session: DistillSession, console: Console) -> DistillEvent | None:
    """Distill, with a progress bar; returns the last event."""
    from fieldlab.apps.progress import progress_bar

    last = None
    with progress_bar(console) as bar:
        for last in session.events():
            fraction = session.distiller.schedule.fraction(last.step, last.seconds)
            left = "" if last.seconds_left is None else f", {last.seconds_left:.0f} s left"
            seen = f"{last.psnr:.2f} dB" if last.psnr == last.psnr else "no pixels yet"
            bar.tell("distilling", fraction, f"step {last.step}, {last.stage}, {seen} to the teacher{left}")
    return last


def _summary(folder: Run, session: DistillSession, last: DistillEvent | None, console: Console) -> None:
    from fieldlab.fields.registry import spelled

    now = session.distiller.progress
    if not session.distiller.finished:
        teacher = session.config.run.teacher
        name = spelled(session.config.run.field)
        again = f"fieldlab distill {teacher} --to {name} --out {folder.path} --resume"
        console.print(f"[bold]stopped and saved[/] after {now.step} steps\n  {again}", soft_wrap=True)
        return
    field = session.student.field
    seen = "" if last is None or last.psnr != last.psnr else f", {last.psnr:.2f} dB to the teacher along its rays"
    if last is None:
        console.print("nothing left to distill (give more --seconds or --steps)")
    console.print(
        f"[bold]{folder.path}[/]: {spelled(field.config)} with {field.n_parameters:,} trained values after {now.step} "
        f"steps in {now.seconds:.0f} s{seen}", highlight=False, soft_wrap=True,
    )  # fmt: skip
    for words in (f"fieldlab eval {folder.path}", f"fieldlab render {folder.path} --out orbit.mp4"):
        console.print(f"  {words}", highlight=False, soft_wrap=True)
