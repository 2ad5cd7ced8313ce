"""fieldlab reconstruct: from photographs, a video or a scene to everything that fieldlab makes of it."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fieldlab.apps.options import Device, OptionalFloat, OptionalFolder, OptionalInt, field_help
from fieldlab.apps.products import Products
from fieldlab.apps.quality import QUALITIES, Quality, Word
from fieldlab.apps.stages import Stages, call, on_device

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.apps.material import Material

CAMERAS, TRAINING, EVALUATION, VIDEO, MESH = "camera poses", "training", "evaluation", "orbit video", "mesh and page"
FPS = 24.0


def interactive() -> bool:
    """Whether a person sits at the terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@dataclass
class Reconstruct:
    """Do everything: frames of a video, camera poses, training, evaluation, an orbit video, a textured mesh, web pages,
    and the viewer at the end.

    Each stage is a command of its own, which is printed. The same command again goes on where it was interrupted, and
    does what is missing.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS|VIDEO|SCENE")]
    """Folder of photographs, a video, or a scene that has camera poses: a folder of any supported format, a scene TOML,
    or a name such as toys."""
    out: OptionalFolder = None
    """Folder for all results; runs/<name>-reconstruct by default."""
    quality: Word = "good"
    """fast trains a minute on pictures of about 640 pixels, good five minutes on 800, best half an hour on 1600; the
    detail of mesh, texture and video goes with it."""
    seconds: OptionalFloat = None
    """Train for so long instead."""
    steps: OptionalInt = None
    """Train for so many steps instead."""
    field: Annotated[str, field_help("Representation", auto=True)] = "auto"
    frames: OptionalInt = None
    """How many frames to take of a video; 2.5 for each second by default, but 40 at least and 150 at most."""
    device: Device = "auto"
    """Where to train and render."""
    view: bool = dataclasses.field(default_factory=interactive)
    """Open the viewer at the end; by default only where a person sits at the terminal."""
    overwrite: bool = False
    """Begin again: replace what an earlier reconstruction left in the folder."""


def run(args: Reconstruct) -> None:
    """Run what is missing of the stages, and say what was made and where.

    Raises:
        FieldlabError: there is nothing to reconstruct from, poses or training failed, or a product could not be made.
    """
    from rich.console import Console

    from fieldlab.apps.account import give_account
    from fieldlab.apps.material import material_at
    from fieldlab.errors import DataError

    console = Console(stderr=True)
    material = material_at(args.source)
    out = args.out or Path("runs") / f"{material.name}-reconstruct"
    made = Products(out)
    _check(args, material, out)
    settings, names = _settings(args, material), [TRAINING, EVALUATION, VIDEO, MESH]
    if args.overwrite:
        _clear(made, settings)
    stages = Stages(made.state, settings, names if material.posed else [CAMERAS, *names], console)
    try:
        _reconstruct(args, material, made, stages, console)
        give_account(material, made, stages, console)
    except (KeyboardInterrupt, SystemExit):
        _say(console, f"stopped; to go on:\n  {_again(args)}")
        raise
    if args.view:
        _say(console, "")
        call(["view", str(made.run), *on_device(args.device)], console)
    if failures := stages.failures():
        found = "; ".join(f"{name}: {why.splitlines()[0]}" for name, why in failures.items())
        raise DataError("not everything could be made", file=out, found=found, hint="the same command tries it again")


def _reconstruct(args: Reconstruct, material: Material, made: Products, stages: Stages, console: Console) -> None:
    """All stages, and in a line each what is decided about them."""
    from fieldlab.apps.material import picture_size

    quality, device = QUALITIES[args.quality], on_device(args.device)
    scene, run = material.source, str(made.run)
    _say(console, f"{args.source}: {material.says}; results go to {made.out}")
    if not material.posed:
        scene = str(made.scene)
        frames = [] if args.frames is None else ["--frames", str(args.frames)]
        stages.need(CAMERAS, ["capture", args.source, scene, *frames, "--json", str(made.capture)],
                    [made.scene / "sparse"], whole=True)  # fmt: skip
    size = picture_size(scene)
    downscale = quality.downscale(size)
    if size is not None:
        smaller = _by((size[0] // downscale, size[1] // downscale))
        _say(console, f"quality {args.quality}: photographs of {_by(size)} are trained on at {smaller}")
    if stages.begun(TRAINING) and (made.run / "config.toml").is_file():
        training = ["--resume"]
    else:
        limit = _limit(args, quality)
        training = ["--field", args.field, *limit, "--downscale", str(downscale), "--overwrite"]
    stages.need(TRAINING, ["train", scene, "--out", run, *training, *device], [made.run / "checkpoints"])
    stages.attempt(EVALUATION, ["eval", run, "--json", str(made.numbers), "--sheet", str(made.sheet), *device],
                   [made.numbers, made.sheet])  # fmt: skip
    film = ["--frames", str(quality.frames), "--fps", f"{FPS:g}"]
    if size is not None:
        film += ["--size", _by(_film(size, quality.film))]
    stages.attempt(VIDEO, ["render", run, "--out", str(made.video), *film, *device], [made.video])
    detail = ["--resolution", str(quality.resolution), "--texture", str(quality.texture)]
    stages.attempt(MESH, ["export", run, "--mesh", str(made.mesh), "--html", str(made.page), *detail, *device],
                   [made.mesh, made.page])  # fmt: skip


def _check(args: Reconstruct, material: Material, out: Path) -> None:
    """Refuse what makes no sense before anything is written.

    Raises:
        ConfigError: it makes none.
    """
    from fieldlab.errors import ConfigError

    if args.frames is not None and material.kind != "video":
        raise ConfigError("frames are taken of a video", field="--frames", found=material.says)
    if material.kind == "photographs" and Path(material.source) in (out.resolve(), *out.resolve().parents):
        raise ConfigError("results cannot go among the photographs", field="--out", found=out,
                          hint="choose a folder elsewhere")  # fmt: skip


def _clear(made: Products, settings: dict[str, Any]) -> None:
    """Remove what an earlier reconstruction made, and nothing else; its record is replaced last, so that what an
    interruption leaves is not taken for results of the new settings."""
    from fieldlab.apps.stages import write_state

    if not made.state.exists():
        return
    for path in made.all():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    write_state(made.state, settings, {})


SETTINGS = ("quality", "seconds", "steps", "field", "frames")


def _settings(args: Reconstruct, material: Material) -> dict[str, Any]:
    """What the results depend on, as plain values."""
    extent = {} if material.extent is None else {"files": material.extent[0], "bytes": material.extent[1]}
    return {"source": material.source, **extent, **{name: getattr(args, name) for name in SETTINGS}}


def _again(args: Reconstruct) -> str:
    """The command line that goes on."""
    words = ["fieldlab", "reconstruct", args.source]
    for option in dataclasses.fields(args):
        if option.name in (*SETTINGS, "out", "device") and getattr(args, option.name) != option.default:
            words += [f"--{option.name}", str(getattr(args, option.name))]
    return shlex.join(words)


def _limit(args: Reconstruct, quality: Quality) -> list[str]:
    """How long to train."""
    steps = [] if args.steps is None else ["--steps", str(args.steps)]
    if args.seconds is None and steps:
        return steps
    return [*steps, "--seconds", f"{quality.seconds if args.seconds is None else args.seconds:g}"]


def _film(size: tuple[int, int], most: int) -> tuple[int, int]:
    """The size of a video of pictures: no longer than ``most``, and even, as its format wants it."""
    scale = min(1.0, most / max(size))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in size)
    return width, height


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
