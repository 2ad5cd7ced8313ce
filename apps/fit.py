"""fieldlab fit: an image or the distance to a mesh as a field."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro

from fieldlab.apps.options import Device, FieldSettings, OptionalFile, OptionalFloat, OptionalInt, OptionalText

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from fieldlab.apps.progress import Bar
    from fieldlab.fit.config import FitConfig
    from fieldlab.fit.image import ImageTask
    from fieldlab.fit.sdf import SdfTask
    from fieldlab.fit.session import FitSession
    from fieldlab.runs.checkpoint import Checkpoint
    from fieldlab.runs.folder import Run

KEPT_ON_RESUME = frozenset(("out", "json", "resume", "steps", "seconds", "device", "resolution", "iou_points"))
METRIC_POINTS = 200_000  # on each surface


@dataclass(kw_only=True)
class FitOptions:
    """What images and meshes have in common."""

    field: str = "hashgrid"
    """Representation."""
    params: OptionalText = None
    """Largest number of trainable values, decoder included, such as 72k or 1M."""
    set: FieldSettings = ()
    """Settings of the field itself, such as kernel=gaussian table.n_levels=4; a budget scales sizes afterwards."""
    steps: OptionalInt = None
    """Stop after this many steps."""
    seconds: OptionalFloat = None
    """Stop after this much time of fitting."""
    batch: OptionalInt = None
    """Points per step."""
    out: OptionalFile = None
    """Folder for the run; runs/<name>-<field> by default."""
    json: OptionalFile = None
    """Write the numbers to this file too."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where to fit."""
    resume: bool = False
    """Go on with the run in --out, with its own file and settings; only --steps and --seconds may be new."""
    overwrite: bool = False
    """Start again when there is a run in --out already."""


@dataclass(kw_only=True)
class FitImage(FitOptions):
    """Fit an image: 3500 steps of 262144 pixels unless you say otherwise. All channels are fitted as they are stored,
    alpha among them, 16-bit ones with their precision."""

    photo: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")]
    """The picture: .png, .jpg, .webp, .tif, .bmp."""
    crop: Literal["none", "square"] = "none"
    """Fit the largest square in the middle only."""
    size: OptionalInt = None
    """Make the longer side this many pixels first, by area average."""


@dataclass(kw_only=True)
class FitSdf(FitOptions):
    """Fit the signed distance to a mesh, negative inside, and make a mesh of it again."""

    mesh: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MESH")]
    """The mesh: .obj, .ply, .stl, .glb, .off."""
    sign: Literal["closed", "filled", "winding"] = "closed"
    """closed: the mesh has to bound a volume; filled: its holes are filled with triangles first; winding:
    inside is where the generalized winding number passes 1/2."""
    resolution: int = 256
    """Cells along a side of the cube that the mesh is made from."""
    pool: int = 1 << 23
    """Points whose distances are computed beforehand; steps draw from them."""
    iou_points: int = 2_000_000
    """Points on which the intersection over union is measured."""


Fit = (
    Annotated[FitImage, tyro.conf.subcommand("image", description="Fit an image.")]
    | Annotated[FitSdf, tyro.conf.subcommand("sdf", description="Fit the signed distance to a mesh.")]
)


def run(args: FitImage | FitSdf) -> None:
    """Fit, with progress on the terminal, and write what was made. Exits with 130 or 143 after an interruption, when
    all is saved."""
    from rich.console import Console

    from fieldlab.apps.interrupt import discarded_on_error, stopping
    from fieldlab.apps.progress import progress_bar
    from fieldlab.apps.train import choose_device
    from fieldlab.files import write_json
    from fieldlab.fit.session import FitSession

    console, device = Console(stderr=True), choose_device(args.device)
    folder, config, checkpoint = _prepare(args, device, console)
    scores: dict[str, Any] = {}
    with discarded_on_error(folder), folder.locked(), progress_bar(console) as bar:
        if checkpoint is not None:
            folder.trim_metrics(int(checkpoint.header["training"]["progress"]["step"]))
        task = _task(config, bar)
        session = FitSession(folder, config, task, device, resume=checkpoint)
        with stopping(session.fitting.stop) as caught:
            _show(session, console, bar)
        if session.fitting.finished:
            scores = _results(args, session, task, bar) | session.sizes()
            write_json(folder.path / "scores.json", scores)
            if args.json is not None:
                write_json(args.json, scores)
    _summary(session, scores, console)
    if caught:
        raise SystemExit(128 + caught[0])


def _prepare(
    args: FitImage | FitSdf, device: torch.device, console: Console
) -> tuple[Run, FitConfig, Checkpoint | None]:
    """The folder and configuration of a new run, or of the one to go on with."""
    from fieldlab.apps.options import ignored_on_resume
    from fieldlab.errors import ConfigError
    from fieldlab.fit.config import read_fit_config
    from fieldlab.runs.config import write_config
    from fieldlab.runs.folder import Run

    source = args.photo if isinstance(args, FitImage) else args.mesh
    if isinstance(args, FitSdf):
        for name, value, least in (("--resolution", args.resolution, 8), ("--iou-points", args.iou_points, 1)):
            if value < least:
                raise ConfigError("this is too small", field=name, found=value, expected=f"{least} or more")
    out = args.out or Path("runs") / f"{source.stem or 'signal'}-{args.field}"
    if not args.resume:
        config = _new_config(args, device)
        return Run.create(out, config, overwrite=args.overwrite), config, None
    folder = Run.open(out)
    config = read_fit_config(folder.config_file)
    wanted = "image" if isinstance(args, FitImage) else "sdf"
    if config.signal.kind != wanted:
        raise ConfigError("the run is of another kind of signal", file=out, found=config.signal.kind, expected=wanted)
    ignored = ignored_on_resume(args, KEPT_ON_RESUME, same_field=config.field.kind)
    if str(source.resolve()) != config.source:
        ignored.insert(0, f"{source} (the run is of {config.source})")
    if ignored:
        console.print(f"[yellow]the run goes on with its own settings; without effect: {', '.join(ignored)}[/]")
    if args.steps is not None or args.seconds is not None:
        limits = dataclasses.replace(config.fit, steps=args.steps, seconds=args.seconds)
        config = dataclasses.replace(config, fit=limits)
        write_config(folder.config_file, config)
    return folder, config, folder.latest_checkpoint()


