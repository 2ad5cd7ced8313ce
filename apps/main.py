"""The command ``fieldlab``: finds the sub-command, runs it, and turns errors into one message and an exit code.

Commands are imported when they are called, so that help and version come without waiting for PyTorch.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from fieldlab import __version__
from fieldlab.errors import FieldlabError

INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """One sub-command: the options' class in ``fieldlab.apps.<module>``, what it does, and how people call it."""

    module: str
    options: str
    does: str
    examples: tuple[str, ...]


COMMANDS = {
    "demo": Command(
        "demo",
        "Demo",
        "make pictures, numbers and a mesh from a scene that comes with fieldlab",
        ("fieldlab demo", "fieldlab demo --scene robot --seconds 30 --out runs/robot-demo"),
    ),
    "reconstruct": Command(
        "reconstruct",
        "Reconstruct",
        "do everything: photographs or a video in, a run, a mesh and pages out",
        (
            "fieldlab reconstruct photos/",
            "fieldlab reconstruct walk.mp4 --quality fast --out runs/hall",
            "fieldlab reconstruct scenes/garden --seconds 600 --no-view",
        ),
    ),
    "capture": Command(
        "capture",
        "Capture",
        "find the camera poses of photographs or of a video",
        (
            "fieldlab capture photos/ scenes/garden",
            "fieldlab capture walk.mp4 scenes/hall --frames 120",
            "fieldlab capture photos/ scenes/garden --camera-model OPENCV",
        ),
    ),
    "train": Command(
        "train",
        "Train",
        "train a field on a scene",
        (
            "fieldlab train data/fox --out runs/fox --seconds 180",
            "fieldlab train toys --steps 2000",
            "fieldlab train data/fox --out runs/fox --resume --seconds 600",
        ),
    ),
    "view": Command(
        "view",
        "View",
        "look at runs in a browser: compare, segment, edit, film and export",
        ("fieldlab view runs/fox", "fieldlab view runs/fox runs/fox-vm --port 9000"),
    ),
    "eval": Command(
        "eval",
        "Eval",
        "measure PSNR, SSIM and LPIPS on held-out views",
        ("fieldlab eval runs/fox", "fieldlab eval runs/fox --json fox.json --sheet fox.png"),
    ),
    "render": Command(
        "render",
        "Render",
        "render a video or pictures along a camera path",
        (
            "fieldlab render runs/fox --out orbit.mp4",
            "fieldlab render runs/fox --out depth.gif --channel depth --size 320x240",
            "fieldlab render runs/fox --out frames --path camera_path.json",
        ),
    ),
    "export": Command(
        "export",
        "Export",
        "export meshes, segments, a page, points, labels, maps and cameras",
        (
            "fieldlab export runs/fox --mesh fox.glb",
            "fieldlab export runs/fox --mesh fox.glb --resolution 512 --faces 200000 --texture 2048 --axes y-up",
            "fieldlab export runs/fox --html fox.html --points fox.ply",
        ),
    ),
    "compare": Command(
        "compare",
        "Compare",
        "train several representations of a scene; one table, one picture",
        (
            "fieldlab compare data/lego --budget 3m",
            "fieldlab compare toys --fields hashgrid,vm+hashgrid --budget 60s --params 1M --out runs/toys",
        ),
    ),
    "distill": Command(
        "distill",
        "Distill",
        "turn a field into another representation, without the photographs",
        (
            "fieldlab distill runs/fox --to vm --out runs/fox-vm",
            "fieldlab distill runs/lego --to mlp --seconds 120 --params 300k",
            "fieldlab distill runs/fox --to vm --out runs/fox-vm --resume --seconds 300",
        ),
    ),
    "masks": Command(
        "masks",
        "Masks",
        "find 2D masks of photographs with a model of the SAM family",
        (
            "fieldlab masks data/fox/images data/fox/masks --model models/sam-vit-base",
            "fieldlab masks photos/ masks/ --model models/sam2.1-hiera-small --points 16",
        ),
    ),
    "segment": Command(
        "segment",
        "Segment",
        "learn the segments of a run from masks of its photographs",
        (
            "fieldlab segment runs/desk --masks data/desk/masks --out runs/desk-parts",
            "fieldlab segment runs/fox --masks auto --seconds 120",
        ),
    ),
    "segment-bench": Command(
        "segment_bench",
        "SegmentBench",
        "compare a segmentation and its baselines with exact labels",
        ("fieldlab segment-bench runs/desk --masks data/desk/masks --labels data/desk/labels",),
    ),
    "select": Command(
        "select",
        "Select",
        "say which segment of a run is at a pixel or point",
        (
            "fieldlab select runs/desk-parts --view 0 --pixel 120,80 --level 0.2",
            "fieldlab select runs/desk-parts --point 0.1 0 0.4 --up 1",
        ),
    ),
    "edit": Command(
        "edit",
        "Edit",
        "remove, keep, move, duplicate or recolor segments or regions of a run",
        (
            'fieldlab edit runs/toys "remove box -0.2 -0.2 0 0.4 0.4 0.8" --out runs/without',
            'fieldlab edit runs/toys "move sphere 0 0 0.3 0.4 by 0.5 0 0" "recolor sphere 0.5 0 0.3 0.4 to 1 0 0"',
        ),
    ),
    "matrix": Command(
        "matrix",
        "Matrix",
        "turn every representation of a scene into every other; one table, one picture",
        (
            "fieldlab matrix data/lego --time 60s",
            "fieldlab matrix toys --fields hashgrid,vm,voxel --teacher-time 60s --time 20s --workers 2",
        ),
    ),
    "fit": Command(
        "fit",
        "Fit",
        "fit an image or the distance to a mesh",
        (
            "fieldlab fit image photo.png --params 500k --out runs/photo --json photo.json",
            "fieldlab fit sdf bunny.obj --out runs/bunny --json bunny.json",
        ),
    ),
    "info": Command(
        "info",
        "Info",
        "say what is in a run or a scene",
        ("fieldlab info runs/fox", "fieldlab info data/fox", "fieldlab info toys"),
    ),
    "bench": Command(
        "bench",
        "Bench",
        "measure how fast this machine is",
        ("fieldlab bench", "fieldlab bench --json bench.json"),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 is success, 1 an error that was explained, 2 a command line that makes no sense, 130 an interruption.
    """
    # Threads that wait for others sleep instead of spinning, which on a busy machine keeps the others from running: it
    # halved the speed of training. OpenMP reads this when PyTorch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    warnings.showwarning = _show_warning
    try:
        with _terminated_like_interrupted():
            return call(given)
    except FieldlabError as error:
        return _fail(str(error), debug)
    except KeyboardInterrupt:
        _say("interrupted", debug)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) is gone; point stdout elsewhere so that its last flush stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _fail("there is not enough memory for this; use smaller pictures or a lower resolution", debug)
    except Exception as error:  # noqa: BLE001 (a person is told, whatever it was)
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "" if debug else "\n  what to do: run it again with --debug and report what it prints"
        return _fail(f"something went wrong inside fieldlab\n  found: {detail}{hint}", debug)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM, by which schedulers and services stop programs, ends the work like Ctrl-C: without half files."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def call(given: Sequence[str]) -> int:
    """Run a command line in this program, as commands do that are made of others; returns the exit code.

    Raises:
        FieldlabError: as the command does.
    """
    if not given or given[0] in ("-h", "--help", "help"):
        sys.stdout.write(help_text())
        return 0 if given else 2
    if given[0] in ("--version", "-V"):
        sys.stdout.write(f"fieldlab {__version__}\n")
        return 0
    name = given[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        sys.stderr.write(f"fieldlab: there is no command {name!r}; {hint}\n")
        return 2
    command = COMMANDS[name]
    module = importlib.import_module(f"fieldlab.apps.{command.module}")
    options = _parse(command, name, getattr(module, command.options), given[1:])
    run: Callable[[Any], object] = module.run
    run(options)
    return 0


def _parse(command: Command, name: str, options: type, given: Sequence[str]) -> Any:
    import tyro

    try:
        return tyro.cli(options, prog=f"fieldlab {name}", args=given)
    except SystemExit as done:
        if done.code in (0, None):  # help was asked for and shown
            sys.stdout.write("\nexamples:\n" + "".join(f"  {line}\n" for line in command.examples))
        raise


def help_text() -> str:
    """What ``fieldlab -h`` prints."""
    width = max(len(name) for name in COMMANDS)
    lines = [
        "usage: fieldlab COMMAND [options]",
        "",
        "Neural fields from photographs with camera poses: train, look, measure, convert and export.",
        "",
        "commands:",
        *(f"  {name:<{width}}  {command.does}" for name, command in COMMANDS.items()),
        "",
        "options:",
        "  -h, --help   show this, or with a command what it takes",
        "  --version    show the version",
        "  --debug      show where an error comes from (goes anywhere)",
        "",
        "examples:",
        *(f"  {COMMANDS[name].examples[0]}" for name in ("demo", "reconstruct", "train", "eval", "render", "export")),
    ]
    return "\n".join(lines) + "\n"


def _fail(message: str, debug: bool) -> int:
    _say(f"error: {message}", debug)
    return 1


def _say(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    sys.stderr.write(message + "\n")


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    """Warnings without the line of code they come from, which says nothing to a person."""
    (file or sys.stderr).write(f"warning: {message}\n")


if __name__ == "__main__":
    sys.exit(main())
