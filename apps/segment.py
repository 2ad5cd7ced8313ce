"""fieldlab segment: from 2D masks that disagree to one tree of parts in 3D."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fieldlab.apps.options import Device, OptionalFile, OptionalFloat, OptionalInt, RunFolder

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.checkpoint import Checkpoint
    from fieldlab.runs.folder import Run
    from fieldlab.runs.load import RunInfo
    from fieldlab.segment.hierarchy import Hierarchy
    from fieldlab.segment.masks import ImageMasks
    from fieldlab.segment.session import SegmentConfig, SegmentSession

DEFAULT_SECONDS = 390.0
KEPT_ON_RESUME = frozenset(("masks", "out", "resume", "steps", "seconds", "device", "checkpoint_seconds", "least"))


@dataclass
class Segment:
    """Learn which parts a trained field consists of, from masks of its photographs that need not agree with each other.
    The result is an ordinary run with one tree of parts, hierarchy.json, whose parts can be renamed, merged and
    split there."""

    run: RunFolder
    """The run to segment, of any representation; it stays as it is."""
    masks: Annotated[str, tyro.conf.arg(metavar="DIR|auto")]
    """Masks of the training photographs: SAM's or SAM 2's JSON files, pictures of masks or labels, or a COCO file; auto
    finds them in the photographs, without any network."""
    out: OptionalFile = None
    """Folder for the segmented run; <run>-segmented beside it by default."""
    steps: OptionalInt = None
    """Stop learning after this many steps."""
    seconds: OptionalFloat = None
    """Stop learning after this much time; 390 without --steps."""
    features: int = 64
    """Values per point that are learnt."""
    least: OptionalInt = None
    """Points of the smallest part; a two-thousandth of all points without it."""
    nested: bool = True
    """Learn from how masks lie in each other, not only from each by itself."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where to learn."""
    resume: bool = False
    """Go on with the run in --out; only --steps, --seconds and --least may be new."""
    overwrite: bool = False
    """Start again when there is a run in --out already."""
    checkpoint_seconds: float = 60.0
    """Wall time between two checkpoints."""


def run(args: Segment) -> None:
    """Segment, with progress on the terminal. Exits with 130 or 143 after an interruption, when all is saved."""
    from rich.console import Console

    from fieldlab.apps.interrupt import discarded_on_error, stopping
    from fieldlab.apps.train import choose_device
    from fieldlab.runs.load import load_run
    from fieldlab.segment.session import SegmentSession

    console, device = Console(stderr=True), choose_device(args.device)
    with console.status("reading the run"):
        model, info = load_run(args.run, device)
    masks = find_masks(args.masks, info, console)
    folder, config, checkpoint = _prepare(args, model, info, console)
    with discarded_on_error(folder), folder.locked():
        if checkpoint is not None:
            folder.trim_metrics(int(checkpoint.header["training"]["progress"]["step"]))
        with console.status("looking at the field from the photographs"):
            session = SegmentSession(folder, config, model, info.scene, masks, resume=checkpoint, least=args.least,
                                     checkpoint_seconds=args.checkpoint_seconds)  # fmt: skip
        with stopping(session.segmenter.stop) as caught:
            _show(session, console)
        if session.segmenter.finished:
            with console.status("making the tree"):
                made = session.hierarchy()
            with console.status("drawing the parts"):
                picture = _picture(folder, session, made, info)
            _summary(folder, session, made, picture, console)
        else:
            again = f"fieldlab segment {args.run} --masks {args.masks} --out {folder.path} --resume"
            console.print(f"[bold]stopped and saved[/] after {session.segmenter.progress.step} steps\n  {again}",
                          soft_wrap=True)  # fmt: skip
    if caught:
        raise SystemExit(128 + caught[0])


def find_masks(source: str, info: RunInfo, console: Console) -> dict[int, ImageMasks]:
    """Masks by the number of their training photograph.

    Raises:
        DataError: they cannot be read, or fewer than two photographs have any that teach.
    """
    from fieldlab.errors import DataError
    from fieldlab.segment.mask_files import read_masks
    from fieldlab.segment.pairs import teaches
    from fieldlab.segment.truth import short_name

    names = info.scene.names["train"]
    sizes = [(height, width) for width, height in info.scene.cameras["train"].size.tolist()]
    short = [short_name(name) for name in names]
    others = [short_name(name) for split, views in info.scene.names.items() if split != "train" for name in views]
    if source == "auto":
        found = _masks_of_photographs(info, short, console)
    else:
        found = read_masks(Path(source), short, sizes, "train", others)
    teaching = sum(teaches(masks) for masks in found.values())
    if teaching < 2:
        raise DataError("masks teach nothing: each shows all or nothing", field=f"--masks {source}",
                        found=f"{teaching} photographs with masks of some of their pixels", expected="2 or more",
                        hint="a mask is where one thing is, or one part of it")  # fmt: skip
    conflicts = sum(masks.conflicts for masks in found.values())
    count = sum(map(len, found.values()))
    console.print(f"{count} masks of {len(found)} of {len(names)} photographs, {conflicts} pairs that cut each other",
                  highlight=False)  # fmt: skip
    return {short.index(name): masks for name, masks in found.items()}


