"""fieldlab distill: one field turned into another, without the photographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fieldlab.apps.options import (
    Device,
    FieldSettings,
    OptionalFloat,
    OptionalFolder,
    OptionalInt,
    OptionalText,
    RunFolder,
    field_help,
)

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.distill.distiller import DistillEvent
    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.checkpoint import Checkpoint
    from fieldlab.runs.config import RunConfig
    from fieldlab.runs.load import RunInfo
    from fieldlab.runs.session import Session

KEPT_ON_RESUME = frozenset(("out", "resume", "steps", "seconds", "device", "checkpoint_seconds"))


@dataclass
class Distill:
    """Turn a trained field into another one, without the photographs: the new field learns from the old one's latents,
    densities, colors and pixels, along rays from where photographs were taken. The result is an ordinary run."""

    run: RunFolder
    """The teacher: a run of any representation."""
    to: Annotated[str, field_help("The student's representation")]
    out: OptionalFolder = None
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
    from functools import partial

    from rich.console import Console

    from fieldlab.apps.learning import learn, prepare
    from fieldlab.distill.config import DISTILLED
    from fieldlab.distill.session import distill_session
    from fieldlab.fields.registry import spelled
    from fieldlab.ops.device import choose_device
    from fieldlab.runs.folder import place_beside
    from fieldlab.runs.load import load_run
    from fieldlab.segment.files import copy_hierarchy
    from fieldlab.training.config import TrainConfig

    console, device = Console(stderr=True), choose_device(args.device)
    with console.status("reading the teacher"):
        teacher, info = load_run(args.run, device)
    out = place_beside(args.run, args.out, args.to)
    prepared = prepare(
        args, DISTILLED.name, out, lambda: new_config(args, teacher, info), console, limits=TrainConfig,
        kept=KEPT_ON_RESUME, check=partial(_same_student, args, teacher, info),
    )  # fmt: skip

    def open_session(checkpoint: Checkpoint | None) -> Session[DistillEvent]:
        if teacher.field.in_place:
            copy_hierarchy(info.run.path, prepared.run.path)
        with console.status(f"beginning from {info.config.field.kind}"):
            return distill_session(prepared.run, prepared.config, teacher, info.scene, resume=checkpoint,
                                   checkpoint_seconds=args.checkpoint_seconds)  # fmt: skip

    name = spelled(prepared.config.field)
    learn(
        prepared, open_session, console, doing="distilling", done=partial(_summary, console),
        again=f"fieldlab distill {prepared.config.parent} --to {name} --out {prepared.run.path} --resume",
    )  # fmt: skip


def _same_student(args: Distill, teacher: RadianceModel, info: RunInfo, config: RunConfig) -> list[str]:
    from fieldlab.errors import ConfigError
    from fieldlab.fields.registry import config_named, spelled
    from fieldlab.runs.load import check_parent

    check_parent(config, teacher, info)
    if spelled(config_named(args.to)) != spelled(config.field):
        raise ConfigError("the student in --out is of another kind", field="--to", found=args.to,
                          expected=spelled(config.field))  # fmt: skip
    return []


def new_config(args: Distill, teacher: RadianceModel, info: RunInfo) -> RunConfig:
    """What a new student would be made from.

    Raises:
        ConfigError: options that make no sense.
    """
    from fieldlab.apps.options import budget
    from fieldlab.distill.config import DistillSettings
    from fieldlab.distill.session import new_distill_config
    from fieldlab.training.build import FieldChoice

    choice = FieldChoice(args.to, args.set, *budget(args.params, args.megabytes))
    settings = DistillSettings(initialize=args.initialize, active=args.active, real_poses=args.real_poses)
    return new_distill_config(teacher, info, choice, settings, steps=args.steps, seconds=args.seconds, seed=args.seed)


def _summary(console: Console, session: Session[DistillEvent], last: DistillEvent | None) -> None:
    from fieldlab.fields.registry import spelled

    now, field, folder = session.loop.progress, session.model.field, session.run.path
    seen = "" if last is None or last.psnr != last.psnr else f", {last.psnr:.2f} dB to the teacher along its rays"
    if last is None:
        console.print("nothing left to distill (give more --seconds or --steps)")
    console.print(
        f"[bold]{folder}[/]: {spelled(field.config)} with {field.n_parameters:,} trained values after {now.step} "
        f"steps in {now.seconds:.0f} s{seen}", highlight=False, soft_wrap=True,
    )  # fmt: skip
    for words in (f"fieldlab eval {folder}", f"fieldlab render {folder} --out orbit.mp4"):
        console.print(f"  {words}", highlight=False, soft_wrap=True)
