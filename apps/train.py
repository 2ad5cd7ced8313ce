"""fieldlab train: from a scene to a trained run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console

from fieldlab.apps.learning import learn, prepare
from fieldlab.apps.material import picture_size
from fieldlab.apps.notes import tell
from fieldlab.apps.options import (
    FieldSettings,
    OptionalBox,
    OptionalFloat,
    OptionalFolder,
    OptionalInt,
    OptionalText,
    budget,
    field_help,
    optional,
)  # fmt: skip
from fieldlab.apps.quality import QUALITIES, Word
from fieldlab.apps.watching import watched
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import Scene
from fieldlab.errors import BackendError
from fieldlab.ops import native
from fieldlab.ops.device import choose_device
from fieldlab.render.marcher import choose_marcher
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.runs.config import RunConfig
from fieldlab.runs.load import load_run
from fieldlab.runs.session import Session
from fieldlab.sources.load import load_scene
from fieldlab.training.build import FieldChoice, new_train_config, training_views
from fieldlab.training.config import TRAINED, TrainConfig
from fieldlab.training.distributed import ProcessGroup, World, connect, disconnect
from fieldlab.training.session import train_session
from fieldlab.training.suited import AUTO, suited
from fieldlab.training.trainer import Trainer, TrainEvent
from fieldlab.training.validation import ADVICE, GAP

KEPT_ON_RESUME = frozenset(
    ("out", "resume", "steps", "seconds", "device", "backend", "marcher",
     "checkpoint_seconds", "tensorboard", "view", "port")
)  # fmt: skip


@dataclass
class Train:
    """Train a field on a scene."""

    scene: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]
    """A folder of photographs with poses (any supported format), a scene TOML, or the name of a procedural scene."""
    field: Annotated[str, field_help("Representation", auto=True)] = AUTO
    out: OptionalFolder = None
    """Folder for the run; runs/<scene> by default, or runs/<scene>-<field> where a field is named."""
    quality: Annotated[Word | None, optional("{fast,good,best}")] = None
    """fast trains a minute on pictures of about 640 pixels, good five minutes on 800, best half an hour on 1600; what
    --seconds, --steps or --downscale say counts instead."""
    steps: OptionalInt = None
    """Stop after this many steps."""
    seconds: OptionalFloat = None
    """Stop after this much training time; 300 on a CPU and 120 on CUDA when nothing is said."""
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
    teacher: OptionalFolder = None
    """Run of the same scene, of any representation: what can be copied or computed from it is where training begins."""
    resume: bool = False
    """Go on with the run in --out, with its own scene and settings; only --steps and --seconds may be new."""
    overwrite: bool = False
    """Start again when there is a run in --out already."""
    downscale: OptionalInt = None
    """Make the photographs this many times smaller; by --quality, or not at all."""
    test_every: int = 8
    """Hold out every n-th view for testing when the scene has no split of its own; 0 holds out none at all."""
    holdout: Literal["every", "sector"] = "every"
    """Which: every n-th, or as many from one side (sector): how good the field is from where nobody stood."""
    validation: float = 0.05
    """Share of the other views, if ten or more, that tell while training how good it is and are not trained on."""
    format: OptionalText = None
    """Read the scene as this format instead of finding it out."""
    aabb: OptionalBox = None
    """Box of main interest in world units, instead of the one found from the data: x0 y0 z0 x1 y1 z1."""
    skip_bad_frames: bool = False
    """Leave out frames that cannot be read, and count them."""
    background: Literal["random", "white", "black"] = "random"
    """What transparent photographs are composited on while training."""
    distortion: float | None = None
    """Weight of the distortion loss, which draws haze together to surfaces; by default 0.03 for hash grids
    and voxels where there is content at any distance, and 0 otherwise."""
    appearance: int = 0
    """Values per photograph for its light, such as 8, which the field takes into account; 0 for none."""
    exposure: Literal["auto", "on", "off"] = "auto"
    """Learn the exposure and white balance of every photograph apart from the field; auto does when they differ."""
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


def _train(args: Train, device: torch.device, world: World, console: Console) -> None:
    first = world.rank == 0
    # Read before a run is overwritten, which may be the teacher's own.
    teacher = None if args.teacher is None or args.resume else load_run(args.teacher, device)[0]
    scene = None if args.resume else read_scene(args, console)

    def new() -> RunConfig:
        assert scene is not None
        return config_for(args, scene, device, console)

    name = Path(args.scene).stem or "scene"
    out = args.out or Path("runs") / (name if args.field == AUTO else f"{name}-{args.field}")
    log = TensorBoardLog(out) if args.tensorboard and first else None
    prepared = prepare(args, TRAINED.name, out, new, console, limits=TrainConfig, kept=KEPT_ON_RESUME,
                       check=partial(_other_scene, args), writes=first)  # fmt: skip
    world.barrier()
    config = prepared.config
    if args.resume and prepared.checkpoint is None and config.parent is not None:  # it begins anew, as it was to begin
        teacher = load_run(config.parent, device)[0]
    scene = scene or read_again(config, console)

    def open_session(checkpoint: Checkpoint | None) -> Session[TrainEvent]:
        session = train_session(
            prepared.run, scene, config, device, world=world, teacher=teacher, marcher=args.marcher, resume=checkpoint,
            checkpoint_seconds=args.checkpoint_seconds,
        )  # fmt: skip
        assert isinstance(session.loop, Trainer)
        if session.loop.rays_in_box < 0.5:
            tell(console, f"only {session.loop.rays_in_box:.0%} of the rays meet the scene's box", "yellow")
        return session

    try:
        learn(
            prepared, open_session, console, doing="training", done=partial(_summary, console),
            again=f"fieldlab train {config.source} --out {prepared.run.path} --resume",
            watch=lambda session: watched(session, scene, args.view, args.port, console),
            note=log or (lambda event: None), holds=first,
        )  # fmt: skip
    finally:
        if log is not None:
            log.close()


def _other_scene(args: Train, config: RunConfig) -> list[str]:
    named = str(Path(args.scene).resolve()) if Path(args.scene).exists() else args.scene
    return [] if named == config.source else [f"{args.scene} (the run is of {config.source})"]


def scene_options(args: Train) -> SceneOptions:
    """How the scene is read."""
    downscale = args.downscale
    if downscale is None:
        downscale = 1 if args.quality is None else QUALITIES[args.quality].downscale(picture_size(args.scene))
    return SceneOptions(
        format=args.format, downscale=downscale, test_every=args.test_every, holdout=args.holdout,
        validation=args.validation, aabb=args.aabb,
        skip_bad_frames=args.skip_bad_frames,
    )  # fmt: skip


def read_scene(args: Train, console: Console) -> Scene:
    """The scene, which has views to train on.

    Raises:
        FieldlabError: it cannot be read, or has none.
    """
    return _read(lambda: load_scene(args.scene, scene_options(args)), console)


def read_again(config: RunConfig, console: Console) -> Scene:
    """The scene of a run that goes on."""
    return _read(lambda: load_scene(config.source, config.scene), console)


def _read(load: Callable[[], Scene], console: Console) -> Scene:
    with console.status("reading the scene"):
        scene = load()
        training_views(scene)
    for note in scene.notes:
        tell(console, f"note: {note}")
    return scene


def config_for(args: Train, scene: Scene, device: torch.device, console: Console) -> RunConfig:
    """What a new run on a scene that was read would be made from. Says which representation was chosen, and why.

    Raises:
        FieldlabError: options that make no sense.
    """
    choice, why = suited(FieldChoice(args.field, args.set, *budget(args.params, args.megabytes)), scene)
    if why is not None:
        tell(console, f"note: {why}")
    seconds = args.seconds
    if args.quality is not None and seconds is None and args.steps is None:
        seconds = QUALITIES[args.quality].seconds
    return new_train_config(
        scene, choice, device, steps=args.steps, seconds=seconds, seed=args.seed,
        samples_per_step=args.samples_per_step, teacher=args.teacher, distortion=args.distortion,
        background=args.background, pose_refinement=args.pose_refinement, appearance=args.appearance,
        exposure=args.exposure, device_memory_gb=args.device_memory,
    )  # fmt: skip


def _summary(console: Console, session: Session[TrainEvent], last: TrainEvent | None) -> None:
    assert isinstance(session.loop, Trainer)
    now, field, folder = session.loop.progress, session.model.field, session.run.path
    psnr = "" if last is None else f", PSNR {last.psnr:.2f} dB on training rays"
    psnr += "" if now.validation is None else f", {now.validation:.2f} dB on held-out photographs"
    state = "trained" if last is not None else "nothing left to train (give more --seconds or --steps)"
    console.print(f"[bold]{state}[/]: {now.step} steps, {now.seconds:.1f} s, {now.samples / 1e6:.1f} M samples{psnr}")
    console.print(
        f"  {field.n_parameters:,} values trained, {field.n_fixed:,} fixed, {field.n_bytes / 1e6:.1f} MB",
        highlight=False,
    )
    if now.best_step not in (None, now.step):
        tell(console, f"the state after {now.best_step} steps was better on held-out photographs "
             f"({now.best_validation:.2f} dB): it is the one that is shown and used", "yellow")  # fmt: skip
    if session.loop.gap > GAP:
        worse = f"held-out photographs are {session.loop.gap:.1f} dB worse than training rays"
        tell(console, f"{worse}: {ADVICE}", "yellow")
    console.print(f"  fieldlab eval {folder}\n  fieldlab render {folder} --out orbit.mp4")


class TensorBoardLog:
    """Writes every twentieth event into a run folder for TensorBoard.

    Raises:
        BackendError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise BackendError("TensorBoard is not installed", hint="pip install 'fieldlab[tensorboard]'") from error
        self._open: Callable[[], Any] = lambda: SummaryWriter(str(folder / "tensorboard"))
        self._writer: Any = None

    def __call__(self, event: TrainEvent) -> None:
        if self._writer is None:  # not before there is a run
            self._writer = self._open()
        if event.step % 20 == 0:
            for name in ("loss", "psnr", "learning_rate", "samples_per_s"):
                self._writer.add_scalar(name, getattr(event, name), event.step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
