"""Frames out of a video: the sharpest of each interval, read as a stream, so that memory stays flat."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np
from PIL import Image
from scipy import ndimage

from fieldlab.errors import DataError
from fieldlab.files import whole_file

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".3gp", ".mpg", ".mpeg")
FRAMES_PER_SECOND = 2.5
FEWEST_FRAMES, MOST_FRAMES = 40, 150
JPEG_QUALITY = 97
_SIDE = 512  # pixels of the square in which sharpness is measured


def default_frames(seconds: float) -> int:
    """How many frames to take of a video of so many seconds: a few a second, enough, and not too many to match."""
    return min(max(round(FRAMES_PER_SECOND * seconds), FEWEST_FRAMES), MOST_FRAMES)


def duration(path: Path) -> float:
    """Seconds of a video.

    Raises:
        DataError: the file is missing or no video.
    """
    if not path.is_file():
        raise DataError("the video is missing", file=path, expected="a folder of photographs, or a video")
    try:
        return float(imageio_ffmpeg.count_frames_and_secs(str(path.resolve()))[1])
    except Exception as error:  # imageio-ffmpeg raises RuntimeError, ValueError and others for damaged files
        raise _no_video(path, str(error)) from error


def sharpness(path: Path, tick: Callable[[int], None]) -> np.ndarray:
    """How sharp each frame of a video is: the variance of its Laplacian, float64 [N]. ``tick`` is told how many are
    measured.

    Raises:
        DataError: the file holds no frame that can be read.
    """
    arguments = ["-vf", f"format=gray,scale={_SIDE}:{_SIDE}:flags=area", "-f", "rawvideo", "-pix_fmt", "gray"]
    found: list[float] = []
    with _ffmpeg(path, *arguments) as stream:
        while len(data := stream.read(_SIDE * _SIDE)) == _SIDE * _SIDE:
            frame = np.frombuffer(data, np.uint8).reshape(_SIDE, _SIDE)
            found.append(float(ndimage.laplace(frame.astype(np.float32)).var()))
            tick(len(found))
    return np.array(found)


def sharpest(values: np.ndarray, count: int) -> list[int]:
    """The index of the largest of ``values`` [N] in each of ``count`` intervals of nearly equal length; all, if there
    are no more."""
    edges = np.linspace(0, len(values), min(count, len(values)) + 1).round().astype(int)
    return [int(start + values[start:end].argmax()) for start, end in itertools.pairwise(edges) if end > start]


def frame_name(index: int) -> str:
    """The file of a frame; names are in order of time."""
    return f"frame_{index:06d}.jpg"


def write_frames(path: Path, chosen: list[int], folder: Path, tick: Callable[[int], None]) -> None:
    """Write the ``chosen`` frames to ``folder`` as JPEG, turned as the video says. What is there already stays, so that
    an interrupted call goes on; ``tick`` is told how many are there.

    Raises:
        DataError: a frame cannot be read.
    """
    missing = [index for index in sorted(chosen) if not (folder / frame_name(index)).is_file()]
    done = len(chosen) - len(missing)
    tick(done)
    if not missing:
        return
    choice = "+".join(f"eq(n,{index})" for index in missing)
    arguments = ["-vf", f"select='{choice}'", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24"]
    with _ffmpeg(path, *arguments) as stream:
        for index in missing:
            frame = _read_ppm(stream)
            if frame is None:
                raise _no_video(path, f"no frame {index}")
            with whole_file(folder / frame_name(index)) as temporary:
                Image.fromarray(frame).save(temporary, quality=JPEG_QUALITY, subsampling=0)
            done += 1
            tick(done)


def _read_ppm(stream: IO[bytes]) -> np.ndarray | None:
    """uint8 [H,W,3] of the next picture (P6, its size, 255, its pixels), or None at the end."""
    if stream.readline().strip() != b"P6":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()
    data = stream.read(width * height * 3)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3) if len(data) == width * height * 3 else None


@contextlib.contextmanager
def _ffmpeg(path: Path, *arguments: str) -> Iterator[IO[bytes]]:
    """What ffmpeg writes of the first moving stream, every frame once whatever its time. It turns frames itself.

    Raises:
        DataError: it failed before the first byte; a file that is cut short gives what it has.
    """
    # The prefix keeps a colon in a name from being taken for a protocol, the capital V leaves out pictures of covers.
    source = ["-i", f"file:{path.resolve()}", "-map", "0:V:0", "-fps_mode", "passthrough"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *source, *arguments, "-"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        assert process.stdout is not None  # asked for above
        try:
            first = process.stdout.peek(1)  # type: ignore[attr-defined]
            if not first:
                process.wait()
                said.seek(0)
                raise _no_video(path, said.read().decode(errors="replace"))
            yield process.stdout
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


def _no_video(path: Path, said: str) -> DataError:
    lines = [line for line in said.strip().splitlines() if line.strip()]
    return DataError(
        "the video cannot be read",
        file=path,
        found=lines[-1].strip()[:200] if lines else "no frames",
        expected="a video that ffmpeg can decode (H.264, HEVC, VP9, AV1, ...)",
        hint="copy the file again from the camera, or save it as MP4 with another program",
    )
