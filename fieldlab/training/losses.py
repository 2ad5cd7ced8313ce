"""Loss terms per ray."""

from __future__ import annotations

import torch
from torch import Tensor

HUBER_DELTA = 0.1


def photometric(kind: str, predicted: Tensor, target: Tensor) -> Tensor:
    """Color loss per ray.

    Args:
        kind: ``mse``, or ``huber``: Huber's loss of delta 0.1 divided by delta, which is |error| for large errors.
        predicted: float32 [R,3].
        target: float32 [R,3].

    Returns:
        float32 [R]: the mean over the channels.
    """
    if kind == "huber":
        loss = torch.nn.functional.huber_loss(predicted, target, reduction="none", delta=HUBER_DELTA) / HUBER_DELTA
    else:
        loss = (predicted - target).square()
    return loss.mean(-1)


def psnr_of(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of values in [0,1]."""
    return float(-10.0 * torch.log10(torch.tensor(max(mse, 1e-10), dtype=torch.float64)))
