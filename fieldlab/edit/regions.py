"""Where a segment is: the space that is nearer to its points than to all others'."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from fieldlab.edit.edited import EditedField
from fieldlab.edit.edits import PartPoints
from fieldlab.errors import ConfigError

CELLS = 96  # along the longest side of a segment's box
HALO = 3.0  # spacings of points by which a segment reaches beyond the outermost


@torch.no_grad()
def locate(part: PartPoints, field: EditedField, halo: float) -> tuple[str, Tensor]:
    """The selection (``part id`` and its box) and the region [D,H,W] of a segment in the scene that a field shows,
    after the field's edits: wherever they brought something of it. ``halo`` in world units is added around it.

    Raises:
        ConfigError: nothing is left of it.
    """
    points = _followed(part.own, field)
    if not len(points):
        raise ConfigError("an edit selects nothing", found=f"part {part.id}, of which earlier edits left nothing")
    own, others = cKDTree(part.own.numpy()), cKDTree(part.others.numpy())
    halo += HALO * _spacing(own, part.own)
    low, high = points.amin(0) - halo, points.amax(0) + halo
    shape = ((high - low) / float((high - low).max()) * CELLS).ceil().long().clamp_min(1) + 1
    axes = [torch.linspace(float(a), float(b), int(n)) for a, b, n in zip(low, high, shape, strict=True)]
    z, y, x = torch.meshgrid(*reversed(axes), indexing="ij")
    corners = torch.stack((x, y, z), dim=-1).view(-1, 3)
    cell = float((high - low).max()) / CELLS
    region = torch.full((len(corners),), -1.0)
    for path in field.paths(corners.to(field.box)):
        nearer = (_distance(others, path.points) - _distance(own, path.points)) / cell
        region.scatter_reduce_(0, path.rows.cpu(), nearer.clamp(-1, 1), "amax")
    box = " ".join(f"{float(v):.8g}" for v in torch.cat((low, high)))
    return f"part {part.id} {box}", region.view(x.shape)


def _followed(points: Tensor, field: EditedField) -> Tensor:
    """Where edits brought points [P,3], without those that are gone and with all copies."""
    for k, edit in enumerate(field.edits):
        chosen = field.chosen(k, points)
        if edit.verb in ("remove", "keep"):
            points = points[chosen if edit.verb == "keep" else ~chosen]
        elif edit.moves:
            stays = points if edit.verb == "duplicate" else points[~chosen]
            points = torch.cat((stays, edit.target(points[chosen])))
    return points


def _distance(tree: cKDTree, points: Tensor) -> Tensor:
    if not tree.n:
        return torch.full((len(points),), torch.inf)
    return torch.from_numpy(tree.query(points.cpu().numpy(), workers=-1)[0]).float()


def _spacing(tree: cKDTree, points: Tensor) -> float:
    if len(points) < 2:
        return 0.0
    some = points[:: max(len(points) // 4096, 1)]
    return float(np.median(tree.query(some.numpy(), 2, workers=-1)[0][:, 1]))
