"""The loop that learns features from masks: a photograph a step, its pixels a graph (He et al. 2024).

The radiance field is left as it is, whatever its representation. What every pixel sees of it is found once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError
from fieldlab.fields.base import ParamGroup
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint, load_model
from fieldlab.runs.limits import Limits
from fieldlab.runs.loop import Event, Loop, Progress
from fieldlab.segment.config import SegmentSettings
from fieldlab.segment.graph import neighbor_edges
from fieldlab.segment.losses import Ultrametric, comparison_loss, continuity_loss, euclidean_similarity, norm_loss
from fieldlab.segment.masks import ImageMasks
from fieldlab.segment.pairs import draw_comparisons
from fieldlab.segment.sightings import Sightings, observe
from fieldlab.training.optimizer import Adam, loop_state, restore_loop

MOST_PIXELS = 1 << 16  # of a photograph that are learnt from
RUNS = 256  # of four pixels side by side


@dataclass(frozen=True)
class SegmentEvent(Event):
    """How learning stands after a step. ``agreement`` is a running average of the share of comparisons that come out
    right."""

    agreement: float

    def describe(self) -> str:
        return f"{self.agreement:.1%} of comparisons right"


@dataclass(frozen=True)
class MaskedView:
    """A photograph to learn from: what its pixels see, cells int64 [P], and the masks of each cell bool [C,M]."""

    seen: Sightings
    cells: Tensor
    member: Tensor
    inside: Tensor
    width: int


class Segmenter(Loop[SegmentEvent]):
    """Learns the features of a model's head ``parts``.

    Args:
        model: a trained model; it gets the head.
        cameras: of the photographs.
        masks: by number of the photograph.
        settings: what is learnt and for how long.
    """

    def __init__(
        self, model: RadianceModel, cameras: Cameras, masks: Mapping[int, ImageMasks], settings: SegmentSettings
    ) -> None:
        self._model, self.settings, self.progress = model, settings, Progress()
        self.cameras, self.masks = cameras.to("cpu"), masks
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.head = model.add_head(settings.head(), self.generator)
        self.limits = Limits(settings.steps, settings.seconds)
        self.optimizer = Adam(self._groups())
        self.nothing = normalize(torch.ones(settings.features), dim=0).to(model.device)
        self.masked_views: list[MaskedView] = []
        self._left: list[int] = []

    @property
    def model(self) -> RadianceModel:
        return self._model

    def _start(self, resume: Checkpoint | None) -> list[str]:
        """Find what the photographs see.

        Raises:
            ConfigError: no photograph with masks sees anything of the field.
            CheckpointError: the checkpoint does not fit.
        """
        if resume is not None:
            self._load(resume)
        for i in sorted(self.masks):
            if view := self._masked_view(i):
                self.masked_views.append(view)
        if not self.masked_views:
            raise ConfigError("no photograph with masks sees anything of the field", found=len(self.masks),
                              hint="was the run trained on these photographs?")  # fmt: skip
        if not self.progress.step:
            self.head.begin_apart(self.masked_views[0].seen.x[: 1 << 12])
        return []

    def _masked_view(self, i: int) -> MaskedView | None:
        width, height = self.cameras.size[i].tolist()
        order = torch.randperm(width * height, generator=self.generator)[:MOST_PIXELS].sort().values
        seen = observe(self.model, self.cameras, i, order)
        cells, member = self.masks[i].overlay
        of_pixels = torch.from_numpy(cells).long().flatten()[order]
        if not bool((seen.opacity > 0.5).any()):
            return None
        return MaskedView(seen, of_pixels, torch.from_numpy(member), torch.from_numpy(self.masks[i].inside), width)

    def features(self, seen: Sightings, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """What pixels int64 [N] of a photograph see: features [N,D] as composited, and the same of unit length; behind
        everything is one constant direction."""
        x, weights, owner = seen.of(chosen)
        each = self.head(x) * weights[:, None]
        raw = each.new_zeros(len(chosen), each.shape[1]).index_add(0, owner, each)
        raw = raw + (1 - seen.opacity[chosen])[:, None] * self.nothing
        return raw, normalize(raw, dim=1)

    def step(self) -> SegmentEvent:
        """One photograph: its graph, comparisons, loss, derivatives, Adam."""
        now, start, settings = self.progress, time.perf_counter(), self.settings
        fraction = self.limits.fraction(now.step, now.seconds)
        view = self._next()
        chosen = torch.randint(len(view.seen), (settings.pixels,), generator=self.generator)
        chosen = chosen.unique().to(self.model.device)
        raw, unit = self.features(view.seen, chosen)
        cells = view.cells[chosen.cpu()]
        comparisons = draw_comparisons(view.member[cells], view.inside, self.generator, settings.nested)
        first, second = neighbor_edges(view.seen.directions[chosen], settings.neighbors)
        tree = Ultrametric(unit, cells, first, second)
        loss = settings.norm_weight * norm_loss(raw)
        loss = loss + settings.ultrametric_weight * comparison_loss(tree.similarity, comparisons)
        euclidean = comparison_loss(lambda a, b: euclidean_similarity(unit, a, b), comparisons)
        loss = loss + settings.euclidean_weight * euclidean
        if settings.continuity_weight:
            loss = loss + settings.continuity_weight * self._continuity(view)
        loss.backward()
        rate = self._rate(now.step, fraction)
        self.optimizer.step(rate)
        with torch.no_grad():
            near = tree.similarity(comparisons.near_a, comparisons.near_b)
            right = (near > tree.similarity(comparisons.far_a, comparisons.far_b)).float().mean()
        return self._account(float(loss.detach()), float(right) if len(near) else 0.0, rate, start)

    def _next(self) -> MaskedView:
        """All photographs in turn, in a new order every time."""
        if not self._left:
            self._left = torch.randperm(len(self.masked_views), generator=self.generator).tolist()
        return self.masked_views[self._left.pop()]

    def _continuity(self, view: MaskedView) -> Tensor:
        """Runs of four pixels side by side, along a row or a column, that no mask tells apart."""
        seen, g = view.seen, self.generator
        start = torch.randint(len(seen), (RUNS,), generator=g)
        stride = torch.where(torch.rand(RUNS, generator=g) < 0.5, 1, view.width)
        pixels = seen.pixels.cpu()
        wanted = pixels[start][:, None] + stride[:, None] * torch.arange(4)
        place = torch.searchsorted(pixels, wanted).clamp_max(len(pixels) - 1)
        there = (pixels[place] == wanted).all(1) & (wanted[:, 3] // view.width == wanted[:, 0] // view.width) | (
            (pixels[place] == wanted).all(1) & (stride > 1)
        )
        cells = view.cells[place]
        opaque = (seen.opacity.cpu()[place] > 0.9).all(1)
        good = place[there & (cells == cells[:, :1]).all(1) & opaque].to(self.model.device)
        if not len(good):
            return self.head.params.sum() * 0
        _, unit = self.features(seen, good.flatten())
        return continuity_loss(unit.view(len(good), 4, -1), seen.depth[good])

    def _groups(self) -> list[ParamGroup]:
        return self.head.param_groups()

    def _rate(self, step: int, fraction: float) -> float:
        s = self.settings
        warm = min((step + 1) / max(s.warmup_steps, 1), 1.0)
        return s.learning_rate * warm * s.final_learning_rate ** max((fraction - 0.3) / 0.7, 0.0)

    def _account(self, loss: float, right: float, rate: float, start: float) -> SegmentEvent:
        now = self.progress
        self.check_finite(loss)
        now.note(right)
        now.step += 1
        now.seconds += time.perf_counter() - start
        left = self.limits.seconds_left(now.step, now.seconds)
        return SegmentEvent(now.step, loss, now.seconds, left, rate, agreement=now.mean)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Arrays and plain values from which :meth:`start` goes on."""
        return loop_state("model", self.model, self.progress, self.optimizer, self.generator)

    def _load(self, checkpoint: Checkpoint) -> None:
        load_model(self.model, checkpoint)
        self.progress = restore_loop(checkpoint, Progress, self.optimizer, self.generator)
