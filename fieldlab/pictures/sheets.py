"""Pictures for people: 8-bit conversion, labels, legends, error maps and sheets of pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.files import write_with
from fieldlab.pictures.colormap import DepthRange, heat, rainbow

GAP = 6
PAPER = (255, 255, 255)
INK = (32, 32, 32)


def to_uint8(picture: Tensor) -> np.ndarray:
    """sRGB [H,W,C] in [0,1] as uint8, rounded to nearest."""
    return (picture.detach().float().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write uint8 [H,W,3|4] as .png, .jpg or .webp, whole or not at all.

    Raises:
        ConfigError: the suffix names no picture format.
        RunFolderError: the file cannot be written.
    """
    check_picture_path(path)
    write_with(path, lambda temporary: Image.fromarray(picture).save(temporary))


def check_picture_path(path: str | Path) -> None:
    """Whether a picture can be written under this name.

    Raises:
        ConfigError: the suffix names no picture format, or a folder is in the place of the file.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ConfigError("a picture has an unknown suffix", file=path, found=path.suffix, expected=".png, .jpg, .webp")
    if path.is_dir():
        raise ConfigError("there is a folder in the place of the file", file=path)


def error_picture(prediction: Tensor, target: Tensor, top: float = 0.25) -> np.ndarray:
    """Root mean squared difference over channels of [H,W,3] pictures as colors; ``top`` and more is the lightest."""
    error = (prediction.clamp(0, 1) - target.clamp(0, 1)).square().mean(dim=-1).sqrt()
    return to_uint8(heat(error / top))


def text_block(text: str, size: int = 13) -> np.ndarray:
    """Dark text on white, uint8 [h,w,3], as small as it fits."""
    font = _font(size)
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left, top, right, bottom = probe.textbbox((0, 0), text or " ", font=font)
    canvas = Image.new("RGB", (int(right - left) + 4, int(bottom - top) + 4), PAPER)
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, fill=INK, font=font)
    return np.asarray(canvas)


def labeled(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture [H,W,3] with a line of text above it; white at its right where the text is longer."""
    words = text_block(text)
    height, width = text_block("Ag|").shape[0], max(picture.shape[1], words.shape[1])
    made = np.full((height + picture.shape[0], width, 3), PAPER, dtype=np.uint8)
    made[: min(height, words.shape[0]), : words.shape[1]] = words[:height]
    made[height:, : picture.shape[1]] = picture[..., :3]
    return made


def depth_legend(height: int, shown: DepthRange) -> np.ndarray:
    """A color scale uint8 [height,w,3] with distances in world units, fitting beside a depth picture."""
    # The map is linear in 1/depth, so equal steps on the scale are not equal distances: label what is there.
    share = torch.linspace(1, 0, height)
    inverse = 1 / shown.far + share * (1 / shown.near - 1 / shown.far)
    return _scale(rainbow(share), [(f, f"{1 / float(inverse[int(f * (height - 1))]):.3g}") for f in _ticks(height)])


def error_legend(height: int, top: float = 0.25) -> np.ndarray:
    """The color scale of :func:`error_picture`, uint8 [height,w,3]."""
    return _scale(heat(torch.linspace(1, 0, height)), [(f, f"{top * (1 - f):.2g}") for f in _ticks(height)])


def beside(parts: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Pictures in a row, aligned at the bottom, on white."""
    height = max(part.shape[0] for part in parts)
    row = []
    for part in parts:
        missing = np.full((height - part.shape[0], part.shape[1], 3), PAPER, dtype=np.uint8)
        row += [np.concatenate((missing, part[..., :3])), np.full((height, gap, 3), PAPER, dtype=np.uint8)]
    return np.concatenate(row[:-1], axis=1)


def sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = GAP) -> np.ndarray:
    """Rows of pictures under each other on white, aligned at the left, with a margin."""
    lines = [beside(row, gap) for row in rows]
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, gap), (0, width - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    return np.pad(np.concatenate(padded), ((gap, 0), (gap, gap), (0, 0)), constant_values=255)


def fitted(picture: np.ndarray, height: int) -> np.ndarray:
    """The picture resized to ``height``, keeping its shape."""
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    resample = Image.Resampling.BOX if height < picture.shape[0] else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((width, height), resample))


def _scale(colors: Tensor, ticks: list[tuple[float, str]]) -> np.ndarray:
    height = colors.shape[0]
    words = [(at, text_block(text, 11)) for at, text in ticks]
    width = 14 + max(block.shape[1] for _, block in words)
    made = np.full((height, width, 3), PAPER, dtype=np.uint8)
    made[:, :12] = to_uint8(colors)[:, None]
    for at, block in words:
        top = min(max(round(at * (height - 1)) - block.shape[0] // 2, 0), max(height - block.shape[0], 0))
        part = block[: height - top]
        made[top : top + part.shape[0], 14 : 14 + part.shape[1]] = part
    return made


def _ticks(height: int) -> tuple[float, ...]:
    return (0.0, 0.5, 1.0) if height < 120 else (0.0, 0.25, 0.5, 0.75, 1.0)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
