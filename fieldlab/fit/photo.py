"""Pictures at their own precision: 8 or 16 bits, gray or color, with or without alpha."""

from __future__ import annotations

import struct
import subprocess
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fieldlab.data.images import area_average, open_image
from fieldlab.errors import DataError
from fieldlab.files import write_bytes, write_with
from fieldlab.fit.config import ImageOptions

ORIENTATION = 0x0112  # the number of that tag
_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_FFMPEG_FORMATS = {2: "ya16le", 3: "rgb48le", 4: "rgba64le"}
_PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


@dataclass(frozen=True)
class Photo:
    """A picture.

    Args:
        values: float32 [H,W,C] in [0,1], C = 1 gray, 2 gray and alpha, 3 color, 4 color and alpha (straight,
            as stored).
        bits: of the file, 8 or 16.
    """

    values: Tensor
    bits: int

    @property
    def levels(self) -> int:
        """The largest stored number."""
        return (1 << self.bits) - 1

    def quantized(self) -> Photo:
        """Rounded to what the file can hold."""
        return replace(self, values=(self.values.clamp(0, 1) * self.levels).round() / self.levels)

    def prepared(self, options: ImageOptions) -> Photo:
        """Cropped and made smaller, then rounded as a file would be."""
        values = self.values
        height, width = values.shape[:2]
        if options.crop == "square":
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            values = values[top : top + side, left : left + side]
            height, width = side, side
        if options.size is not None and options.size != max(height, width):
            scale = options.size / max(height, width)
            smaller = max(round(width * scale), 1), max(round(height * scale), 1)
            values = torch.from_numpy(area_average(values.numpy(), *smaller))
        return replace(self, values=values.contiguous()).quantized()


def read_photo(path: Path) -> Photo:
    """Read a picture without losing precision; palettes become colors, other color spaces sRGB.

    Raises:
        DataError: the file is missing, damaged, no picture, or of floating-point values.
    """
    with open_image(path) as image:
        try:
            stored_as = _stored_as(image)
            turned = int(image.getexif().get(ORIENTATION, 1))
            deep = ";16" in stored_as
            if image.mode == "F":
                raise DataError("a picture of floating-point values cannot be fitted", file=path, found="mode F",
                                expected="8 or 16 bits a channel", hint="convert it to a 16-bit PNG")  # fmt: skip
            if deep and not image.mode.startswith("I"):
                channels = 2 if "LA" in stored_as else len(image.getbands())
                stored: np.ndarray = _read_deep(path, image.size, channels)
            elif image.mode.startswith("I"):
                stored, deep = np.asarray(image)[..., None], True
                if stored.min() < 0 or stored.max() > 65535:
                    raise DataError("a picture's values do not fit 16 bits", file=path,
                                    found=f"{stored.min()} to {stored.max()}", expected="0 to 65535",
                                    hint="convert it to a 16-bit PNG")  # fmt: skip
            else:
                stored = np.asarray(image.convert(_mode8(image)))
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise DataError("a picture is damaged", file=path, found=error, expected="a complete picture",
                            hint="copy the file again") from error  # fmt: skip
    stored = upright(stored[..., None] if stored.ndim == 2 else stored, turned)
    bits = 16 if deep else 8
    return Photo(torch.from_numpy(stored.astype(np.float32) / ((1 << bits) - 1)), bits)


def upright(stored: np.ndarray, turned: int) -> np.ndarray:
    """A picture [H,W,C] as viewers show it: turned and mirrored as the camera noted (Exif, tag Orientation, 1 to 8)."""
    if turned in (5, 6, 7, 8):
        stored = stored.swapaxes(0, 1)
    if turned in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if turned in (3, 4, 7, 8):
        stored = stored[::-1]
    return np.ascontiguousarray(stored)


def write_photo(path: Path, photo: Photo) -> None:
    """Write a PNG of the picture's own precision and channels, whole or not at all.

    Raises:
        RunFolderError: the file cannot be written.
    """
    stored = (photo.quantized().values * photo.levels).round().numpy()
    if photo.bits == 16:
        write_bytes(path, _png16(stored.astype(">u2")))
        return
    channels = stored.shape[2]
    image = Image.fromarray(stored.astype(np.uint8)[..., 0] if channels == 1 else stored.astype(np.uint8),
                            _CHANNELS[channels])  # fmt: skip
    write_with(path, lambda temporary: image.save(temporary, format="PNG"))


def _stored_as(image: Image.Image) -> str:
    """How the file holds its values, in Pillow's words, such as RGB;16B."""
    return " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))


def _mode8(image: Image.Image) -> str:
    """The mode of eight bits a channel that loses nothing."""
    alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    gray = image.mode in ("1", "L", "LA", "La")
    return ("L" if gray else "RGB") + ("A" if alpha else "")


def _read_deep(path: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """uint16 [H,W,C] of a picture with 16 bits a channel, which Pillow would cut to eight."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo"]
    done = subprocess.run([*command, "-pix_fmt", _FFMPEG_FORMATS[channels], "-"], capture_output=True, check=False)
    width, height = size
    if done.returncode or len(done.stdout) != 2 * width * height * channels:
        raise ValueError(done.stderr.decode(errors="replace").strip().splitlines()[-1:] or "cut short")
    return np.frombuffer(done.stdout, "<u2").reshape(height, width, channels)


def _png16(stored: np.ndarray) -> bytes:
    """A PNG file of big-endian uint16 [H,W,C], each row as its difference to the one above (PNG filter 2)."""
    height, width, channels = stored.shape
    rows = np.ascontiguousarray(stored).view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)
    filtered[:, 1:] = rows
    filtered[1:, 1:] -= rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
