"""fieldlab info: what is in a run or a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import load_scene
from fieldlab.train.session import load_run


@dataclass
class Info:
    """Say what is in a run or a scene."""

    what: Annotated[str, tyro.conf.Positional]
    """A run folder, a folder of photographs with poses, a scene TOML, or the name of a procedural scene."""
    skip_bad_frames: bool = False
    """Leave out frames of a scene that cannot be read, and count them."""


def run(args: Info) -> None:
    """Print a table of what is known."""
    if (Path(args.what) / "config.toml").is_file():
        title, rows = f"run {args.what}", describe_run(args.what)
    else:
        scene = load_scene(args.what, SceneOptions(skip_bad_frames=args.skip_bad_frames))
        title, rows = f"scene {args.what}", scene.describe()
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for label, value in rows:
        table.add_row(f"[bold]{label}[/]", value)
    Console().print(table)


def describe_run(path: str | Path) -> list[tuple[str, str]]:
    """Label and value of everything worth knowing of a run."""
    model, info = load_run(path)
    views = ", ".join(f"{len(names)} {split}" for split, names in info.names.items())
    rows = [("scene", info.scene_name), ("source", info.source), ("format", info.format), ("views", views)]
    rows += model.describe()
    rows += [(f"field.{key}", str(value)) for key, value in vars(info.config.field).items()]
    rows += [(f"train.{key}", str(value)) for key, value in vars(info.config.train).items() if value is not None]
    rows += [("steps", str(info.step)), ("seconds trained", f"{info.seconds:.1f}")]
    if info.psnr is not None:
        rows.append(("PSNR on training rays", f"{info.psnr:.2f} dB"))
    for file in info.run.checkpoints():
        rows.append(("checkpoint", f"{file.name}, {file.stat().st_size / 2**20:.1f} MiB"))
    return rows
