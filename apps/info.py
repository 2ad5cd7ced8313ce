"""fieldlab info: what is in a run or a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Info:
    """Say what is in a run or a scene."""

    what: Annotated[str, tyro.conf.Positional]
    """A run folder, a folder of photographs with poses, a scene TOML, or the name of a procedural scene."""
    skip_bad_frames: bool = False
    """Leave out frames of a scene that cannot be read, and count them."""


def run(args: Info) -> None:
    """Print a table of what is known."""
    from rich.console import Console
    from rich.table import Table

    from fieldlab.bench.describe import describe
    from fieldlab.data.options import SceneOptions
    from fieldlab.sources.load import load_scene

    if (Path(args.what) / "config.toml").is_file():
        title, rows = f"run {args.what}", describe(args.what)
    else:
        scene = load_scene(args.what, SceneOptions(skip_bad_frames=args.skip_bad_frames))
        title, rows = f"scene {args.what}", scene.describe()
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for label, value in rows:
        table.add_row(f"[bold]{label}[/]", value)
    Console().print(table)
