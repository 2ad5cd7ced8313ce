"""The frames of a video: from which cameras, and what each shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError
from fieldlab.pictures.camera_path import default_view, interpolate, orbit
from fieldlab.pictures.colormap import DepthRange, color_depth, color_normals, color_opacity, depth_range
from fieldlab.pictures.nerfstudio_path import CameraPath, read_camera_path
from fieldlab.pictures.sheets import to_uint8
from fieldlab.pictures.video import check_output
from fieldlab.render.model import RadianceModel

FRAMES = {"mp4": 120, "gif": 60, "png": 1, "folder": 120}
FPS = {"mp4": 30.0, "gif": 20.0, "png": 1.0, "folder": 30.0}
RANGE_FRAMES, RANGE_SIDE = 6, 96  # of the small renders from which one depth scale is chosen for many pictures


def choose_path(
    path: str, cameras: Cameras, aabb: Tensor, out: Path, *, frames: int | None = None, fps: float | None = None,
    size: tuple[int, int] | None = None,
) -> CameraPath:  # fmt: skip
    """The cameras of a path.

    Args:
        path: ``orbit``, ``interpolate``, or the name of a camera path (.json).
        cameras: of the photographs.
        aabb: float [2,3], box of the scene.
        out: what the frames are written to, see :func:`fieldlab.pictures.video.check_output`.
        frames: how many; by default what is usual for the output, or all of a file.
        fps: frames per second; by default what is usual for the output, or what a file says.
        size: width and height of a frame; by default that of the photographs, or what a file says.

    Raises:
        ConfigError: there is no such path, or a .png gets many frames.
        DataError: the file is damaged.
    """
    kind = check_output(out)
    count = FRAMES[kind] if frames is None else frames
    if kind == "png" and count != 1:
        raise ConfigError(
            "a .png holds one frame", file=out, hint="give a name without suffix for a folder of pictures"
        )
    if path == "orbit":
        made = orbit(cameras, aabb.cpu(), count, default_view(cameras, size))
    elif path == "interpolate":
        made = interpolate(cameras, count, default_view(cameras, size))
    elif path.lower().endswith(".json"):
        found = read_camera_path(path, size)
        kept = slice(None) if frames is None and kind != "png" else slice(count)
        return CameraPath(found.cameras[kept], found.fps if fps is None else fps)
    else:
        raise ConfigError("this is not a camera path", field="--path", found=path,
                          expected="orbit, interpolate, or the name of a .json file")  # fmt: skip
    return CameraPath(made, FPS[kind] if fps is None else fps)


def render_frames(model: RadianceModel, cameras: Cameras, channel: str, background: Tensor) -> Iterator[np.ndarray]:
    """The pictures of a path one after another, uint8 [H,W,3].

    Args:
        channel: rgb, depth, normal or opacity; depth has one scale for all pictures.
        background: color [3] behind the field.
    """
    shown = depth_scale(model, cameras) if channel == "depth" else None
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


def depth_scale(model: RadianceModel, cameras: Cameras) -> DepthRange:
    """One scale of depth for the pictures of many cameras, from small renders of a few of them."""
    chosen = torch.linspace(0, len(cameras) - 1, min(RANGE_FRAMES, len(cameras))).round().long()
    few = cameras[chosen.to(cameras.device)]
    few = few.scaled(min(1.0, RANGE_SIDE / int(few.size.max())))
    seen = [model.render_image(few, i, channels=("depth", "opacity")) for i in range(len(few))]
    return depth_range((s["depth"][..., 0] for s in seen), (s["opacity"][..., 0] for s in seen))
