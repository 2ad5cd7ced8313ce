"""Loss terms per ray."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fieldlab.ops.distortion import distortion_loss
from fieldlab.ops.samples import Samples

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


def spread(weights: Tensor, samples: Samples, distance: float) -> Tensor:
    """The distortion loss per ray [N], whatever the units of the scene: as if the ray were contracted, so that
    intervals beyond ``distance`` count in disparity (Barron et al. 2022, equations 10 and 15).

    Args:
        weights: [S], differentiable.
        samples: where on their rays.
        distance: in world units, where what the cameras look at begins.
    """

    def contracted(t: Tensor) -> Tensor:
        t = t / distance
        return torch.where(t < 1, 0.5 * t, 1 - 0.5 / t)

    short = replace(samples, t_starts=contracted(samples.t_starts), t_ends=contracted(samples.t_ends))
    return distortion_loss(weights, short)


def psnr_of(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of values in [0,1]."""
    return float(-10.0 * torch.log10(torch.tensor(max(mse, 1e-10), dtype=torch.float64)))
