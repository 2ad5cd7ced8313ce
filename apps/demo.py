"""fieldlab demo: everything at once on a scene that comes with fieldlab, through the commands people use."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from fieldlab.apps.options import Device, OptionalInt
from fieldlab.apps.stages import call, memory_in_words, on_device, scores_in_words, summary

FRAMES = 72
FPS = 24.0
MESH_RESOLUTION = 192


@dataclass
class Demo:
    """Train on a scene that comes with fieldlab; make numbers, pictures, a video and a mesh."""

    out: Path = Path("runs/demo")
    """Folder for the run and everything made from it; an earlier demo in it is replaced."""
    seconds: float = 60.0
    """Training time."""
    steps: OptionalInt = None
    """Train for so many steps instead."""
    scene: str = "toys"
    """One of the scenes that come with fieldlab: toys, robot, garden."""
    device: Device = "auto"
    """Where to train and render."""


def run(args: Demo) -> None:
    """Run the commands one after another and say what was made and where."""
    from rich.console import Console

    from fieldlab.bench.demo_picture import summary_picture
    from fieldlab.pictures.sheets import write_picture

    begin, console, out = time.monotonic(), Console(stderr=True), args.out
    numbers, sheet, picture = out / "eval.json", out / "eval.png", out / "demo.png"
    video, mesh = out / "renders" / "orbit.mp4", out / "exports" / "mesh.glb"
    limit = ["--steps", str(args.steps)] if args.steps is not None else ["--seconds", f"{args.seconds:g}"]
    for command in (
        ["train", args.scene, "--out", str(out), *limit, "--overwrite"],
        ["eval", str(out), "--json", str(numbers), "--sheet", str(sheet)],
        ["render", str(out), "--out", str(video), "--frames", str(FRAMES), "--fps", f"{FPS:g}"],
        ["export", str(out), "--mesh", str(mesh), "--resolution", str(MESH_RESOLUTION)],
    ):
        console.print()
        call([*command, *on_device(args.device)], console)
    found = json.loads(numbers.read_text())
    write_picture(picture, summary_picture(out, mesh, found["per_view"]))
    rows = [
        ("test views", scores_in_words(found)),
        ("time", f"{time.monotonic() - begin:.0f} s in all"),
        ("peak memory", memory_in_words()),
        ("summary picture", str(picture)),
        ("photographs, renders, errors", str(sheet)),
        ("numbers", str(numbers)),
        ("orbit video", str(video)),
        ("mesh", str(mesh)),
        ("run", str(out)),
    ]
    Console().print(summary(f"demo of {args.scene}", rows), soft_wrap=True)
