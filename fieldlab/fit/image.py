"""An image as a signal: its pixels, how batches are drawn from them, and how well they are met."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fieldlab.errors import DataError
from fieldlab.fit.fitting import Task
from fieldlab.fit.photo import Photo
from fieldlab.fit.signal import Signal
from fieldlab.pictures.colormap import heat
from fieldlab.pictures.sheets import beside, error_legend, labeled, to_uint8
from fieldlab.training.metrics import SSIM_WINDOW, psnr, ssim


def pixel_centers(height: int, width: int) -> Tensor:
    """Positions float32 [H*W,2] (x, y) of pixel centers, row by row; the longer side spans [0,1]."""
    side = max(height, width)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack((x, y), dim=-1).reshape(-1, 2) / side


class ImageTask(Task):
    """Fits all channels of a picture as they are stored, alpha among them.

    Raises:
        DataError: the picture has no pixels.
    """

    dims = 2

    def __init__(self, photo: Photo) -> None:
        height, width, channels = photo.values.shape
        if height * width == 0:
            raise DataError("a picture has no pixels", found=f"{width}x{height}")
        super().__init__(pixel_centers(height, width), photo.values.reshape(-1, channels))
        self.photo = photo

    def batch(self, step: int, size: int, generator: torch.Generator) -> Tensor | slice:
        """One random pixel of each of ``size`` runs of pixels, or all pixels where there are no more than that."""
        n = len(self.x)
        if size >= n:
            return slice(None)
        where = (torch.arange(size) + torch.rand(size, generator=generator, dtype=torch.float64)) * (n / size)
        return where.long().clamp_(max=n - 1)

    def loss(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Mean squared error."""
        return torch.nn.functional.mse_loss(made, wanted)

    def importance(self) -> Tensor:
        """The magnitude of the Sobel gradient over all channels (Chen et al. 2023, section 3.4); the same everywhere in
        a picture of one color."""
        found = gradient_magnitude(self.photo.values).reshape(-1)
        return found if bool((found > 0).any()) else torch.ones_like(found)

    def describe(self, loss: float) -> str:
        return f"PSNR {-10 * math.log10(max(loss, 1e-12)):.2f} dB"


def gradient_magnitude(values: Tensor) -> Tensor:
    """The norm [H,W] of the Sobel derivatives of [H,W,C] over directions and channels; borders are repeated."""
    planes = torch.nn.functional.pad(values.permute(2, 0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack((torch.outer(smooth, slope), torch.outer(slope, smooth)))[:, None]
    return torch.nn.functional.conv2d(planes, kernels).square().sum((0, 1)).sqrt()


@dataclass(frozen=True)
class ImageScore:
    """How well a picture is met.

    Args:
        psnr: in dB, of values clipped to [0,1] and not rounded; infinite for equal pictures.
        ssim: mean structural similarity; None where the picture is smaller than its window.
    """

    psnr: float
    ssim: float | None


def reconstruct(signal: Signal, photo: Photo) -> Photo:
    """The picture a signal makes, of the size and precision of ``photo``; clipped and not rounded."""
    height, width, channels = photo.values.shape
    made = signal.evaluate(pixel_centers(height, width)).reshape(height, width, channels)
    return replace(photo, values=made.clamp(0, 1))


def score(made: Photo, wanted: Photo) -> ImageScore:
    """Compare two pictures."""
    large = min(wanted.values.shape[:2]) >= SSIM_WINDOW
    return ImageScore(psnr(made.values, wanted.values), ssim(made.values, wanted.values) if large else None)


def error_map(made: Photo, wanted: Photo) -> np.ndarray:
    """Root mean squared error over channels as a picture with its scale, uint8 [h,w,3].

    The scale ends at 1, 2 or 5 times a power of ten that 99.9 % of the pixels stay below.
    """
    error = (made.values - wanted.values).square().mean(dim=-1).sqrt()
    top = round_up(float(torch.quantile(error.flatten()[:: max(1, error.numel() >> 23)], 0.999)))
    picture = to_uint8(heat(error / top))
    return labeled(beside((picture, error_legend(picture.shape[0], top))), f"RMS error over channels, 0 to {top:g}")


def round_up(value: float) -> float:
    """The next of ... 0.1, 0.2, 0.5, 1, 2, 5 ... at or above ``value``, and not below 1e-6."""
    value = max(value, 1e-6)
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
