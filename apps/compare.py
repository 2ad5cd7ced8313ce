"""fieldlab compare: several representations of one scene, in one table and one picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fieldlab.apps.options import Device, OptionalFloat, OptionalFolder, OptionalText, all_kinds, budget
from fieldlab.apps.progress import progress_bar
from fieldlab.apps.texts import duration, words

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.bench.compare import Entry, Measured, Row


@dataclass
class Compare:
    """Train several representations of a scene alike, measure them on held-out views, and write one table and one
    picture. Called again, it goes on where it was, and trains nothing twice."""

    scene: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
    """A folder of photographs with poses (any supported format), a scene TOML, or the name of a procedural scene."""
    fields: str = field(default_factory=all_kinds)
    """Representations, as fieldlab train names them, with commas between."""
    budget: str = "3m"
    """Training time of each, such as 90s, 3m or 1h."""
    params: OptionalText = None
    """Largest number of trainable values of each, such as 500k or 5M; every representation's own default without it."""
    megabytes: OptionalFloat = None
    """Most megabytes of each, what is fixed included; instead of --params."""
    out: OptionalFolder = None
    """Folder for the runs, table and picture; runs/compare-<scene> by default."""
    split: str = "test"
    """Views to measure on: test or val."""
    sheet_views: int = 2
    """How many views the picture shows, evenly chosen."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where to train and render."""
    overwrite: bool = False
    """Train again what is there with other settings."""


def run(args: Compare) -> list[Row]:
    """Train and measure all, print the table, and write ``compare.json``, ``compare.md`` and ``compare.png``."""
    from rich.console import Console

    from fieldlab.bench.compare import measure
    from fieldlab.ops.device import choose_device
    from fieldlab.training.lpips import chosen_lpips

    console, device = Console(stderr=True), choose_device(args.device)
    out = args.out or Path("runs") / f"compare-{Path(args.scene).stem or 'scene'}"
    # All errors come now, not after the first field has been trained.
    entries, network, measured = _plan(args, out), chosen_lpips(), []
    for entry in entries:
        console.rule(entry.name)
        _train(args, entry, console)
        with progress_bar(console) as bar:
            tick = partial(bar.show, "rendering views")
            measured.append(measure(entry, args.split, args.sheet_views, device, network, tick))
        row = measured[-1].row
        console.print(f"{row.psnr:.2f} dB, SSIM {row.ssim:.4f}, {row.frame_ms:.0f} ms a frame", highlight=False)
    _write(args, out, measured, console)
    return [m.row for m in measured]


def _plan(args: Compare, out: Path) -> list[Entry]:
    """What is to be trained.

    Raises:
        FieldlabError: options that make no sense, or a run in the way.
    """
    from fieldlab.bench.compare import plan
    from fieldlab.errors import ConfigError, DataError
    from fieldlab.ops.device import choose_device
    from fieldlab.sources.load import load_scene
    from fieldlab.training.build import FieldChoice, training_views

    names = words(args.fields)
    if not names:
        raise ConfigError("there is nothing to compare", field="--fields", found=args.fields, expected="some names")
    if args.sheet_views < 1:
        raise ConfigError("a sheet must show one view or more", field="--sheet-views", found=args.sheet_views)
    seconds, sizes = duration(args.budget, "--budget"), budget(args.params, args.megabytes)
    scene = load_scene(args.scene)
    training_views(scene)
    if args.split not in scene.splits:
        raise DataError("the scene has no such views", field="--split", found=args.split,
                        expected=", ".join(scene.splits))  # fmt: skip
    choices = [FieldChoice(name, (), *sizes) for name in names]
    return plan(choices, scene, out, choose_device(args.device), seconds=seconds, seed=args.seed,
                overwrite=args.overwrite)  # fmt: skip


def _train(args: Compare, entry: Entry, console: Console) -> None:
    """Do what is left of a run by fieldlab train, which leaves by SystemExit when it is interrupted."""
    from fieldlab.apps.main import call

    if entry.left == "nothing":
        console.print(f"trained before: {entry.folder}", highlight=False, soft_wrap=True)
        return
    command = ["train", args.scene, "--field", entry.name, "--out", str(entry.folder), "--device", args.device]
    command += ["--seconds", str(duration(args.budget, "--budget"))]
    if entry.left == "the rest":
        command += ["--resume"]
    else:
        sizes = {"--params": args.params, "--megabytes": args.megabytes}
        command += [word for name, value in sizes.items() if value is not None for word in (name, str(value))]
        command += ["--seed", str(args.seed), *(["--overwrite"] if entry.left == "everything again" else [])]
    try:
        call(command)
    except SystemExit:
        console.print("the same command again goes on from here")
        raise


def _write(args: Compare, out: Path, measured: list[Measured], console: Console) -> None:
    """The table on the terminal, and all files."""
    from rich.console import Console

    from fieldlab.bench.compare_report import picture, rows_as_text
    from fieldlab.bench.tables import markdown_table, text_table
    from fieldlab.files import write_json, write_text
    from fieldlab.pictures.sheets import write_picture

    rows = [m.row for m in measured]
    found = {"scene": args.scene, "budget": args.budget, "rows": [asdict(row) for row in rows]}
    write_json(out / "compare.json", found)
    write_text(out / "compare.md", markdown_table(rows_as_text(rows)))
    write_picture(out / "compare.png", picture(measured))
    title = f"{args.split} views of {Path(args.scene).stem or args.scene}, {args.budget} of training each"
    Console().print(text_table(rows_as_text(rows), title))
    for name in ("compare.json", "compare.md", "compare.png"):
        console.print(f"  {out / name}", highlight=False, soft_wrap=True)