def _new_config(args: FitImage | FitSdf, device: torch.device) -> FitConfig:
    from fieldlab.apps.options import count
    from fieldlab.fields.registry import config_named, with_settings
    from fieldlab.fit.config import IMAGE_SETTINGS, SDF_SETTINGS, FitConfig, ImageOptions, SdfOptions
    from fieldlab.fit.photo import read_photo
    from fieldlab.fit.session import choose_field
    from fieldlab.fit.solid import read_solid

    field, params = config_named(args.field), None if args.params is None else count(args.params)
    signal: ImageOptions | SdfOptions
    if isinstance(args, FitImage):
        source, signal, settings = args.photo, ImageOptions(args.crop, args.size), IMAGE_SETTINGS
        height, width, channels = read_photo(args.photo).prepared(signal).values.shape
        field = with_settings(field.for_image(max(height, width)), args.set)
        field = choose_field(field, params, 2, channels, device.type)
    else:
        source, signal, settings = args.mesh, SdfOptions(args.sign, args.pool), SDF_SETTINGS[device.type]
        read_solid(args.mesh, args.sign)
        field = choose_field(with_settings(field.for_distance(), args.set), params, 3, 1, device.type)
    if args.steps is not None or args.seconds is not None:
        settings = dataclasses.replace(settings, steps=args.steps, seconds=args.seconds)
    settings = dataclasses.replace(settings, seed=args.seed, batch=settings.batch if args.batch is None else args.batch)
    return FitConfig(str(source.resolve()), field, signal, settings)


def _task(config: FitConfig, bar: Bar) -> ImageTask | SdfTask:
    from fieldlab.fit.config import ImageOptions
    from fieldlab.fit.image import ImageTask
    from fieldlab.fit.photo import read_photo
    from fieldlab.fit.sdf import SdfTask
    from fieldlab.fit.solid import read_solid

    source = Path(config.source)
    if isinstance(config.signal, ImageOptions):
        return ImageTask(read_photo(source).prepared(config.signal))
    solid = read_solid(source, config.signal.sign)
    return SdfTask(solid, config.signal.pool, config.fit.seed, lambda share: bar.share("distances", share))


def _show(session: FitSession, console: Console, bar: Bar) -> None:
    """Fit, with the loss and the time left beside the bar."""
    fitting = session.fitting
    for event in session.events():
        fraction = fitting.limits.fraction(event.step, event.seconds)
        left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
        bar.tell("fitting", fraction, f"step {event.step}, {fitting.task.describe(event.loss)}{left}")


def _results(args: FitImage | FitSdf, session: FitSession, task: ImageTask | SdfTask, bar: Bar) -> dict[str, Any]:
    """Write pictures and mesh, and measure."""
    if isinstance(args, FitImage):
        return _image_results(session, cast("ImageTask", task))
    return _sdf_results(args, session, cast("SdfTask", task), bar)


def _image_results(session: FitSession, task: ImageTask) -> dict[str, Any]:
    from fieldlab.fit.image import error_map, reconstruct, score
    from fieldlab.fit.photo import write_photo
    from fieldlab.pictures.sheets import write_picture

    made = reconstruct(session.signal, task.photo)
    write_photo(session.run.renders / "reconstruction.png", made)
    write_picture(session.run.renders / "error.png", error_map(made, task.photo))
    found = score(made, task.photo)
    return {"psnr": found.psnr if math.isfinite(found.psnr) else None, "ssim": found.ssim}


def _sdf_results(args: FitSdf, session: FitSession, task: SdfTask, bar: Bar) -> dict[str, Any]:
    from fieldlab.fit.sdf import extract_surface
    from fieldlab.fit.sdf_metrics import measure
    from fieldlab.fit.sdf_pictures import comparison
    from fieldlab.mesh.mesh import Mesh
    from fieldlab.mesh.write import write_mesh
    from fieldlab.pictures.sheets import write_picture

    made = extract_surface(session.signal, args.resolution, lambda share: bar.share("surface", share))
    original = Mesh(task.solid.placement.original(made.vertices), made.faces)
    write_mesh(session.run.exports / "mesh.ply", original)
    write_picture(session.run.renders / "comparison.png", comparison(made, task.solid.mesh))
    found = measure(session.signal, made, task.solid, args.iou_points, METRIC_POINTS,
                    lambda share: bar.share("measuring", share))  # fmt: skip
    return dataclasses.asdict(found)


def _summary(session: FitSession, scores: dict[str, Any], console: Console) -> None:
    folder, now = session.run.path, session.fitting.progress
    if not scores:
        again = f"fieldlab fit {session.config.signal.kind} {session.config.source} --out {folder} --resume"
        console.print(f"[bold]stopped and saved[/] after {now.step} steps\n  {again}", soft_wrap=True)
        return
    shown = ", ".join(f"{name} {value:.6g}" for name, value in scores.items() if value is not None)
    console.print(f"[bold]{folder}[/]: {shown}", highlight=False, soft_wrap=True)
    for kind in (session.run.renders, session.run.exports):
        for file in sorted(kind.glob("*")):
            console.print(f"  {file}", highlight=False, soft_wrap=True)
