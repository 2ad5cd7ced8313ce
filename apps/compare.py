"""fieldlab compare: several representations of one scene, in one table and one picture."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fieldlab.apps.options import Device, OptionalFile, OptionalFloat, OptionalText, all_kinds

if TYPE_CHECKING:
    import numpy as np
    import torch
    from rich.console import Console
    from torch import Tensor

    from fieldlab.apps.train import Train
    from fieldlab.data.scene import Scene
    from fieldlab.data.views import Views
    from fieldlab.render.model import RadianceModel
    from fieldlab.train.evaluate import ViewScore

SHEET_HEIGHT = 256
TIMED_FRAMES = 5


@dataclass
class Compare:
    """Train several representations of a scene alike, measure them on held-out views, and write one table and one
    picture. Called again, it goes on where it was, and trains nothing twice."""

    scene: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
    """A folder of photographs with poses (any supported format), a scene TOML, or the name of a procedural scene."""
    fields: str = dataclasses.field(default_factory=all_kinds)
    """Representations, as fieldlab train names them, with commas between."""
    budget: str = "3m"
    """Training time of each, such as 90s, 3m or 1h."""
    params: OptionalText = None
    """Largest number of trainable values of each, such as 500k or 5M; every representation's own default without it."""
    megabytes: OptionalFloat = None
    """Most megabytes of each, what is fixed included; instead of --params."""
    out: OptionalFile = None
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


@dataclass(frozen=True)
class Row:
    """What is known of one representation."""

    field: str
    psnr: float
    ssim: float
    lpips: float | None
    seconds: float
    steps: int
    trainable: int
    fixed: int
    bytes: int
    frame_ms: float


@dataclass(frozen=True)
class Measured:
    """One representation's row, and its renders and photographs of the views that are shown."""

    row: Row
    shown: dict[int, tuple[ViewScore, Tensor, Tensor]]


def run(args: Compare) -> list[Row]:
    """Train and measure all, print the table, and write ``compare.json``, ``compare.md`` and ``compare.png``."""
    from rich.console import Console

    from fieldlab.apps import train
    from fieldlab.errors import ConfigError, DataError
    from fieldlab.files import write_json, write_text
    from fieldlab.pictures.sheets import write_picture

    names = list(dict.fromkeys(name.strip() for name in args.fields.split(",") if name.strip()))
    if not names:
        raise ConfigError("there is nothing to compare", field="--fields", found=args.fields, expected="some names")
    if args.sheet_views < 1:
        raise ConfigError("a sheet shows one view at least", field="--sheet-views", found=args.sheet_views)
    console, device = Console(stderr=True), train.choose_device(args.device)
    out = args.out or Path("runs") / f"compare-{Path(args.scene).stem or 'scene'}"
    runs = {name: _train_options(args, name, out) for name in names}
    scene = train.read_scene(runs[names[0]])
    if args.split not in scene.splits:
        raise DataError("the scene has no such views", field="--split", found=args.split,
                        expected=", ".join(scene.splits))  # fmt: skip
    # All errors come now, not after the first field has been trained.
    todo = {name: _what_is_left(options, scene, device, args.overwrite) for name, options in runs.items()}
    del scene
    measured = []
    for name, options in runs.items():
        console.rule(name)
        left = todo[name]
        if left is None:
            console.print(f"trained before: {options.out}", highlight=False, soft_wrap=True)
        else:
            try:
                train.run(left)
            except SystemExit:
                console.print("the same command again goes on from here")
                raise
        measured.append(measure(name, options.out or out, args, device, console))
        row = measured[-1].row
        console.print(f"{row.psnr:.2f} dB, SSIM {row.ssim:.4f}, {row.frame_ms:.0f} ms a frame", highlight=False)
    rows = [m.row for m in measured]
    title = f"{args.split} views of {Path(args.scene).stem or args.scene}, {args.budget} of training each"
    found = {"scene": args.scene, "budget": args.budget, "rows": [asdict(row) for row in rows]}
    write_json(out / "compare.json", found)
    write_text(out / "compare.md", markdown(rows))
    write_picture(out / "compare.png", picture(measured))
    Console().print(table(rows, title))
    for name in ("compare.json", "compare.md", "compare.png"):
        console.print(f"  {out / name}", highlight=False, soft_wrap=True)
    return rows


def duration(text: str) -> float:
    """Seconds of 90, 90s, 3m or 1.5h.

    Raises:
        ConfigError: it is not a time above zero.
    """
    from fieldlab.errors import ConfigError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    seconds = float(match.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600}[match.group(2)] if match else 0.0
    if seconds <= 0:
        raise ConfigError(
            "this is not a training time", field="--budget", found=text, expected="such as 90s, 3m or 1h",
            hint="a number of parameters goes into --params",
        )  # fmt: skip
    return seconds


def _train_options(args: Compare, name: str, out: Path) -> Train:
    from fieldlab.apps.train import Train

    folder = out / re.sub(r"[^\w+-]", "_", name)
    return Train(
        scene=args.scene, field=name, out=folder, seconds=duration(args.budget), params=args.params,
        megabytes=args.megabytes, seed=args.seed, device=args.device,
    )  # fmt: skip


