"""Which part every pixel of a view belongs to."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.render.model import RadianceModel
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.sightings import surface_depth

VOTERS = 5  # nearest points that decide
REACH = 4.0  # how far they may be, in spacings of points
SEEN = 0.5  # opacity from which a pixel belongs to something


class Labeler:
    """Labels points and views by a hierarchy's nearest points.

    Args:
        hierarchy: with N points.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self.hierarchy = hierarchy

    @cached_property
    def _tree(self) -> tuple[cKDTree, float]:
        points = self.hierarchy.points.numpy()
        tree = cKDTree(points)
        some = points[:: max(len(points) // 4096, 1)]
        apart, _ = tree.query(some, min(VOTERS, len(points)), workers=-1)
        return tree, float(np.median(np.atleast_2d(apart)[:, -1]))

    def leaves(self, points: Tensor, anywhere: bool = False) -> Tensor:
        """int64 [P]: row of the finest part of world points [P,3], -1 where no part is near (``anywhere``: of the
        nearest part, however far). What most of the nearest points belong to, of equally many the nearest's: one part
        for all thresholds, so that labels nest."""
        tree, spacing = self._tree
        k = min(VOTERS, len(self.hierarchy.points))
        distance, index = tree.query(points.cpu().numpy(), k, workers=-1)
        distance, index = distance.reshape(len(points), k), index.reshape(len(points), k)
        voted = self.hierarchy.leaf[torch.from_numpy(index)]
        votes = (voted[:, :, None] == voted[:, None]).sum(2)
        winner = (votes * k - torch.arange(k)).argmax(1)
        leaf = voted[torch.arange(len(points)), winner] if len(points) else voted[:, 0]
        near = torch.from_numpy(distance[:, 0] <= REACH * max(spacing, 1e-12)) | anywhere
        return torch.where(near, leaf, -1)

    def nodes(self, points: Tensor) -> Tensor:
        """int32 [P]: id of the finest part of world points [P,3], -1 where no part is near."""
        leaves = self.leaves(points)
        return torch.where(leaves >= 0, self.hierarchy.ids[leaves.clamp_min(0)], -1)

    def view(self, model: RadianceModel, cameras: Cameras, i: int) -> Tensor:
        """int64 [H,W]: row of the finest part that each pixel of view ``i`` shows, -1 for none."""
        depth, opacity = surface_depth(model, cameras, i)
        rays = cameras[i].to("cpu").image_rays(0)
        hit = opacity.flatten() > SEEN
        points = (rays.origins + rays.directions * depth.flatten()[:, None])[hit]
        leaf = torch.full((depth.numel(),), -1)
        leaf[hit] = self.leaves(points)
        return leaf.view(depth.shape)

    def labels(self, leaves: Tensor, threshold: float) -> Tensor:
        """int32, of the shape of ``leaves``: node ids at a threshold, -1 where nothing is."""
        ids = self.hierarchy.ids[self.hierarchy.cut(threshold)]
        return torch.where(leaves >= 0, ids[leaves.clamp_min(0)], -1)
