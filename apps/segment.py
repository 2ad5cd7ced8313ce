"""fieldlab segment: from 2D masks that disagree to one tree of segments in 3D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from fieldlab.apps.options import Device, OptionalFloat, OptionalFolder, OptionalInt, RunFolder

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.runs.checkpoint import Checkpoint
    from fieldlab.runs.config import RunConfig
    from fieldlab.runs.load import RunInfo
    from fieldlab.runs.session import Session
    from fieldlab.segment.masks import ImageMasks
    from fieldlab.segment.segmenter import SegmentEvent

KEPT_ON_RESUME = frozenset(("masks", "out", "resume", "steps", "seconds", "device", "checkpoint_seconds", "least"))


@dataclass
class Segment:
    """Learn which segments a trained field consists of, from masks of its photographs that need not agree with each
    other. The result is an ordinary run with one hierarchy of segments, hierarchy.json, which can be renamed, merged
    and split there."""

    run: RunFolder
    """The run to segment, of any representation; it stays as it is."""
    masks: Annotated[str, tyro.conf.arg(metavar="DIR|auto")]
    """Masks of the training photographs: SAM's or SAM 2's JSON files, pictures of masks or labels, or a COCO file; auto
    finds them in the photographs, without any network."""
    out: OptionalFolder = None
    """Folder for the segmented run; <run>-segmented beside it by default."""
    steps: OptionalInt = None
    """Stop learning after this many steps."""
    seconds: OptionalFloat = None
    """Stop learning after this much time; 390 without --steps."""
    features: int = 64
    """Values per point that are learnt."""
    least: OptionalInt = None
    """Points of the smallest segment; a two-thousandth of all points without it."""
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
    from functools import partial

    from rich.console import Console

    from fieldlab.apps.learning import learn, prepare
    from fieldlab.ops.device import choose_device
    from fieldlab.runs.folder import place_beside
    from fieldlab.runs.load import check_parent, load_run
    from fieldlab.segment.config import SEGMENTED, SegmentSettings
    from fieldlab.segment.find_masks import masks_source
    from fieldlab.segment.session import new_segment_config, segment_session

    console, device = Console(stderr=True), choose_device(args.device)
    with console.status("reading the run"):
        model, info = load_run(args.run, device)
    masks = _find_masks(args.masks, info, console)

    def new() -> RunConfig:
        settings = SegmentSettings(steps=args.steps, seconds=args.seconds, seed=args.seed, features=args.features,
                                   nested=args.nested, masks=masks_source(args.masks))  # fmt: skip
        return new_segment_config(model, info, settings)

    def same_run(config: RunConfig) -> list[str]:
        check_parent(config, model, info)
        return []

    out = place_beside(args.run, args.out, "segmented")
    prepared = prepare(args, SEGMENTED.name, out, new, console, limits=SegmentSettings, kept=KEPT_ON_RESUME,
                       check=same_run)  # fmt: skip

    def open_session(checkpoint: Checkpoint | None) -> Session[SegmentEvent]:
        with console.status("looking at the field from the photographs"):
            return segment_session(prepared.run, prepared.config, model, info.scene, masks, resume=checkpoint,
                                   least=args.least, checkpoint_seconds=args.checkpoint_seconds)  # fmt: skip

    learn(
        prepared, open_session, console, doing="learning", done=partial(_finish, args, info, console),
        again=f"fieldlab segment {args.run} --masks {args.masks} --out {prepared.run.path} --resume",
    )  # fmt: skip


def _find_masks(source: str, info: RunInfo, console: Console) -> dict[int, ImageMasks]:
    from fieldlab.apps.progress import progress_bar
    from fieldlab.segment.find_masks import find_masks

    with progress_bar(console) as bar:
        masks = find_masks(source, info, lambda done, total: bar.show("regions of photographs", done, total))
    conflicts, count = sum(found.conflicts for found in masks.values()), sum(map(len, masks.values()))
    console.print(f"{count} masks of {len(masks)} of {len(info.scene.names['train'])} photographs, {conflicts} pairs "
                  "that cut each other", highlight=False, soft_wrap=True)  # fmt: skip
    return masks


def _finish(
    args: Segment, info: RunInfo, console: Console, session: Session[SegmentEvent], last: SegmentEvent | None
) -> None:
    """Write the tree, and two views at three thresholds into the run's renders/."""
    from fieldlab.export.parts_picture import parts_picture
    from fieldlab.pictures.sheets import write_picture
    from fieldlab.segment.segmentation import Segmentation
    from fieldlab.segment.session import write_tree

    with console.status("making the tree"):
        tree, edited = write_tree(session, args.least)
    picture = session.run.renders / "parts.png"
    with console.status("drawing the segments"):
        cameras = info.scene.cameras.get("test") or info.scene.cameras["train"]
        write_picture(picture, parts_picture(Segmentation(session.model, tree), cameras))
    if edited is not None:
        console.print(f"[yellow]the tree had been edited; as it was it is kept as {edited}[/]", soft_wrap=True)
    now = session.loop.progress
    counts = ", ".join(f"{len(tree.parts(float(t)))} at {float(t):.3f}" for t in tree.thresholds(5))
    console.print(
        f"[bold]{session.run.path}[/]: {len(tree.points):,} points, {len(tree.ids)} nodes after {now.step} steps in "
        f"{now.seconds:.0f} s; segments by threshold: {counts}\n  {picture}", highlight=False, soft_wrap=True,
    )  # fmt: skip