def _masks_of_photographs(info: RunInfo, names: list[str], console: Console) -> dict[str, ImageMasks]:
    from fieldlab.apps.progress import progress_bar
    from fieldlab.runs.photographs import reload_views
    from fieldlab.segment.oversegment import oversegment

    views, found = reload_views(info, "train"), {}
    with progress_bar(console) as bar:
        for i, name in enumerate(names):
            found[name] = oversegment(views.image(i).numpy())
            bar.show("regions of photographs", i + 1, len(names))
    return found


def _prepare(
    args: Segment, model: RadianceModel, info: RunInfo, console: Console
) -> tuple[Run, SegmentConfig, Checkpoint | None]:
    """The folder and configuration of a new run, or of the one to go on with."""
    from fieldlab.apps.options import ignored_on_resume
    from fieldlab.errors import ConfigError
    from fieldlab.runs.config import write_config
    from fieldlab.runs.folder import Run
    from fieldlab.runs.load import fingerprint
    from fieldlab.segment.config import SegmentSettings
    from fieldlab.segment.session import SegmentConfig, read_segment_config

    out = args.out or args.run.resolve().parent / f"{args.run.resolve().name}-segmented"
    if out.resolve() == args.run.resolve():
        raise ConfigError("a run and its segmented one cannot be in one folder", field="--out", found=out)
    if not args.resume:
        seconds = DEFAULT_SECONDS if args.steps is None and args.seconds is None else args.seconds
        settings = SegmentSettings(steps=args.steps, seconds=seconds, seed=args.seed, features=args.features,
                                   nested=args.nested)  # fmt: skip
        base = dataclasses.replace(info.config, teacher=str(args.run.resolve()))
        masks = args.masks if args.masks == "auto" else str(Path(args.masks).resolve())
        config = SegmentConfig(base, settings, masks, fingerprint(model, info.scene))
        return Run.create(out, config, overwrite=args.overwrite), config, None
    folder = Run.open(out)
    config = read_segment_config(folder.config_file)
    if config.run_print != fingerprint(model, info.scene):
        raise ConfigError("the run in --out was segmented from another one", field="RUN",
                          found=f"{args.run}, of {info.scene.name}", expected=config.run.teacher)  # fmt: skip
    if ignored := ignored_on_resume(args, KEPT_ON_RESUME, same_field=""):
        console.print(f"[yellow]the run goes on with its own settings; without effect: {', '.join(ignored)}[/]")
    if args.steps is not None or args.seconds is not None:
        limits = dataclasses.replace(config.segment, steps=args.steps, seconds=args.seconds)
        config = dataclasses.replace(config, segment=limits)
        write_config(folder.config_file, config)
    # One that was interrupted before its first checkpoint begins anew, with its own settings.
    return folder, config, folder.latest_checkpoint() if folder.checkpoints() else None


def _show(session: SegmentSession, console: Console) -> None:
    from fieldlab.apps.progress import progress_bar

    with progress_bar(console) as bar:
        for event in session.events():
            left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
            share = session.segmenter.limits.fraction(event.step, event.seconds)
            bar.tell("learning", share, f"step {event.step}, {event.agreement:.1%} of comparisons right{left}")


def _picture(folder: Run, session: SegmentSession, made: Hierarchy, info: RunInfo) -> Path:
    """Two views at three thresholds, in the run's renders/."""
    from fieldlab.export.parts_picture import parts_picture
    from fieldlab.pictures.sheets import write_picture
    from fieldlab.segment.segmentation import Segmentation

    file = folder.path / "renders" / "parts.png"
    cameras = info.scene.cameras.get("test") or info.scene.cameras["train"]
    write_picture(file, parts_picture(Segmentation(session.segmenter.model, made), cameras))
    return file


def _summary(folder: Run, session: SegmentSession, made: Hierarchy, picture: Path, console: Console) -> None:
    if session.edits is not None:
        console.print(f"[yellow]the tree had been edited; as it was it is kept as {session.edits}[/]", soft_wrap=True)
    now = session.segmenter.progress
    counts = ", ".join(f"{len(made.parts(float(t)))} at {float(t):.3f}" for t in made.thresholds(5))
    console.print(
        f"[bold]{folder.path}[/]: {len(made.points):,} points, {len(made.ids)} nodes after {now.step} steps in "
        f"{now.seconds:.0f} s; parts by threshold: {counts}\n  {picture}", highlight=False, soft_wrap=True,
    )  # fmt: skip
