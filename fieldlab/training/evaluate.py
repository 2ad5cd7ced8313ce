"""How well a model predicts photographs it has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.data.images import over
from fieldlab.data.views import Views
from fieldlab.render.model import RadianceModel
from fieldlab.training.lpips import Lpips
from fieldlab.training.metrics import color_fitted, psnr, ssim


@dataclass(frozen=True)
class ViewScore:
    """The metrics of one view; ``lpips`` is None without its weights. ``fitted_psnr`` is the PSNR after the render's
    colors were fitted to the photograph's, see :func:`fieldlab.training.metrics.color_fitted`."""

    name: str
    psnr: float
    ssim: float
    lpips: float | None
    fitted_psnr: float | None = None


def target_picture(views: Views, i: int, background: Tensor) -> Tensor:
    """Photograph ``i`` as float32 [H,W,3] in [0,1], over ``background`` [3] where it is transparent.

    Straight alpha is composited in sRGB, as the papers' evaluation of NeRF-Synthetic does.
    """
    picture = views.image(i).float() / 255
    if picture.shape[-1] == 3:
        return picture
    return over(picture[..., :3], picture[..., 3:], background.to(picture))


@torch.no_grad()
def evaluate_views(
    model: RadianceModel, views: Views, background: Tensor, lpips: Lpips | None = None
) -> Iterator[tuple[ViewScore, Tensor, Tensor]]:
    """Render every view of a split and compare it with its photograph.

    Args:
        background: [3] color behind the model and behind transparent photographs.
        lpips: network for LPIPS, on the CPU.

    Yields:
        the score, the render and the photograph, float32 [H,W,3] in [0,1] on the CPU.

    Raises:
        DataError: a picture is smaller than the window of SSIM.
    """
    for i, name in enumerate(views.names):
        made = model.render_image(views.cameras, i, background=background.to(model.device))["rgb"].cpu()
        target = target_picture(views, i, background).cpu()
        mask = views.mask(i)
        distance = None if lpips is None else lpips.distance(made, target)
        mask = None if mask is None else mask.cpu()
        fitted = psnr(color_fitted(made, target, mask), target, mask)
        yield ViewScore(name, psnr(made, target, mask), ssim(made, target, mask), distance, fitted), made, target


def mean_score(scores: Sequence[ViewScore]) -> ViewScore:
    """The plain mean of every metric over views, named 'mean'."""
    distances = [score.lpips for score in scores if score.lpips is not None]
    fitted = [score.fitted_psnr for score in scores if score.fitted_psnr is not None]
    return ViewScore(
        "mean",
        math.fsum(score.psnr for score in scores) / len(scores),
        math.fsum(score.ssim for score in scores) / len(scores),
        math.fsum(distances) / len(distances) if distances else None,
        math.fsum(fitted) / len(fitted) if fitted else None,
    )
