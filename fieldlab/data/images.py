"""Reading pictures and masks, making them smaller, and knowing beforehand how much memory they take."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from fieldlab.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
MAX_PIXELS = 1 << 28  # one picture; larger sizes in a header mean a damaged file


Values = TypeVar("Values", Tensor, np.ndarray)


def over(color: Values, alpha: Values, background: Values | float) -> Values:
    """Colors [...,C] of straight ``alpha`` [...,1] in front of a background that broadcasts to them (Porter and Duff
    1984)."""
    mixed: Values = color * alpha + background * (1 - alpha)
    return mixed


def image_size(path: Path, *, described_in: Path | None = None, field: str | None = None) -> tuple[int, int, bool]:
    """Width, height and whether there may be an alpha channel, from the header alone.

    Raises:
        DataError: the file is missing or is not a picture.
    """
    with open_image(path, described_in, field) as image:
        width, height = image.size
        alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if width * height > MAX_PIXELS:
        raise DataError(
            "a picture is too large", file=path, found=f"{width}x{height}", expected=f"<= {MAX_PIXELS} pixels"
        )
    return width, height, alpha


def read_image(path: Path, *, described_in: Path | None = None, field: str | None = None) -> np.ndarray:
    """The picture as uint8 [H,W,3], or [H,W,4] with straight alpha when it has transparency. EXIF turns are ignored.

    Raises:
        DataError: the file is missing, damaged, or is not a picture.
    """
    with open_image(path, described_in, field) as image:
        try:
            return _to_uint8(image)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise DataError(
                "a picture is damaged",
                file=path,
                field=None if described_in is None else f"{field} in {described_in.name}",
                found=str(error),
                expected="a complete picture",
                hint="copy the file again, or leave it out with --skip-bad-frames",
            ) from error


def read_mask(path: Path, width: int, height: int) -> np.ndarray:
    """bool [H,W], True where a mask picture is not black (use the pixel); of the stated size.

    Raises:
        DataError: missing, damaged, or of another size.
    """
    mask = read_image(path)
    if mask.shape[:2] != (height, width):
        raise DataError(
            "a mask has another size than its picture",
            file=path,
            found=f"{mask.shape[1]}x{mask.shape[0]}",
            expected=f"{width}x{height}",
        )
    kept: np.ndarray = mask[..., :3].max(axis=-1) > 127
    return kept


def resize_area(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Area average of uint8 [H,W,3|4] to [height,width,...]; color is weighted by alpha, so edges keep their color."""
    if image.shape[:2] == (height, width):
        return image
    return _to_bytes(255 * area_average(image.astype(np.float32) / 255, width, height))


def area_average(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """Area average of float32 [H,W,C] in [0,1] to [height,width,C]; with two or four channels the last is alpha, which
    weights the others."""
    if values.shape[2] % 2:
        return _average(values, width, height)
    alpha = values[..., -1:]
    premultiplied = _average(values[..., :-1] * alpha, width, height)
    small_alpha = _average(alpha, width, height)
    color = np.divide(premultiplied, small_alpha, out=np.zeros_like(premultiplied), where=small_alpha > 0)
    return np.concatenate((color, small_alpha), axis=-1)


def resize_mask(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """bool [height,width]: True where everything beneath in bool [H,W] is True."""
    if mask.shape == (height, width):
        return mask
    return _average(mask[..., None].astype(np.float32), width, height)[..., 0] > 0.999


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, or None when the system does not say."""
    amounts = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                amounts.append(int(line.split()[1]) * 1024)
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
        amounts.append(max(0, int(text) - int(used.read_text())))
    return min(amounts, default=None)


def open_image(path: Path, described_in: Path | None = None, field: str | None = None) -> Image.Image:
    """The picture, its header read and its pixels not yet.

    Raises:
        DataError: the file is missing or is not a picture.
    """
    place = None if described_in is None else f"{field} in {described_in.name}"
    skip = "" if described_in is None else ", or leave it out with --skip-bad-frames"
    if not path.is_file():
        raise DataError(
            "a picture is missing",
            file=path,
            field=place,
            found="no such file",
            hint="put the file there or correct the path" + skip,
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            "a file is not a picture that can be read",
            file=path,
            field=place,
            found=f"{path.stat().st_size} bytes",
            expected=f"a picture ({', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})",
            hint="copy the file again" + skip,
        ) from error


def _to_uint8(image: Image.Image) -> np.ndarray:
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        scale = 255 / 65535 if image.mode.startswith("I") else 255
        gray = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=-1)
    alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    return np.array(image.convert("RGBA" if alpha else "RGB"))


def _average(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """Area average of float32 [H,W,C]."""
    rows, columns = values.shape[:2]
    if rows % height == 0 and columns % width == 0:
        blocks = values.reshape(height, rows // height, width, columns // width, -1)
        means: np.ndarray = blocks.mean(axis=(1, 3), dtype=np.float32)
        return means
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(values[..., c])).resize((width, height), Image.Resampling.BOX))
        for c in range(values.shape[2])
    ]
    return np.stack(channels, axis=-1)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
