"""How good pictures from elsewhere are, told while training by photographs that are not trained on."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from fieldlab.data.views import Views
from fieldlab.render.model import RadianceModel
from fieldlab.training.loader import RayLoader
from fieldlab.training.losses import psnr_of
from fieldlab.training.metrics import color_map

PIXELS = 4096
SHARE = 0.03  # of the time, that asking may take
LEAST_SECONDS = 2.0  # of training between two times
FALL = 0.25  # dB that a later state may be worse and yet be the one to keep
GAP = 4.0  # dB between training and validation from which on it is named
ADVICE = (
    "the field has learnt its photographs by heart where few others see the same. More photographs from between and "
    "around these help most, then sharper and evenly exposed ones; `fieldlab eval RUN --split val --sheet val.png` "
    "shows what is wrong"
)


class Validation:
    """The same random pixels of held-out photographs, over and over.

    Args:
        views: the photographs.
        model: what learns; pictures are on its background.
    """

    def __init__(self, views: Views, model: RadianceModel) -> None:
        self.model = model
        loader = RayLoader(views, torch.device("cpu"))
        batch = loader.batch(loader.draw(PIXELS, torch.Generator().manual_seed(0)))
        self.rays, self.images = batch.rays.to(model.device), batch.cameras.to(model.device)
        self.target = batch.target(model.background().cpu().expand(PIXELS, 3)).to(model.device)
        self._due = LEAST_SECONDS

    def due(self, seconds: float) -> bool:
        """Whether to ask after so much training time."""
        return seconds >= self._due

    def psnr(self, seconds: float, *, fit_colors: bool = False) -> float:
        """PSNR in dB over all pixels together, after so much training time; the next time is due later the longer it
        took.

        Args:
            fit_colors: fit the colors of every photograph first, whose exposure nobody knows, see
                :func:`fieldlab.training.metrics.color_fitted`.
        """
        start = time.perf_counter()
        seen = self.model.render_rays(self.rays).rgb.clamp(0, 1)
        if fit_colors:
            seen = self._fitted(seen)
        found = psnr_of(float((seen - self.target).square().mean()))
        self._due = seconds + max(LEAST_SECONDS, (time.perf_counter() - start) / SHARE)
        return found

    def _fitted(self, seen: Tensor) -> Tensor:
        fitted = torch.empty_like(seen)
        for i in self.images.unique().tolist():
            of = self.images == i
            rows = torch.cat((seen[of], torch.ones_like(seen[of][:, :1])), 1).double()
            fitted[of] = (rows @ color_map(rows, self.target[of].double())).float().clamp(0, 1)
        return fitted