def _what_is_left(options: Train, scene: Scene, device: torch.device, overwrite: bool) -> Train | None:
    """How to call training: from the start, from a checkpoint, or not at all."""
    from fieldlab.apps.train import Train, config_for
    from fieldlab.errors import RunFolderError
    from fieldlab.runs.folder import RunFolder

    assert options.out is not None
    wanted = config_for(options, scene, device)
    if not (options.out / "config.toml").exists():
        return options
    there = RunFolder.open(options.out)
    if there.config().to_dict() != wanted.to_dict():
        if not overwrite:
            raise RunFolderError(
                "there is a run with other settings already", file=options.out,
                hint="choose another --out, or give --overwrite to train it again",
            )  # fmt: skip
        return dataclasses.replace(options, overwrite=True)
    if not there.checkpoints():  # interrupted before there was anything to go on from
        return dataclasses.replace(options, overwrite=True)
    done = float(there.latest_checkpoint().header["training"]["progress"]["seconds"])
    return None if done >= (options.seconds or 0) else Train(
        scene=options.scene, field=options.field, out=options.out, seconds=options.seconds, device=options.device,
        resume=True,
    )  # fmt: skip


def measure(name: str, folder: Path, args: Compare, device: torch.device, console: Console) -> Measured:
    """Render the held-out views of a run and compare them with the photographs."""
    import os

    from fieldlab.apps.progress import progress_bar
    from fieldlab.runs.load import load_run
    from fieldlab.runs.photographs import reload_views
    from fieldlab.train.evaluate import evaluate_views, mean_score
    from fieldlab.train.lpips import load_lpips

    model, info = load_run(folder, device)
    views = reload_views(info, args.split)
    frame = frame_seconds(model, views)
    count = min(args.sheet_views, len(views))
    shown = {round((i + 0.5) * len(views) / count - 0.5) for i in range(count)}
    weights = os.environ.get("FIELDLAB_LPIPS")
    scores, kept = [], {}
    with progress_bar(console) as bar:
        network = load_lpips(weights) if weights else None
        for i, found in enumerate(evaluate_views(model, views, model.background(None), network)):
            scores.append(found[0])
            if i in shown:
                kept[i] = found
            bar.show("rendering views", i + 1, len(views))
    mean, field = mean_score(scores), model.field
    row = Row(
        name, mean.psnr, mean.ssim, mean.lpips, info.seconds, info.step, field.n_parameters, field.n_fixed,
        field.n_bytes, 1e3 * frame,
    )  # fmt: skip
    return Measured(row, kept)


def frame_seconds(model: RadianceModel, views: Views) -> float:
    """The median time to render a view at its photograph's size, after one for warming up."""
    import torch

    seconds = []
    with torch.no_grad():
        for i in range(min(len(views), TIMED_FRAMES + 1)):
            start = time.perf_counter()
            model.render_image(views.cameras, i)["rgb"].cpu()
            seconds.append(time.perf_counter() - start)
    return median(seconds[1:] or seconds)


def cells(row: Row) -> dict[str, str]:
    """A row as text by heading; LPIPS only where its weights were there."""
    return {
        "field": row.field,
        "PSNR": f"{row.psnr:.2f}",
        "SSIM": f"{row.ssim:.4f}",
        **({} if row.lpips is None else {"LPIPS": f"{row.lpips:.4f}"}),
        "seconds": f"{row.seconds:.0f}",
        "steps": f"{row.steps}",
        "trainable": f"{row.trainable:,}",
        "fixed": f"{row.fixed:,}",
        "MB": f"{row.bytes / 1e6:.2f}",
        "ms/frame": f"{row.frame_ms:.0f}",
    }


def table(rows: list[Row], title: str) -> Any:
    """The rows as a rich table."""
    from rich.box import SIMPLE
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for i, heading in enumerate(cells(rows[0])):
        made.add_column(heading, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        made.add_row(*cells(row).values())
    return made


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    headings = cells(rows[0])
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *(cells(row).values() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def picture(measured: list[Measured]) -> np.ndarray:
    """Per view a row of the photograph and all renders, and below it their errors."""
    import numpy as np

    from fieldlab.pictures.sheets import error_legend, error_picture, fitted, labeled, sheet, to_uint8

    rows = []
    for i in sorted(measured[0].shown):
        _, made, target = measured[0].shown[i]
        height = min(made.shape[0], SHEET_HEIGHT)
        photo = labeled(fitted(to_uint8(target), height), "photograph")
        renders, errors = [photo], [np.full_like(photo, 255)]
        for m in measured:
            score, made, target = m.shown[i]
            text = f"{m.row.field} {score.psnr:.2f} dB"
            renders.append(labeled(fitted(to_uint8(made), height), text))
            errors.append(labeled(fitted(error_picture(made, target), height), "error"))
        rows += [renders, [*errors, error_legend(height)]]
    return sheet(rows)
