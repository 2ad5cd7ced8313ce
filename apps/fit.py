"""fieldlab fit: an image or the distance to a mesh as a field."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fieldlab.apps.options import (
    Device,
    FieldSettings,
    OptionalFile,
    OptionalFloat,
    OptionalFolder,
    OptionalInt,
    OptionalText,
)

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from fieldlab.apps.progress import Bar
    from fieldlab.fit.fitting import FitEvent
    from fieldlab.fit.image import ImageTask
    from fieldlab.fit.sdf import SdfTask
    from fieldlab.fit.signal import Signal
    from fieldlab.runs.checkpoint import Checkpoint
    from fieldlab.runs.config import RunConfig
    from fieldlab.runs.folder import RunFolder
    from fieldlab.runs.session import Session

KEPT_ON_RESUME = frozenset(("out", "json", "resume", "steps", "seconds", "device", "resolution", "iou_points"))
METRIC_POINTS = 200_000  # on each surface


@dataclass(kw_only=True)
class FitOptions:
    """What images and meshes have in common."""

    field: str = "hashgrid"
    """Representation, such as hashgrid, neurbf or mlp, for meshes also vm or cp; one that cannot is refused."""
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
    out: OptionalFolder = None
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

    from fieldlab.apps.learning import learn, prepare
    from fieldlab.fit.config import IMAGE, SDF, FitSettings
    from fieldlab.fit.session import fit_session
    from fieldlab.ops.device import choose_device

    console, device = Console(stderr=True), choose_device(args.device)
    source, kind = (args.photo, IMAGE) if isinstance(args, FitImage) else (args.mesh, SDF)
    _check(args)

    def other_file(config: RunConfig) -> list[str]:
        same = str(source.resolve()) == config.source
        return [] if same else [f"{source} (the run is of {config.source})"]

    out = args.out or Path("runs") / f"{source.stem or 'signal'}-{args.field}"
    prepared = prepare(args, kind.name, out, lambda: _new_config(args, device), console, limits=FitSettings,
                       kept=KEPT_ON_RESUME, check=other_file)  # fmt: skip
    made: dict[str, Any] = {}

    def open_session(checkpoint: Checkpoint | None) -> Session[FitEvent]:
        made["task"] = _task(prepared.config, console)
        session, made["signal"] = fit_session(prepared.run, prepared.config, made["task"], device, resume=checkpoint)
        return session

    learn(
        prepared, open_session, console, doing="fitting",
        done=lambda session, last: _finish(args, session, made["task"], made["signal"], console),
        again=f"fieldlab fit {kind.name} {prepared.config.source} --out {prepared.run.path} --resume",
    )  # fmt: skip


def _check(args: FitImage | FitSdf) -> None:
    from fieldlab.errors import ConfigError

    if isinstance(args, FitSdf):
        for name, value, least in (("--resolution", args.resolution, 8), ("--iou-points", args.iou_points, 1)):
            if value < least:
                raise ConfigError("this is too small", field=name, found=value, expected=f"{least} or more")


def _new_config(args: FitImage | FitSdf, device: torch.device) -> RunConfig:
    from fieldlab.apps.options import count
    from fieldlab.fields.registry import config_named, with_settings
    from fieldlab.fit.config import IMAGE, IMAGE_SETTINGS, SDF, SDF_SETTINGS, ImageOptions, SdfOptions
    from fieldlab.fit.photo import read_photo
    from fieldlab.fit.session import choose_field
    from fieldlab.fit.solid import read_solid
    from fieldlab.runs.config import RunConfig

    field, params = config_named(args.field), None if args.params is None else count(args.params)
    kind = IMAGE.name if isinstance(args, FitImage) else SDF.name
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
    return RunConfig(kind, str(source.resolve()), field, (signal, settings))


def _task(config: RunConfig, console: Console) -> ImageTask | SdfTask:
    from fieldlab.apps.progress import progress_bar
    from fieldlab.fit.config import FitSettings, ImageOptions, signal_of
    from fieldlab.fit.image import ImageTask
    from fieldlab.fit.photo import read_photo
    from fieldlab.fit.sdf import SdfTask
    from fieldlab.fit.solid import read_solid

    source, signal = Path(config.source), signal_of(config)
    if isinstance(signal, ImageOptions):
        return ImageTask(read_photo(source).prepared(signal))
    solid = read_solid(source, signal.sign)
    with progress_bar(console) as bar:
        return SdfTask(solid, signal.pool, config.get(FitSettings).seed, lambda share: bar.share("distances", share))


def _finish(
    args: FitImage | FitSdf, session: Session[FitEvent], task: ImageTask | SdfTask, signal: Signal, console: Console
) -> None:
    """Write pictures, mesh and scores, and say what there is."""
    from fieldlab.apps.progress import progress_bar
    from fieldlab.files import write_json
    from fieldlab.fit.image import ImageTask
    from fieldlab.fit.session import sizes

    with progress_bar(console) as bar:
        if isinstance(task, ImageTask):
            scores = _image_results(session.run, signal, task)
        else:
            assert isinstance(args, FitSdf)
            scores = _sdf_results(args, session.run, signal, task, bar)
    scores |= sizes(session, signal)
    write_json(session.run.path / "scores.json", scores)
    if args.json is not None:
        write_json(args.json, scores)
    shown = ", ".join(f"{name} {value:.6g}" for name, value in scores.items() if value is not None)
    console.print(f"[bold]{session.run.path}[/]: {shown}", highlight=False, soft_wrap=True)
    for kind in (session.run.renders, session.run.exports):
        for file in sorted(kind.glob("*")):
            console.print(f"  {file}", highlight=False, soft_wrap=True)


def _image_results(run: RunFolder, signal: Signal, task: ImageTask) -> dict[str, Any]:
    from fieldlab.fit.image import error_map, reconstruct, score
    from fieldlab.fit.photo import write_photo
    from fieldlab.pictures.sheets import write_picture

    made = reconstruct(signal, task.photo)
    write_photo(run.renders / "reconstruction.png", made)
    write_picture(run.renders / "error.png", error_map(made, task.photo))
    found = score(made, task.photo)
    return {"psnr": found.psnr if math.isfinite(found.psnr) else None, "ssim": found.ssim}


def _sdf_results(args: FitSdf, run: RunFolder, signal: Signal, task: SdfTask, bar: Bar) -> dict[str, Any]:
    from fieldlab.fit.sdf import extract_surface
    from fieldlab.fit.sdf_metrics import measure
    from fieldlab.fit.sdf_pictures import comparison
    from fieldlab.mesh.mesh import Mesh
    from fieldlab.mesh.write import write_mesh
    from fieldlab.pictures.sheets import write_picture

    made = extract_surface(signal, args.resolution, lambda share: bar.share("surface", share))
    write_mesh(run.exports / "mesh.ply", Mesh(task.solid.placement.original(made.vertices), made.faces))
    write_picture(run.renders / "comparison.png", comparison(made, task.solid.mesh))
    found = measure(signal, made, task.solid, args.iou_points, METRIC_POINTS,
                    lambda share: bar.share("measuring", share))  # fmt: skip
    return dataclasses.asdict(found)
