"""fieldlab train: from a scene to a trained run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from fieldlab.apps.interrupt import discarded_on_error, stopping
from fieldlab.apps.options import (
    FieldSettings,
    OptionalBox,
    OptionalFile,
    OptionalFloat,
    OptionalInt,
    OptionalText,
    budget,
    field_help,
    ignored_on_resume,
)  # fmt: skip
from fieldlab.apps.watching import watched
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import Scene
from fieldlab.errors import BackendError
from fieldlab.fields.registry import config_named
from fieldlab.ops import native
from fieldlab.render.marcher import choose_marcher
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig, write_config
from fieldlab.runs.folder import Run
from fieldlab.runs.load import load_run
from fieldlab.sources.load import load_scene
from fieldlab.train.build import FieldChoice, choose_field, footprint_of, training_views
from fieldlab.train.config import TrainConfig
from fieldlab.train.distributed import ProcessGroup, World, connect, disconnect
from fieldlab.train.session import Session
from fieldlab.train.trainer import TrainEvent

KEPT_ON_RESUME = frozenset(
    (
        "out",
        "resume",
        "steps",
        "seconds",
        "device",
        "backend",
        "marcher",
        "checkpoint_seconds",
        "tensorboard",
        "view",
        "port",
    )
)
DEFAULT_SECONDS = {"cpu": 300.0, "cuda": 120.0}


@dataclass
class Train:
    """Train a field on a scene."""

    scene: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
    """A folder of photographs with poses (any supported format), a scene TOML, or the name of a procedural scene."""
    field: Annotated[str, field_help("Representation")] = "hashgrid"
    out: OptionalFile = None
    """Folder for the run; runs/<scene>-<field> by default."""
    steps: OptionalInt = None
    """Stop after this many steps."""
    seconds: OptionalFloat = None
    """Stop after this much training time; 300 on a CPU and 120 on CUDA when neither this nor --steps is given."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    backend: Literal["native", "reference", "tcnn"] = "native"
    """Compiled kernels, plain PyTorch, or tiny-cuda-nn where it is installed."""
    marcher: Literal["native", "nerfacc"] = "native"
    """Who finds the samples along rays; nerfacc needs CUDA and its package."""
    params: OptionalText = None
    """Largest number of trainable values, such as 500k or 5M."""
    megabytes: OptionalFloat = None
    """Most megabytes of the field, what is fixed included; instead of --params."""
    set: FieldSettings = ()
    """Settings of the field itself, by the names that fieldlab info shows, such as n_kernels=50000 grid.density_rank=8;
    a budget scales sizes afterwards."""
    teacher: OptionalFile = None
    """Run of the same scene, of any representation: what can be copied or computed from it is where training begins."""
    resume: bool = False
    """Go on with the run in --out, with its own scene and settings; only --steps and --seconds may be new."""
    overwrite: bool = False
    """Start again when there is a run in --out already."""
    downscale: int = 1
    """Make the photographs this many times smaller."""
    test_every: int = 8
    """Hold out every n-th view when the scene has no split of its own; 0 holds out none."""
    format: OptionalText = None
    """Read the scene as this format instead of finding it out."""
    aabb: OptionalBox = None
    """Box of main interest in world units, instead of the one found from the data: x0 y0 z0 x1 y1 z1."""
    skip_bad_frames: bool = False
    """Leave out frames that cannot be read, and count them."""
    background: Literal["random", "white", "black"] = "random"
    """What transparent photographs are composited on while training."""
    distortion: float = 0.0
    """Weight of the distortion loss against floaters, such as 0.001."""
    appearance: int = 0
    """Values per photograph for its exposure and light, such as 8; 0 for none."""
    pose_refinement: bool = False
    """Correct the camera poses while training."""
    samples_per_step: int = 0
    """Samples along rays per step; 0 chooses by representation and device."""
    device_memory: OptionalFloat = None
    """Most GB of the CUDA device that photographs may take."""
    checkpoint_seconds: float = 60.0
    """Wall time between two checkpoints."""
    tensorboard: bool = False
    """Write TensorBoard logs into the run folder too."""
    view: bool = False
    """Serve a page on which training can be watched, and go on serving it afterwards until interrupted."""
    port: int = 8080
    """Port of that page, or the first free one above it."""


