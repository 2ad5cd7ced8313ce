"""Sparse points from the depth sensor of a telephone.

Sensors are coarse (256x192 with Apple's LiDAR), reach about five meters, and guess across edges. A few thousand good
pixels are enough to say where content begins and how far it goes, so that doubtful ones are simply left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from fieldlab.data.frames import Frame
from fieldlab.data.images import open_image, read_image
from fieldlab.errors import DataError

MAX_POINTS = 20_000
MAX_FRAMES = 64
NEAREST, FARTHEST = 0.05, 5.0  # meters, what the sensor can measure
STEEP = 0.05  # differences between neighbors, as a share of the depth, above which they are on either side of an edge


def sensor_points(
    frames: Sequence[Frame], read: Callable[[Frame], np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Points seen by the sensor: random good pixels of some of the frames.

    Args:
        frames: perspective views without distortion; those to be learnt from, and no others.
        read: the z-depth of a frame in meters as float [h,w], not finite or 0 where nothing reliable is known; None
            without a depth map. What raises DataError is left out.

    Returns:
        Points float64 [P,3] in the world, at most ``MAX_POINTS``, their colors uint8 [P,3], and notes.
    """
    generator = np.random.default_rng(0)
    chosen = [frames[int(k)] for k in np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES))]
    points, colors, bad = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.uint8)], []
    for frame in chosen:
        try:
            depth = read(frame)
            picture = None if depth is None else read_image(frame.image)[..., :3]
        except DataError as error:
            bad.append(error)
            continue
        if depth is None or picture is None:
            continue
        rows, columns = np.nonzero(_reliable(depth))
        some = generator.permutation(len(rows))[: MAX_POINTS // len(chosen)]
        at = np.stack((columns[some], rows[some]), axis=1) + 0.5
        points.append(_unproject(frame, at, depth[rows[some], columns[some]], depth.shape))
        place = (at * [picture.shape[1] / depth.shape[1], picture.shape[0] / depth.shape[0]]).astype(int)
        colors.append(picture[place[:, 1], place[:, 0]])
    notes = [f"{len(bad)} depth maps were left out; the first because {bad[0].what} ({bad[0].file})"] if bad else []
    found = np.concatenate(points)
    if len(found):
        notes.append(f"{len(found)} sparse points come from the depth sensor")
    return found, np.concatenate(colors), notes


def read_exr_depth(file: Path) -> np.ndarray:
    """The only channel of an OpenEXR picture as float32 [h,w].

    Raises:
        DataError: it cannot be read or has several channels.
    """
    import OpenEXR  # takes a while to import

    try:
        channels = [channel.pixels for channel in OpenEXR.File(str(file), separate_channels=True).channels().values()]
    except Exception as error:  # the library raises what its layers do
        raise DataError(
            "a depth map cannot be read", file=file, found=" ".join(str(error).split())[:200], expected="an EXR file"
        ) from error
    if len(channels) != 1 or channels[0].ndim != 2:
        raise DataError("a depth map has several channels", file=file, found=len(channels), expected="one channel")
    depth: np.ndarray = np.asarray(channels[0]).astype(np.float32)
    return depth


def read_gray(file: Path) -> np.ndarray:
    """The values of a gray picture of 8 or 16 bits as int64 [h,w].

    Raises:
        DataError: missing, damaged, or colored.
    """
    with open_image(file) as image:
        try:
            values = np.asarray(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError("a depth map is damaged", file=file, found=str(error), expected="a gray picture") from error
    if values.ndim != 2:
        raise DataError("a depth map is colored", file=file, found=image.mode, expected="a gray picture")
    return values.astype(np.int64)


def _reliable(depth: np.ndarray) -> np.ndarray:
    """bool [h,w]: within the sensor's reach, and not at an edge, where it invents depths between the two sides."""
    known = np.isfinite(depth) & (depth > NEAREST) & (depth < FARTHEST)
    filled = np.where(known, depth, np.inf)
    low = ndimage.minimum_filter(filled, 3, mode="nearest")
    high = ndimage.maximum_filter(filled, 3, mode="nearest")
    reliable: np.ndarray = known & np.isfinite(high) & (high <= (1 + STEEP) * low)
    return reliable


def _unproject(frame: Frame, pixels: np.ndarray, depth: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """World positions float64 [P,3] of pixels [P,2] of a depth map [h,w] that covers the whole picture."""
    fx, fy, cx, cy = frame.lens.intrinsics(shape[1], shape[0])
    flat = (pixels - [cx, cy]) / [fx, fy]
    local = np.concatenate((flat, np.ones((len(flat), 1))), axis=1) * depth[:, None].astype(np.float64)
    moved: np.ndarray = local @ frame.camera_to_world[:, :3].T + frame.camera_to_world[:, 3]
    return moved
