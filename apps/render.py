"""fieldlab render: videos and pictures of a run along a camera path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldlab.apps.options import Device, OptionalBackground, OptionalFloat, OptionalInt, OptionalSize, RunFolder


@dataclass
class Render:
    """Render a video or pictures along a camera path."""

    run: RunFolder
    """The folder that fieldlab train made."""
    out: Path
    """What to write: .mp4, .gif, .png (one picture), or a name without suffix for a folder of numbered pictures."""
    path: str = "orbit"
    """orbit (around the box), interpolate (through training cameras), or a camera path JSON as nerfstudio writes it."""
    frames: OptionalInt = None
    """Number of frames; 120 for mp4 and folders, 60 for gif, 1 for png. A JSON brings its own."""
    fps: OptionalFloat = None
    """Frames per second; 30 for mp4, 20 for gif. A JSON brings its own."""
    size: OptionalSize = None
    """Width and height such as 640x480; those of the photographs by default."""
    channel: Literal["rgb", "depth", "normal", "opacity"] = "rgb"
    """What to show."""
    background: OptionalBackground = None
    """What is behind the field; the scene's own by default."""
    device: Device = "auto"
    """Where to render."""


def run(args: Render) -> None:
    """Render with progress and write the file."""
    from rich.console import Console

    from fieldlab.apps.progress import progress_bar
    from fieldlab.ops.device import choose_device
    from fieldlab.pictures.frames import choose_path, render_frames
    from fieldlab.pictures.video import check_output, write_frames
    from fieldlab.runs.load import load_run

    check_output(args.out)
    size = None if args.size is None else parse_size(args.size)
    console = Console(stderr=True)
    model, info = load_run(args.run, choose_device(args.device))
    chosen = choose_path(args.path, info.scene.cameras["train"], model.aabb, args.out, frames=args.frames,
                         fps=args.fps, size=size)  # fmt: skip
    total = len(chosen.cameras)
    with progress_bar(console) as bar:
        pictures = render_frames(model, chosen.cameras, args.channel, model.background(args.background))
        write_frames(args.out, pictures, chosen.fps, lambda done: bar.show("rendering frames", done, total))
    width, height = chosen.cameras.size[0].tolist()
    console.print(
        f"{args.out}: {total} frame{'s' if total > 1 else ''} of {width}x{height}", highlight=False, soft_wrap=True
    )


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from text such as 640x480.

    Raises:
        ConfigError: it is something else.
    """
    from fieldlab.errors import ConfigError

    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or "0" in (match[1].strip("0") or "0", match[2].strip("0") or "0"):
        raise ConfigError("this is not a picture size", field="--size", found=text, expected="such as 640x480")
    return int(match[1]), int(match[2])
