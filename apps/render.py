"""fieldlab render: videos and pictures of a run along a camera path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fieldlab.apps.options import Device, OptionalBackground, OptionalFloat, OptionalInt, OptionalSize, RunFolder

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from fieldlab.data.cameras import Cameras
    from fieldlab.pictures.colormap import DepthRange
    from fieldlab.pictures.nerfstudio_path import CameraPath
    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.load import RunInfo

FRAMES = {"mp4": 120, "gif": 60, "png": 1, "folder": 120}
FPS = {"mp4": 30.0, "gif": 20.0, "png": 1.0, "folder": 30.0}
RANGE_FRAMES = 6  # looked at beforehand to choose one depth scale for the whole video
RANGE_SIDE = 96


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
    from fieldlab.apps.train import choose_device
    from fieldlab.pictures.video import check_output, write_frames
    from fieldlab.runs.load import load_run

    kind = check_output(args.out)
    size = None if args.size is None else parse_size(args.size)
    console = Console(stderr=True)
    model, info = load_run(args.run, choose_device(args.device))
    chosen = choose_path(args, info, model, kind, size)
    background = model.background(args.background)
    with progress_bar(console) as bar:
        total = len(chosen.cameras)
        pictures = frames_of(model, chosen.cameras, args.channel, background)
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


def choose_path(
    args: Render, info: RunInfo, model: RadianceModel, kind: str, size: tuple[int, int] | None
) -> CameraPath:
    """The cameras to render from.

    Raises:
        ConfigError: the path is neither a known word nor a JSON file, or a picture format gets many frames.
        DataError: the JSON file is damaged.
    """
    from fieldlab.errors import ConfigError
    from fieldlab.pictures.camera_path import default_view, interpolate, orbit
    from fieldlab.pictures.nerfstudio_path import CameraPath, read_camera_path

    frames = FRAMES[kind] if args.frames is None else args.frames
    if kind == "png" and frames != 1:
        raise ConfigError(
            "a .png holds one frame", file=args.out, hint="give a name without suffix for a folder of pictures"
        )
    cameras = info.scene.cameras["train"]
    if args.path == "orbit":
        made = orbit(cameras, model.aabb.cpu(), frames, default_view(cameras, size))
    elif args.path == "interpolate":
        made = interpolate(cameras, frames, default_view(cameras, size))
    elif args.path.lower().endswith(".json"):
        found = read_camera_path(args.path, size)
        keep = slice(None) if args.frames is None and kind != "png" else slice(frames)
        return CameraPath(found.cameras[keep], found.fps if args.fps is None else args.fps)
    else:
        raise ConfigError(
            "this is not a camera path", field="--path", found=args.path,
            expected="orbit, interpolate, or the name of a .json file",
        )  # fmt: skip
    return CameraPath(made, FPS[kind] if args.fps is None else args.fps)


def frames_of(model: RadianceModel, cameras: Cameras, channel: str, background: Tensor) -> Iterator[np.ndarray]:
    """The pictures of a path one after another, uint8 [H,W,3]."""
    from fieldlab.pictures.colormap import color_depth, color_normals, color_opacity
    from fieldlab.pictures.sheets import to_uint8

    shown = scale_of(model, cameras) if channel == "depth" else None
    wanted = ("rgb",) if channel == "rgb" else tuple(dict.fromkeys((channel, "opacity")))
    for i in range(len(cameras)):
        seen = model.render_image(cameras, i, background=background, channels=wanted)
        if channel == "rgb":
            yield to_uint8(seen["rgb"])
            continue
        opacity = seen["opacity"][..., 0]
        if shown is not None:
            yield to_uint8(color_depth(seen["depth"][..., 0], opacity, shown, background))
        elif channel == "normal":
            yield to_uint8(color_normals(seen["normal"], opacity, background))
        else:
            yield to_uint8(color_opacity(opacity))


def scale_of(model: RadianceModel, cameras: Cameras) -> DepthRange:
    """One depth scale for all cameras of a path, from small renders of a few of them."""
    import torch

    from fieldlab.pictures.colormap import depth_range

    chosen = torch.linspace(0, len(cameras) - 1, min(RANGE_FRAMES, len(cameras))).round().long()
    few = cameras[chosen.to(cameras.device)]
    few = few.scaled(min(1.0, RANGE_SIDE / int(few.size.max())))
    seen = [model.render_image(few, i, channels=("depth", "opacity")) for i in range(len(few))]
    return depth_range((s["depth"][..., 0] for s in seen), (s["opacity"][..., 0] for s in seen))
