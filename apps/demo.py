"""fieldlab demo: everything at once on a scene that comes with fieldlab, through the commands people use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldlab.apps.options import Device, OptionalInt

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from fieldlab.apps.eval import Evaluation

PICTURE_HEIGHT = 256
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

    from fieldlab.apps import eval as eval_command
    from fieldlab.apps import export as export_command
    from fieldlab.apps import render as render_command
    from fieldlab.apps import train as train_command
    from fieldlab.pictures.sheets import write_picture

    begin = time.monotonic()
    console = Console(stderr=True)
    out = args.out
    numbers, sheet = out / "eval.json", out / "eval.png"
    video, mesh, summary = out / "renders" / "orbit.mp4", out / "exports" / "mesh.glb", out / "demo.png"

    seconds = args.seconds if args.steps is None else None
    limit = f"--steps {args.steps}" if seconds is None else f"--seconds {seconds:g}"
    _announce(console, f"train {args.scene} --out {out} {limit}")
    train_command.run(
        train_command.Train(
            scene=args.scene, out=out, steps=args.steps, seconds=seconds, device=args.device, overwrite=True
        )
    )
    _announce(console, f"eval {out} --json {numbers} --sheet {sheet}")
    found = eval_command.run(eval_command.Eval(out, json=numbers, sheet=sheet, device=args.device))
    _announce(console, f"render {out} --out {video} --frames {FRAMES} --fps {FPS:g}")
    render_command.run(render_command.Render(out, video, frames=FRAMES, fps=FPS, device=args.device))
    _announce(console, f"export {out} --mesh {mesh} --resolution {MESH_RESOLUTION}")
    export_command.run(export_command.Export(out, mesh=mesh, resolution=MESH_RESOLUTION, device=args.device))
    write_picture(summary, summary_picture(out, mesh, found))

    made = {
        "summary picture": summary,
        "photographs, renders, errors": sheet,
        "numbers": numbers,
        "orbit video": video,
        "mesh": mesh,
        "run": out,
    }
    Console().print(_summary(args, found, made, time.monotonic() - begin), soft_wrap=True)


def summary_picture(run: Path, mesh: Path, found: Evaluation) -> np.ndarray:
    """One view in every way: photograph, render and error above depth, normals and mesh, uint8 [H,W,3]."""
    import torch

    from fieldlab.mesh.picture import mesh_picture
    from fieldlab.mesh.read import read_mesh
    from fieldlab.pictures.colormap import color_depth, color_normals, depth_range
    from fieldlab.pictures.sheets import depth_legend, fitted, labeled, sheet, to_uint8
    from fieldlab.runs.load import load_run

    model, info = load_run(run)
    # The view nearest to the middle of the scores shows what to expect.
    order = sorted(found.rows, key=lambda i: found.scores[i].psnr)
    view = order[len(order) // 2]
    cameras = info.scene.cameras["test"]
    white = torch.ones(3)
    seen = model.render_image(cameras, view, background=white, channels=("depth", "opacity", "normal"))
    depth, opacity = seen["depth"][..., 0], seen["opacity"][..., 0]
    shown = depth_range([depth], [opacity])
    surface = read_mesh(mesh)
    height = min(depth.shape[0], PICTURE_HEIGHT)
    below = [
        labeled(fitted(picture, height), name)
        for name, picture in (
            ("depth", to_uint8(color_depth(depth, opacity, shown, white))),
            ("normals", to_uint8(color_normals(seen["normal"], opacity, white))),
            (f"mesh, {len(surface.faces):,} faces", mesh_picture(surface, cameras, view)),
            ("its shape", mesh_picture(surface, cameras, view, shaded=True)),
        )
    ]
    below.insert(1, depth_legend(height, shown))
    return sheet([found.rows[view], below])


def peak_memory() -> int | None:
    """Most bytes of main memory this process has held, or None where the system does not say."""
    import sys

    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _announce(console: Console, command: str) -> None:
    console.print(f"\n[bold]fieldlab {command}[/]", highlight=False, soft_wrap=True)


def _summary(args: Demo, found: Evaluation, made: dict[str, Path], seconds: float) -> Any:
    from rich.table import Table

    from fieldlab.train.evaluate import mean_score

    mean, memory = mean_score(found.scores), peak_memory()
    table = Table(title=f"demo of {args.scene}", title_justify="left", show_header=False, box=None)
    table.add_row(
        "[bold]test views[/]", f"PSNR {mean.psnr:.2f} dB, SSIM {mean.ssim:.3f} over {len(found.scores)} views"
    )
    table.add_row("[bold]time[/]", f"{seconds:.0f} s in all")
    if memory is not None:
        table.add_row("[bold]peak memory[/]", f"{memory / 2**30:.2f} GiB")
    for label, path in made.items():
        table.add_row(f"[bold]{label}[/]", str(path))
    return table
