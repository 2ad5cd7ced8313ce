"""fieldlab demo: everything at once on a scene that comes with fieldlab, through the commands people use."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldlab.apps.options import Device, OptionalInt

if TYPE_CHECKING:
    from rich.console import Console

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
    numbers, sheet = out / "eval.json", out / "eval.png"
    video, mesh, summary = out / "renders" / "orbit.mp4", out / "exports" / "mesh.glb", out / "demo.png"
    limit = ["--steps", str(args.steps)] if args.steps is not None else ["--seconds", f"{args.seconds:g}"]
    for command in (
        ["train", args.scene, "--out", str(out), *limit, "--overwrite"],
        ["eval", str(out), "--json", str(numbers), "--sheet", str(sheet)],
        ["render", str(out), "--out", str(video), "--frames", str(FRAMES), "--fps", f"{FPS:g}"],
        ["export", str(out), "--mesh", str(mesh), "--resolution", str(MESH_RESOLUTION)],
    ):
        _call(command, args.device, console)
    found = json.loads(numbers.read_text())
    write_picture(summary, summary_picture(out, mesh, found["per_view"]))
    made = {
        "summary picture": summary,
        "photographs, renders, errors": sheet,
        "numbers": numbers,
        "orbit video": video,
        "mesh": mesh,
        "run": out,
    }
    Console().print(_summary(args, found, made, time.monotonic() - begin), soft_wrap=True)


def _call(command: list[str], device: str, console: Console) -> None:
    """Run a command of fieldlab, after saying what it is."""
    from fieldlab.apps.main import call

    console.print(f"\n[bold]fieldlab {shlex.join(command)}[/]", highlight=False, soft_wrap=True)
    call([*command, "--device", device])


def _summary(args: Demo, found: dict[str, Any], made: dict[str, Path], seconds: float) -> Any:
    from rich.table import Table

    from fieldlab.bench.measure import peak_memory
    from fieldlab.bench.tables import fixed

    memory = peak_memory()
    table = Table(title=f"demo of {args.scene}", title_justify="left", show_header=False, box=None)
    scores = f"PSNR {fixed(found['psnr'], 2)} dB, SSIM {found['ssim']:.3f} over {found['views']} views"
    table.add_row("[bold]test views[/]", scores)
    table.add_row("[bold]time[/]", f"{seconds:.0f} s in all")
    if memory is not None:
        table.add_row("[bold]peak memory[/]", f"{memory / 2**30:.2f} GiB")
    for label, path in made.items():
        table.add_row(f"[bold]{label}[/]", str(path))
    return table
