"""A run as the viewer shows it: its model, its scene, its segments, and what is computed of them once."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fieldlab.data.views import Views
from fieldlab.errors import DataError, FieldlabError
from fieldlab.ops.occupancy import cell_points
from fieldlab.pictures.camera_path import focus_point, up_direction
from fieldlab.pictures.colormap import DepthRange
from fieldlab.pictures.frames import depth_scale
from fieldlab.render.model import RadianceModel
from fieldlab.render.occupancy import NEVER
from fieldlab.runs.kinds import kind_named
from fieldlab.runs.load import RunInfo, load_run
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.segment.config import HEAD
from fieldlab.segment.files import stored_hierarchy
from fieldlab.segment.hierarchy import Hierarchy
from fieldlab.segment.labels import Labeler
from fieldlab.view.gbuffer import GBuffer, render_gbuffer
from fieldlab.view.scene_source import SceneSource, StoredScene

BASIS = 4096  # points from which the colors of features are chosen


class ShownRun:
    """A run to show. Its model may change while it trains; say so with :meth:`changed`.

    Args:
        name: what people call it.
        model: to render.
        scene: its cameras.
        hierarchy: its segments.
        folder: the only place where anything about it is written, None for nowhere.
        source: what it was learnt from.
        info: of a finished run.
        facts: lines about it: how long it was trained, how large it is.
    """

    def __init__(
        self, name: str, model: RadianceModel, scene: SceneRecord, hierarchy: Hierarchy | None = None, *,
        folder: Path | None = None, source: SceneSource | None = None, info: RunInfo | None = None,
        facts: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.name, self.model, self.scene, self.hierarchy = name, model, scene, hierarchy
        self.folder, self.source, self.info, self.facts = folder, source, info, facts
        self.labeler = None if hierarchy is None else Labeler(hierarchy)
        self._lock = threading.Lock()
        self._cells: tuple[Tensor, Tensor] | None = None
        self._shown: tuple[tuple[frozenset[int], frozenset[int]], RadianceModel] | None = None
        self._nearby: dict[int, GBuffer] = {}

    @staticmethod
    def load(path: str | Path, device: torch.device | str = "cpu") -> ShownRun:
        """Of a run folder, with its segments if it is segmented.

        Raises:
            RunFolderError, CheckpointError: it is no run, or cannot be read.
            DataError: its hierarchy is damaged.
        """
        model, info = load_run(path, device)
        folder = info.run.path
        tree = stored_hierarchy(folder)
        facts = [f"{model.field.shown.kind}, {model.field.n_bytes / 1e6:.1f} MB",
                 f"{info.step} steps, {info.seconds:.0f} s"]  # fmt: skip
        if info.psnr is not None:
            facts.append(f"{info.psnr:.2f} dB on {kind_named(info.config.kind).measured_on}")
        if info.held_out is not None:
            facts.append(f"{info.held_out:.2f} dB on held-out photographs")
        return ShownRun(folder.resolve().name, model, info.scene, tree, folder=folder, source=StoredScene(info),
                        info=info, facts=tuple(facts))  # fmt: skip

    @property
    def box(self) -> Tensor:
        """float32 [2,3]."""
        return self.model.aabb.cpu()

    @cached_property
    def up(self) -> Tensor:
        """[3]: what the photographers held to be up."""
        return up_direction(self.scene.cameras["train"])

    @cached_property
    def middle(self) -> Tensor:
        """[3]: what the photographs look at."""
        return focus_point(self.scene.cameras["train"], self.box)

    @cached_property
    def depth_scale(self) -> DepthRange:
        """One scale of depth for all pictures, from small renders of a few photographs' cameras."""
        return depth_scale(self.model, self.scene.cameras["train"])

    @cached_property
    def photographs(self) -> Views:
        """The training views.

        Raises:
            DataError: they are gone.
        """
        if self.source is None:
            raise DataError("this run has no photographs to compare with")
        return self.source.views()

    @property
    def sparse_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions float32 [P,3] and colors uint8 [P,3] that came with the photographs, or of the segments.

        Raises:
            DataError: there are none.
        """
        if self.source is not None and (found := self.source.points()) is not None:
            return found
        if self.hierarchy is None:
            raise DataError("the scene came without sparse points")
        return self.hierarchy.points.numpy(), self.hierarchy.colors[self.hierarchy.leaf].numpy()

    def photograph(self, i: int) -> Tensor | None:
        """uint8 [H,W,C] of training view ``i``, None where the photographs are gone."""
        try:
            return self.photographs.image(i)
        except FieldlabError:
            return None

    def changed(self) -> None:
        """Forget what was found out about the field: it has trained on."""
        with self._lock:
            self._cells, self._shown = None, None
            self._nearby.clear()
            for found in ("depth_scale", "_basis"):
                self.__dict__.pop(found, None)

    def visible(self, hidden: frozenset[int], only: frozenset[int]) -> RadianceModel:
        """The model without the cells of segments that are hidden, or with none but those of segments in ``only``."""
        tree = self.hierarchy
        if tree is None or not (hidden or only):
            return self.model
        with self._lock:
            if self._shown is None or self._shown[0] != (hidden, only):
                self._shown = (hidden, only), self._without(tree, hidden, only)
            return self._shown[1]

    def _without(self, tree: Hierarchy, hidden: frozenset[int], only: frozenset[int]) -> RadianceModel:
        cells, leaf = self._cell_leaves()
        shown = tree.below(tree.row_of(i) for i in only)[leaf] if only else torch.ones_like(leaf, dtype=torch.bool)
        if hidden:
            shown &= ~tree.below(tree.row_of(i) for i in hidden)[leaf]
        made = RadianceModel(self.model.field, self.model.config).to(self.model.device).eval()
        made.appearance, made.heads = self.model.appearance, self.model.heads
        made.occupancy.values.copy_(self.model.occupancy.values)
        gone = cells[~shown].to(made.device) if bool(shown.any()) else slice(None)
        made.occupancy.values.view(-1)[gone] = NEVER
        made.occupancy.changed()
        return made

    def _cell_leaves(self) -> tuple[Tensor, Tensor]:
        """Occupied cells, and the finest segment that is nearest to each: int64 [C], int64 [C]."""
        if self._cells is None:
            grid = self.model.occupancy
            cells = grid.occupied().flatten().nonzero()[:, 0]
            points = cell_points(cells, grid.resolution, grid.aabb)
            assert self.labeler is not None
            self._cells = cells.cpu(), self.labeler.leaves(points.cpu(), anywhere=True)
        return self._cells

    @cached_property
    def _basis(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean [D], directions [D,3] and scale [3] that turn features into colors."""
        tree = self.hierarchy
        points = tree.points[:: max(len(tree.points) // BASIS, 1)] if tree is not None else self._some_points()
        values = torch.nn.functional.normalize(self.model.features(HEAD, points.to(self.model.device)), dim=1)
        mean = values.mean(0)
        _, _, directions = torch.pca_lowrank(values - mean, q=3, center=False)
        spread = ((values - mean) @ directions).abs().quantile(0.95, dim=0)
        return mean, directions, spread.clamp_min(1e-6)

    def _some_points(self) -> Tensor:
        cells = self.model.occupancy.occupied().flatten().nonzero()[:, 0]
        chosen = cells[:: max(len(cells) // BASIS, 1)]
        return cell_points(chosen, self.model.occupancy.resolution, self.model.occupancy.aabb)

    @torch.no_grad()
    def feature_colors(self, points: Tensor) -> Tensor:
        """float32 [P,3]: the three main directions of the features at world points [P,3] as red, green and blue."""
        mean, directions, spread = self._basis
        values = torch.nn.functional.normalize(self.model.features(HEAD, points), dim=1)
        return (0.5 + 0.5 * ((values - mean) @ directions) / spread).clamp(0, 1)

    def near_view(self, i: int, side: int = 256) -> GBuffer:
        """What training camera ``i`` sees of the field, small; to know what is hidden from it."""
        if i not in self._nearby:
            one = self.scene.cameras["train"][i]
            found = render_gbuffer(self.model, one.scaled(min(1.0, side / int(one.size.max()))))
            assert found is not None
            if len(self._nearby) > 8:
                self._nearby.pop(next(iter(self._nearby)))
            self._nearby[i] = found
        return self._nearby[i]