def run(args: Train) -> None:
    """Train, with progress on the terminal. Exits with 130 or 143 after an interruption, when all is saved."""
    native.set_backend(args.backend)
    device = choose_device(args.device)
    choose_marcher(args.marcher, device)  # says what is missing before anything is read or overwritten
    world: World = connect(device) if "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1 else World()
    console = Console(stderr=True, quiet=world.rank > 0)
    try:
        _train(args, device, world, console)
    finally:
        if isinstance(world, ProcessGroup):
            disconnect()


def choose_device(name: str) -> torch.device:
    """The device of a name; auto prefers CUDA.

    Raises:
        BackendError: CUDA was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BackendError("there is no CUDA device here", found=name, hint="use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        return device
    return torch.device(name)


def _train(args: Train, device: torch.device, world: World, console: Console) -> None:
    # Read before a run is overwritten, which may be the teacher's own.
    teacher = None if args.teacher is None or args.resume else load_run(args.teacher, device)[0]
    with console.status("reading the scene"):
        folder, config, scene, checkpoint = _prepare(args, device, world, console)
    for note in scene.notes:
        console.print(f"[dim]note: {note}[/]")
    with _held(folder, world):
        if checkpoint is not None and world.rank == 0:
            folder.trim_metrics(int(checkpoint.header["training"]["progress"]["step"]))
        session = Session(
            folder, scene, config, device, world=world, resume=checkpoint, checkpoint_seconds=args.checkpoint_seconds
        )
        session.model.use_marcher(args.marcher)
        if teacher is not None:
            for words in session.trainer.begin_from(teacher):
                console.print(f"from the teacher: {words}", highlight=False)
        if session.trainer.rays_in_box < 0.5:
            console.print(f"[yellow]only {session.trainer.rays_in_box:.0%} of the rays meet the scene's box[/]")
        writer = _tensorboard(folder) if args.tensorboard and world.rank == 0 else None
        with stopping(session.trainer.stop) as caught, watched(session, scene, args.view, args.port, console) as events:
            last = _show(session, events, console, writer)
        if writer is not None:
            writer.close()
    _summary(folder, session, last, console)
    if caught:
        raise SystemExit(128 + caught[0])


def _prepare(
    args: Train, device: torch.device, world: World, console: Console
) -> tuple[Run, RunConfig, Scene, Checkpoint | None]:
    """The folder, configuration and scene of a new run, or of the one to go on with."""
    if args.resume:
        out = args.out or _default_out(args)
        folder = Run.open(out)
        check_trained(folder)
        config, checkpoint = _extended(folder.config(), args), folder.latest_checkpoint()
        if world.rank == 0:
            write_config(folder.config_file, config)  # what it was extended to outlives an interruption
        ignored = ignored_on_resume(args, KEPT_ON_RESUME, same_field=config.field.kind)
        if _source(args) != config.source:
            ignored.insert(0, f"{args.scene} (the run is of {config.source})")
        if ignored:
            console.print(f"[yellow]the run goes on with its own settings; without effect: {', '.join(ignored)}[/]")
        return folder, config, load_scene(config.source, config.scene), checkpoint
    scene = read_scene(args)
    config = config_for(args, scene, device)
    out = args.out or _default_out(args)
    folder = Run.create(out, config, overwrite=args.overwrite) if world.rank == 0 else Run(out)
    world.barrier()
    return folder, config, scene, None


def check_trained(folder: Run) -> None:
    """Refuse to train a run that something else made.

    Raises:
        ConfigError: it was distilled, segmented or edited.
    """
    from fieldlab.errors import ConfigError
    from fieldlab.runs.config import read_toml

    values = read_toml(folder.config_file)
    made: list[str] = [name for name in ("distill", "segment") if name in values]
    if values.get("field", {}).get("kind") == "edited":
        made.append("edit")
    if made:
        raise ConfigError("this run was not trained on photographs", file=folder.path,
                          found=f"made by fieldlab {made[0]}", hint=f"go on with fieldlab {made[0]}")  # fmt: skip


def scene_options(args: Train) -> SceneOptions:
    """How the scene is read."""
    return SceneOptions(
        format=args.format, downscale=args.downscale, test_every=args.test_every, aabb=args.aabb,
        skip_bad_frames=args.skip_bad_frames,
    )  # fmt: skip


def read_scene(args: Train) -> Scene:
    """The scene, which has views to train on.

    Raises:
        FieldlabError: it cannot be read, or has none.
    """
    scene = load_scene(args.scene, scene_options(args))
    training_views(scene)
    return scene


def config_for(args: Train, scene: Scene, device: torch.device) -> RunConfig:
    """What a new run on a scene that was read would be made from.

    Raises:
        FieldlabError: options that make no sense.
    """
    train = _settings(args, device)
    choice = FieldChoice(args.field, args.set, *budget(args.params, args.megabytes))
    teacher = None if args.teacher is None else str(args.teacher.resolve())
    field = choose_field(choice, footprint_of(scene), train.appearance, device)
    return RunConfig(_source(args), field, train, scene_options(args), teacher)


def _source(args: Train) -> str:
    """The scene as a run keeps it: where a folder or file is, or a name."""
    return str(Path(args.scene).resolve()) if Path(args.scene).exists() else args.scene


def _settings(args: Train, device: torch.device) -> TrainConfig:
    seconds = DEFAULT_SECONDS[device.type] if args.steps is None and args.seconds is None else args.seconds
    recipe = dict(config_named(args.field).recipe)
    if args.samples_per_step:
        recipe["samples_per_step"] = args.samples_per_step
    return TrainConfig(
        steps=args.steps, seconds=seconds, seed=args.seed, distortion=args.distortion, background=args.background,
        pose_refinement=args.pose_refinement, appearance=args.appearance, device_memory_gb=args.device_memory, **recipe,
    )  # fmt: skip


def _extended(config: RunConfig, args: Train) -> RunConfig:
    """The stored configuration, with new limits where some were given."""
    if args.steps is None and args.seconds is None:
        return config
    return dataclasses.replace(config, train=dataclasses.replace(config.train, steps=args.steps, seconds=args.seconds))


def _default_out(args: Train) -> Path:
    return Path("runs") / f"{Path(args.scene).stem or 'scene'}-{args.field}"


def _show(
    session: Session, events: Iterator[TrainEvent], console: Console, writer: Any
) -> TrainEvent | None:  # fmt: skip
    """Consume the events with a progress bar; returns the last one."""
    columns = (
        SpinnerColumn(), TextColumn("step {task.fields[step]}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[speed]}"), TextColumn("PSNR {task.fields[psnr]}"), TextColumn("{task.fields[left]}"),
    )  # fmt: skip
    last, speed = None, 0.0
    with Progress(*columns, console=console, refresh_per_second=4, transient=True) as bar:
        task = bar.add_task("", total=1.0, step=0, speed="", psnr="", left="")
        for event in events:
            speed = event.samples_per_s if last is None else 0.95 * speed + 0.05 * event.samples_per_s
            last = event
            left = "" if event.seconds_left is None else f"{event.seconds_left:.0f} s left"
            bar.update(
                task, completed=session.trainer.schedule.fraction(event.step, event.seconds), step=event.step,
                speed=f"{speed / 1e6:.2f} M samples/s", psnr=f"{event.psnr:.2f} dB", left=left,
            )  # fmt: skip
            if writer is not None and event.step % 20 == 0:
                for name in ("loss", "psnr", "learning_rate", "samples_per_s"):
                    writer.add_scalar(name, getattr(event, name), event.step)
    return last


def _summary(folder: Run, session: Session, last: TrainEvent | None, console: Console) -> None:
    now = session.trainer.progress
    psnr = "" if last is None else f", PSNR {last.psnr:.2f} dB on training rays"
    state = "trained" if session.trainer.finished else "stopped and saved"
    if last is None:
        state = "nothing left to train (give more --seconds or --steps)"
    console.print(f"[bold]{state}[/]: {now.step} steps, {now.seconds:.1f} s, {now.samples / 1e6:.1f} M samples{psnr}")
    field = session.model.field
    console.print(
        f"  {field.n_parameters:,} values trained, {field.n_fixed:,} fixed, {field.n_bytes / 1e6:.1f} MB",
        highlight=False,
    )
    if session.trainer.finished:
        console.print(f"  fieldlab eval {folder.path}\n  fieldlab render {folder.path} --out orbit.mp4")
    else:
        console.print(f"  fieldlab train {session.config.source} --out {folder.path} --resume")


@contextmanager
def _held(folder: Run, world: World) -> Iterator[None]:
    """Keep the folder for these processes; the first one locks it."""
    if world.rank > 0:
        yield
        return
    with discarded_on_error(folder), folder.locked():
        yield


def _tensorboard(folder: Run) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BackendError("TensorBoard is not installed", hint="pip install 'fieldlab[tensorboard]'") from error
    return SummaryWriter(str(folder.path / "tensorboard"))
