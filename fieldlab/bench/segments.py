"""A segmentation and simpler methods compared with exact labels, which none of them learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from fieldlab.bench.tables import fixed, text_table
from fieldlab.runs.load import RunInfo, load_run
from fieldlab.segment.baselines import cluster_at_scales, masks_alone
from fieldlab.segment.config import SegmentSettings
from fieldlab.segment.evaluate import Measured, evaluate
from fieldlab.segment.hierarchy import Hierarchy, palette
from fieldlab.segment.labels import Labeler
from fieldlab.segment.masks import ImageMasks
from fieldlab.segment.metrics import Labels
from fieldlab.segment.segmentation import Segmentation
from fieldlab.segment.segmenter import Segmenter
from fieldlab.segment.tree import build_hierarchy, surface


@dataclass(frozen=True)
class SegmentComparison:
    """Methods that segment one run from the same masks.

    Args:
        info: the run.
        masks: by the number of their training photograph.
        labels: folder of exact labels, NAME.npz below ``test`` and ``train``.
        seconds: time to learn features, for each method that does.
        seed: of all random numbers.
        device: where to learn.
        tell: called while features are learnt with the share that is done (0 to 1) and the step.
    """

    info: RunInfo
    masks: Mapping[int, ImageMasks]
    labels: Path
    seconds: float
    seed: int
    device: torch.device
    tell: Callable[[float, int], object] = lambda share, step: None

    def masks_alone(self) -> dict[str, Measured]:
        """The masks by themselves, on the training views, which they are of."""
        layers = {i: masks_alone(masks) for i, masks in self.masks.items()}
        most = max(map(len, layers.values()))
        sizes = self.info.scene.cameras["train"].size

        def predict(i: int) -> Labels:
            if i not in layers:
                width, height = sizes[i].tolist()
                return np.full((most, height, width), -1, np.int32)
            return layers[i][np.minimum(np.arange(most), len(layers[i]) - 1)]

        return self._measure(predict, "train")

    def euclidean(self) -> dict[str, Measured]:
        """Features that are compared directly, clustered by HDBSCAN at several scales."""
        made = self._learn(ultrametric_weight=0.0)
        points, features = surface(made)
        scales = torch.from_numpy(cluster_at_scales(features, seed=self.seed))
        combined, leaf = scales.unique(dim=1, return_inverse=True)  # a leaf for every combination of clusters
        m = combined.shape[1]
        flat = Hierarchy(torch.arange(m, dtype=torch.int32), torch.full((m,), -1), torch.zeros(m), [""] * m,
                         palette(torch.arange(m)), points, leaf)  # fmt: skip
        labeler, cameras = Labeler(flat), self.info.scene.cameras["test"]

        def predict(i: int) -> Labels:
            leaves = labeler.view(made.model, cameras, i)
            return torch.stack([_clusters(leaves, scale) for scale in combined]).int().numpy()

        return self._measure(predict, "test")

    def ultrametric(self, segmented: Path | None, n_thresholds: int) -> dict[str, Measured]:
        """The hierarchy, at so many thresholds; of a run that was segmented before, where there is one."""
        if segmented is not None:
            segmentation, _ = Segmentation.load(segmented, self.device)
        else:
            made = self._learn()
            segmentation = Segmentation(made.model, build_hierarchy(*surface(made)))
        thresholds, cameras = segmentation.hierarchy.thresholds(n_thresholds), self.info.scene.cameras["test"]
        return self._measure(lambda i: segmentation.labels(cameras, i, thresholds).numpy(), "test")

    def _measure(self, predict: Callable[[int], Labels], split: str) -> dict[str, Measured]:
        scene = self.info.scene
        return evaluate(predict, scene.cameras[split], scene.names[split], self.labels / split)

    def _learn(self, **settings: Any) -> Segmenter:
        model = load_run(self.info.run.path, self.device)[0]
        wanted = SegmentSettings(seconds=self.seconds, seed=self.seed, **settings)
        made = Segmenter(model, self.info.scene.cameras["train"], dict(self.masks), wanted)
        for event in made.events():
            self.tell(made.fraction, event.step)
        return made


def _clusters(leaves: Tensor, scale: Tensor) -> Tensor:
    """The clusters of one scale that leaves lie in; -1 where there is no leaf."""
    return torch.where(leaves >= 0, scale[leaves.clamp_min(0)], -1)


def methods_table(found: Mapping[str, Any]) -> Table:
    """Methods down; NC, VC and others across, with the levels of NC."""
    rows = [["", "NC", "by level", "VC", "VC skipped", "dense NC", "mIoU"]]
    for name, row in found.items():
        mean = {metric: fixed(value["mean"], 3) for metric, value in row.items()}
        levels = " ".join(fixed(level, 2) for level in row["nc"]["levels"])
        rows.append([name, mean["nc"], levels, mean["vc"], mean["vc_skipped"], mean["dense_nc"], mean["miou"]])
    return text_table(rows)


def levels_table(values: Mapping[str, Any]) -> Table:
    """Metrics down, levels across."""
    levels = max(len(value["levels"]) for value in values.values())
    rows = [["", "mean", *(f"level {i}" for i in range(levels))]]
    rows += [[name, *(fixed(cell, 3) for cell in (value["mean"], *value["levels"]))] for name, value in values.items()]
    return text_table(rows)
