"""Frames to mp4, gif or numbered pictures, one at a time, so that a video takes no more memory than a frame."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from PIL import Image

from fieldlab.errors import ConfigError, RunFolderError
from fieldlab.files import whole_file

VIDEO_SUFFIXES = (".mp4", ".gif")
Frames = Iterable[np.ndarray]
OnFrame = Callable[[int], object]


def check_output(path: str | Path) -> str:
    """What kind of output a path names: 'mp4', 'gif', 'png' or 'folder' (no suffix).

    Raises:
        ConfigError: another suffix, a folder with things in it, or a folder in the place of a file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*VIDEO_SUFFIXES, ".png", ""):
        raise ConfigError(
            "frames cannot be written to this kind of file",
            file=path,
            found=suffix,
            expected=".mp4, .gif, .png, or a folder (no suffix) for numbered pictures",
        )
    if suffix == "" and path.is_dir() and any(path.iterdir()):
        raise ConfigError("the folder for the frames is not empty", file=path, hint="choose a new folder")
    if suffix != "" and path.is_dir():
        raise ConfigError("there is a folder in the place of the file", file=path)
    return suffix[1:] if suffix else "folder"


def write_frames(path: str | Path, frames: Frames, fps: float, on_frame: OnFrame | None = None) -> int:
    """Write uint8 frames [H,W,3] of one size; the output appears whole or not at all.

    mp4 is H.264 with 4:2:0 color, for which odd sizes are padded by repeating the last row or column. gif repeats for
    ever. A path without suffix becomes a folder of ``00000.png`` and so on; ``.png`` takes exactly one frame.

    Args:
        fps: frames per second; gif rounds the time of a frame to 1/100 s.
        on_frame: called with the number of frames written so far.

    Returns:
        how many frames were written.

    Raises:
        ConfigError: the suffix is unknown, fps is not positive, or there is no frame.
        RunFolderError: the output cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    kind = check_output(path)
    counted = _Counted(frames, on_frame)
    if not 0 < fps <= 1000:
        raise ConfigError("the frame rate is impossible", found=fps, expected="above 0, at most 1000 per second")
    if kind == "folder":
        _write_folder(path, counted)
        return counted.count
    with whole_file(path) as temporary:
        try:
            if kind == "png":
                _write_single(temporary, counted)
            elif kind == "gif":
                _write_gif(temporary, counted, fps)
            else:
                _write_mp4(temporary, counted, fps)
        except OSError as error:
            raise _not_written(path, error) from error
        if counted.count == 0:
            raise ConfigError("there are no frames to write", file=path)
    return counted.count


class _Counted:
    """Passes frames on; reports each one when the next is asked for, that is, when it has been written."""

    def __init__(self, frames: Frames, on_frame: OnFrame | None) -> None:
        self.frames, self.on_frame, self.count = frames, on_frame, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self.frames:
            yield frame
            self.count += 1
            if self.on_frame is not None:
                self.on_frame(self.count)


def _write_mp4(temporary: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    # CRF 18 is visually lossless; yuv420p and faststart are what browsers and phones play.
    writer = imageio.get_writer(
        str(temporary),
        format="FFMPEG",
        fps=fps,
        codec="libx264",
        pixelformat="yuv420p",
        macro_block_size=1,
        quality=None,
        ffmpeg_log_level="error",
        output_params=["-crf", "18", "-preset", "medium", "-movflags", "+faststart"],
    )
    with contextlib.closing(writer):
        for frame in frames:
            writer.append_data(even(frame))


def _write_gif(temporary: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    pictures = (Image.fromarray(frame).quantize(256) for frame in frames)
    first = next(pictures, None)
    if first is not None:
        duration = max(2, round(100 / fps)) * 10  # below 20 ms browsers play gifs slowly
        first.save(temporary, save_all=True, append_images=pictures, duration=duration, loop=0)


def _write_single(temporary: Path, frames: Iterable[np.ndarray]) -> None:
    for i, frame in enumerate(frames):
        if i > 0:
            raise ConfigError(
                "a .png holds one frame", expected="one frame, or a folder (a name without suffix) for more"
            )
        Image.fromarray(frame).save(temporary)


def _write_folder(path: Path, frames: Iterable[np.ndarray]) -> None:
    folder: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        for i, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / f"{i:05d}.png")
        if not any(folder.iterdir()):
            raise ConfigError("there are no frames to write", file=path)
        folder.chmod(0o755)
        folder.replace(path)  # an empty folder in its place is replaced too
        folder = None
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def even(frame: np.ndarray) -> np.ndarray:
    """The frame with its last row or column repeated where a side is odd."""
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _not_written(path: Path, error: OSError) -> RunFolderError:
    # An error of ffmpeg carries its whole log; the last line says what was wrong.
    lines = [line.strip() for line in (error.strerror or str(error)).splitlines() if line.strip()]
    return RunFolderError(
        "the frames could not be written",
        file=path,
        found=lines[-1] if lines else type(error).__name__,
        hint="check the folder and that there is space on the disk",
    )
