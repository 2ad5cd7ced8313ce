"""Visual hulls: what the outlines of an object in the training views leave of space (Laurentini 1994).

One test carves both the box of a scene and the cells of its occupancy grid: a ball goes when some view holds all of it
and shows nothing there. What reaches over the rim of a picture stays, since the picture says nothing of the rest, and
so does what is too near a camera to have an outline. Pixels of an alpha of at most 4/255 are empty for both: they
would add less than two percent to a pixel, and traces that cutting out leaves behind would keep cells alive.

Both differ in what few views see, on purpose. The box is sought in all the space the cameras enclose, where hardly any
view looks at the corners and none can rule them out: a cell counts only if a tenth of the views see it. The grid lies
in the box already, and what is excluded there is lost for good, so that a close-up of what no other view shows has to
be enough: see :mod:`fieldlab.training.carve`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.data.views import Views

ALPHA_THRESHOLD = 4  # of 255: fainter pixels count as empty
MAX_VIEWS = 100
MAX_SIDE = 256  # silhouettes are pooled to this size for the box
MIN_SEEN = 0.1  # share of the views that must see a cell for the box to hold it
COARSE = 16
BLUR = 1.0  # pixels by which outlines are blurred
DISTORTED = 1.5  # how much farther distorted lenses may draw a ball out than straight ones


Shown = Callable[[Views, int], Tensor]
"""Says of a view which pixels may be of the object: bool [H,W] on the CPU."""


class Votes(NamedTuple):
    """Shares of the views: how many have to rule a cell out (one at least), and how many have to see it."""

    against: float = 0.0
    seen: float = MIN_SEEN


class Verdict(NamedTuple):
    """What a view says of K balls, bool [K] each: nothing is there; something is everywhere, so that it rules out no
    smaller ball in there either; it holds all of them; it sees their centers."""

    ruled_out: Tensor
    filled: Tensor
    whole: Tensor
    seen: Tensor


@dataclass(frozen=True)
class Silhouette:
    """Where one view shows something, ready to be asked about many balls.

    Args:
        cameras: on the CPU.
        i: which of them it is.
        sums: int32 [h+1,w+1]: filled pixels above and to the left of each corner of the pooled picture.
        scale: pixels of the picture along a side of a pooled one.
    """

    cameras: Cameras
    i: int
    sums: Tensor
    scale: int

    @staticmethod
    def of(filled: Tensor, cameras: Cameras, i: int, max_side: int | None = None) -> Silhouette:
        """View ``i`` of ``cameras`` on the CPU, which shows something where bool [H,W] is set; pooled until no side is
        above ``max_side``."""
        scale = 1 if max_side is None else -(-max(filled.shape) // max_side)
        if scale > 1:
            pooled = torch.nn.functional.max_pool2d(filled[None, None].float(), scale, ceil_mode=True)
            filled = pooled[0, 0] > 0
        sums = torch.nn.functional.pad(filled.int(), (1, 0, 1, 0)).cumsum(0, dtype=torch.int32)
        return Silhouette(cameras, i, sums.cumsum(1, dtype=torch.int32), scale)

    def judge(self, centers: Tensor, radius: Tensor) -> Verdict:
        """What the view says of balls about ``centers`` [K,3] with ``radius`` [K]."""
        pixels, depth, seen = self.cameras.project(self.i, centers)
        reach = self._reach(centers, depth, radius)
        whole, corners = depth > radius, []
        for at, size, last in zip(pixels.unbind(1), self.cameras.size[self.i].tolist(), self._last, strict=True):
            low, high = at - reach, at + reach
            whole &= (low >= 0) & (high <= size)
            first = (low.nan_to_num() / self.scale).clamp(0, last).long()
            corners.append((first, (high.nan_to_num() / self.scale + 1).clamp(0, last).long()))
        (left, right), (top, bottom) = corners
        area = (right - left) * (bottom - top)
        sums, above, below = self.sums.view(-1), top * self.sums.shape[1], bottom * self.sums.shape[1]
        filled = sums[below + right] - sums[above + right] - sums[below + left] + sums[above + left]
        return Verdict(whole & (filled == 0), whole & (filled == area), whole, seen)

    @property
    def _last(self) -> tuple[int, int]:
        """Column and row of the last of the sums."""
        return self.sums.shape[1] - 1, self.sums.shape[0] - 1

    def _reach(self, centers: Tensor, depth: Tensor, radius: Tensor) -> Tensor:
        """Pixels [K] that balls reach around their projected centers, at most.

        A point of the ball is at most f radius distance / (depth (depth - radius)) off in a pinhole picture, by the
        inequality of Cauchy and Schwarz, and less in a fisheye picture; a little more for what outlines are blurred.
        """
        focal = float(self.cameras.intrinsics[self.i, :2].max())
        distance = (centers - self.cameras.origins[self.i]).square().sum(-1).sqrt()  # norm() takes five times as long
        straight = int(self.cameras.model[self.i]) == CameraModel.PERSPECTIVE
        bent = 1.0 if straight and not bool((self.cameras.distortion[self.i] != 0).any()) else DISTORTED
        return bent * focal * radius * distance / (depth * (depth - radius)).clamp_min(1e-12) + BLUR


def opaque(views: Views, i: int) -> Tensor:
    """bool [H,W] on the CPU: what the alpha channel of view ``i`` shows. A pixel to be ignored says nothing, so it
    must not carve."""
    filled = views.image(i)[..., 3] > ALPHA_THRESHOLD
    mask = views.mask(i)
    return (filled if mask is None else filled | ~mask).cpu()


def silhouettes(
    views: Views, chosen: list[int] | None = None, max_side: int | None = None, shown: Shown = opaque
) -> Iterator[Silhouette]:
    """Those of ``chosen`` views, or of all; panoramas, which have no outside, are left out."""
    cameras = views.cameras.to("cpu")
    for i in range(len(views)) if chosen is None else chosen:
        if int(cameras.model[i]) != CameraModel.EQUIRECTANGULAR:
            yield Silhouette.of(shown(views, i), cameras, i, max_side)


def has_transparency(views: Views, share: float = 0.02) -> bool:
    """Whether most views have more than ``share`` of their pixels transparent, that is, show a cut-out object."""
    if views.channels < 4 or len(views) == 0:
        return False
    empty = [float((views.image(i)[..., 3] <= ALPHA_THRESHOLD).float().mean()) for i in chosen_views(len(views))]
    return float(np.median(empty)) > share


def hull_box(
    views: Views, start: Tensor, resolution: int = 64, shown: Shown = opaque, votes: Votes = Votes()
) -> Tensor | None:
    """The bounds [2,3] of the visual hull, sought inside the box ``start`` [2,3]; None when nothing is left.

    Two passes of ``resolution`` cells along each side, the second inside the box that the first one found.

    Args:
        shown: which pixels are of the object; by the alpha channel if absent.
        votes: how many views decide.
    """
    chosen = chosen_views(len(views))
    # Neighbors in the list often look alike: a stride brings different directions first, which carve more.
    chosen = [chosen[(k * 7) % len(chosen)] for k in range(len(chosen))] if len(chosen) % 7 else chosen
    outlines = list(silhouettes(views, chosen, MAX_SIDE, shown))
    box = start
    for _ in range(2):
        centers, half = hull_cells(outlines, box, resolution, votes)
        if centers.shape[0] == 0:
            return None
        box = torch.stack((centers.amin(0) - half, centers.amax(0) + half))
    return box


def hull_cells(
    outlines: list[Silhouette], box: Tensor, resolution: int, votes: Votes = Votes()
) -> tuple[Tensor, Tensor]:
    """Centers [K,3] of the cells that no silhouette rules out and enough views see, when ``box`` [2,3] is divided
    ``resolution`` times, and half a cell [3].

    Cells are refined eightfold, so that the cost follows the object rather than the volume.
    """
    divisions = resolution
    while divisions % 2 == 0 and divisions > COARSE:
        divisions //= 2
    axis = torch.arange(divisions)
    cells = torch.cartesian_prod(axis, axis, axis)
    children = torch.cartesian_prod(*[torch.arange(2)] * 3)
    while True:
        half = (box[1] - box[0]) / (2 * divisions)
        centers = box[0] + (2 * cells + 1) * half
        kept = _kept(outlines, centers, float(half.norm()), votes, finest=divisions == resolution)
        cells, centers = cells[kept], centers[kept]
        if divisions == resolution:
            return centers, half
        cells = (2 * cells[:, None] + children).reshape(-1, 3)
        divisions *= 2


def _kept(outlines: list[Silhouette], centers: Tensor, radius: float, votes: Votes, finest: bool) -> Tensor:
    """int64 [K]: balls of this radius that too few views rule out and enough views see.

    At last these views have to hold all of a ball: no view rules out what lies across the rim of its picture.
    """
    alive, (seen, denied) = torch.arange(len(centers)), torch.zeros(2, len(centers), dtype=torch.int32)
    enough = max(1, int(votes.against * len(outlines)))
    for outline in outlines:
        verdict = outline.judge(centers[alive], torch.full((len(alive),), radius))
        seen[alive] += verdict.whole if finest else verdict.seen
        denied[alive] += verdict.ruled_out
        alive = alive[denied[alive] < enough]
    return alive[seen[alive] >= max(1, int(votes.seen * len(outlines)))]


def chosen_views(count: int) -> list[int]:
    """At most MAX_VIEWS positions, evenly spaced."""
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, MAX_VIEWS))}) if count else []
