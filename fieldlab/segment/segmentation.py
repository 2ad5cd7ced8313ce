"""A segmented run: its model and its tree together, and what one asks them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError
from fieldlab.render.model import RadianceModel
from fieldlab.runs.load import RunInfo, load_run
from fieldlab.segment.files import read_hierarchy
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.labels import SEEN, Labeler


@dataclass(frozen=True)
class Selected:
    """A segment that was pointed at: its node id, the ids below and above, and where in the world, [3]."""

    node: int
    name: str
    children: tuple[int, ...]
    parent: int | None
    point: tuple[float, ...]


class Segmentation:
    """Answers questions about the segments of a model.

    Args:
        model: the radiance field.
        hierarchy: its tree.
    """

    def __init__(self, model: RadianceModel, hierarchy: Hierarchy) -> None:
        self.model, self.hierarchy, self.labeler = model, hierarchy, Labeler(hierarchy)

    @staticmethod
    def load(path: str | Path, device: torch.device | str = "cpu") -> tuple[Segmentation, RunInfo]:
        """Of a run folder.

        Raises:
            RunFolderError, CheckpointError: it is no run, or cannot be read.
            DataError: it has no hierarchy, or one that is none.
        """
        model, info = load_run(path, device)
        return Segmentation(model, read_hierarchy(info.run.path)), info

    def labels(self, cameras: Cameras, i: int, thresholds: Tensor) -> Tensor:
        """int32 [T,H,W]: node ids of view ``i`` at thresholds [T], -1 where nothing is."""
        leaves = self.labeler.view(self.model, cameras, i)
        return torch.stack([self.labeler.labels(leaves, float(t)) for t in thresholds])

    def at_point(self, point: Tensor, threshold: float) -> Selected | None:
        """The segment at a world point [3], None where none is near."""
        leaf = int(self.labeler.leaves(point.view(1, 3).float())[0])
        if leaf < 0:
            return None
        return self.selected(int(self.hierarchy.cut(threshold)[leaf]), point)

    def at_pixel(self, cameras: Cameras, i: int, x: float, y: float, threshold: float) -> Selected | None:
        """The segment seen at pixel (x, y) of view ``i``, None where nothing is.

        Raises:
            ConfigError: there is no such pixel.
        """
        width, height = cameras.size[i].tolist()
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError("a picture has no such pixel", found=(x, y), expected=f"0,0 to {width - 1},{height - 1}")
        center = torch.tensor([[int(x) + 0.5, int(y) + 0.5]])
        rays = cameras.to("cpu").rays(torch.tensor([i]), center).to(self.model.device)
        seen = self.model.render_rays(rays)
        if float(seen.opacity) <= SEEN:
            return None
        point = rays.origins[0] + rays.directions[0] * seen.depth[0]
        return self.at_point(point.cpu(), threshold)

    def selected(self, row: int, point: Tensor) -> Selected:
        """What there is to know of a node."""
        tree = self.hierarchy
        above = int(tree.parent[row])
        children = tuple(int(tree.ids[c]) for c in tree.children(row))
        parent = None if above < 0 else int(tree.ids[above])
        return Selected(int(tree.ids[row]), tree.names[row], children, parent, tuple(point.tolist()))
