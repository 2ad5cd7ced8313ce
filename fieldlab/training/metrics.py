"""Picture metrics as the NeRF papers report them.

Protocol: predictions and targets are sRGB in [0, 1] as float32, clipped, not rounded to 8 bits (as Mildenhall et al.
2020 compute theirs); every metric is computed per view and the numbers of a split are the plain means over its views.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.errors import DataError

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03


def psnr(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10(mean squared error) for a peak of 1.

    Args:
        prediction, target: [H,W,C] sRGB in [0,1]; values outside are clipped.
        mask: bool [H,W], True where pixels count; all of them when absent.

    Returns:
        decibels; infinity when the pictures are equal.

    Raises:
        DataError: the shapes differ or no pixel counts.
    """
    prediction, target = _prepare(prediction, target)
    squared = (prediction - target).square()
    if mask is not None:
        squared = squared[_prepare_mask(mask, prediction)]
    error = float(squared.mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def color_fitted(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """The prediction [H,W,3] with the affine map of colors that brings it closest to the target in least squares, over
    all pixels that count: what is left then is not exposure or white balance. Mildenhall et al. 2022 ("NeRF in the
    Dark", section 5) and Barron et al. 2023 ("Zip-NeRF") compare captures so whose photographs differ in them.

    Args:
        prediction, target: [H,W,3] sRGB in [0,1].
        mask: bool [H,W], True where pixels count; all of them when absent.
    """
    prediction, target = _prepare(prediction, target)
    counted = torch.ones_like(prediction[..., 0], dtype=torch.bool) if mask is None else _prepare_mask(mask, prediction)
    inputs = torch.cat((prediction, torch.ones_like(prediction[..., :1])), -1).double()
    found = color_map(inputs[counted], target[counted].double())
    return (inputs @ found).float().clamp(0, 1)


def color_map(rows: Tensor, wanted: Tensor) -> Tensor:
    """The map [4,3] that brings colors with a one [P,4] closest to other colors [P,3], all float64."""
    weight = 1e-6 * len(rows)  # of the identity: pictures of a single color leave open what to do with others
    normal = rows.T @ rows + weight * torch.eye(4).to(rows)
    found: Tensor = torch.linalg.solve(normal, rows.T @ wanted + weight * torch.eye(4, 3).to(rows))
    return found


def ssim(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> float:
    """Structural similarity (Wang et al. 2004, eq. 13) averaged over channels and window positions.

    An 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, a data range of 1, population covariance, and only
    windows that lie wholly inside the picture, as in the authors' program.

    Args:
        prediction, target: [H,W,C] sRGB in [0,1]; values outside are clipped.
        mask: bool [H,W], True where pixels count: windows are averaged whose middle pixel counts.

    Raises:
        DataError: the shapes differ, the picture is smaller than the window, or no window counts.
    """
    prediction, target = _prepare(prediction, target)
    similarity = ssim_map(prediction, target)
    if mask is None:
        return float(similarity.mean())
    margin = SSIM_WINDOW // 2
    inner = _prepare_mask(mask, prediction)[margin:-margin, margin:-margin]
    if not bool(inner.any()):
        raise DataError("a mask leaves no pixel to measure", found="no window inside the mask", expected="some pixels")
    return float(similarity[inner].mean())


def ssim_map(prediction: Tensor, target: Tensor) -> Tensor:
    """The similarity of every window position, float64 [H-10,W-10,C]; see :func:`ssim`.

    Raises:
        DataError: the picture is smaller than the window.
    """
    height, width = prediction.shape[:2]
    if min(height, width) < SSIM_WINDOW:
        raise DataError(
            "a picture is too small for SSIM",
            found=f"{width}x{height}",
            expected=f"at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels",
            hint="use a smaller downscale",
        )
    x, y = (image.double().permute(2, 0, 1) for image in (prediction, target))
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x * mean_x
    variance_y = _blur(y * y) - mean_y * mean_y
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).permute(1, 2, 0)


def _blur(planes: Tensor) -> Tensor:
    """Gaussian window average of [C,H,W] at the positions where the window fits."""
    offsets = torch.arange(SSIM_WINDOW, dtype=planes.dtype, device=planes.device) - SSIM_WINDOW // 2
    kernel = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    kernel = kernel / kernel.sum()
    columns = torch.nn.functional.conv2d(planes.unsqueeze(1), kernel.view(1, 1, -1, 1))
    return torch.nn.functional.conv2d(columns, kernel.view(1, 1, 1, -1)).squeeze(1)


def _prepare(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if prediction.shape != target.shape or prediction.ndim != 3:
        raise DataError(
            "two pictures that are to be compared have different shapes",
            found=f"{list(prediction.shape)} and {list(target.shape)}",
            expected="two of [height, width, channels]",
        )
    return prediction.float().clamp(0, 1), target.float().clamp(0, 1)


def _prepare_mask(mask: Tensor, picture: Tensor) -> Tensor:
    if mask.shape != picture.shape[:2]:
        raise DataError(
            "a mask has another size than its picture", found=list(mask.shape), expected=list(picture.shape[:2])
        )
    if not bool(mask.any()):
        raise DataError("a mask leaves no pixel to measure", found="all pixels masked", expected="some pixels")
    return mask
