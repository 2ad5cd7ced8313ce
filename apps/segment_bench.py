"""fieldlab segment-bench: the hierarchy against its baselines, on exact labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fieldlab.apps.options import Device, OptionalFile, RunFolder

if TYPE_CHECKING:
    import torch
    from rich.console import Console
    from torch import Tensor

    from fieldlab.runs.load import RunInfo
    from fieldlab.segment.evaluate import Measured
    from fieldlab.segment.masks import ImageMasks
    from fieldlab.segment.metrics import Labels
    from fieldlab.segment.segmenter import Segmenter

DEFAULT_SECONDS = 390.0


@dataclass
class SegmentBench:
    """Segment a run three times from the same masks and hold the results against exact labels, which nothing is learnt
    from: the masks by themselves (on the training views, which they are of), features that are compared directly and
    clustered by HDBSCAN at several scales, and the ultrametric hierarchy."""

    run: RunFolder
    """A trained run; it stays as it is."""
    masks: Annotated[str, tyro.conf.arg(metavar="DIR|auto")]
    """Masks of the training photographs, as for fieldlab segment."""
    labels: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Exact labels: NAME.npz below test/ and train/."""
    seconds: float = DEFAULT_SECONDS
    """Time to learn features, for each of the two methods that do."""
    segmented: Annotated[Path | None, tyro.conf.arg(metavar="RUN2")] = None
    """What fieldlab segment has made of the run and the same masks in as much time, rather than learning it once
    more."""
    thresholds: int = 50
    """Number of thresholds of the hierarchy."""
    json: OptionalFile = None
    """Write the numbers to this file."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where to learn."""


def run(args: SegmentBench) -> dict[str, Any]:
    """Measure, print the table, and write what was asked for."""
    from rich.console import Console

    from fieldlab.files import write_json
    from fieldlab.ops.device import choose_device
    from fieldlab.runs.load import load_run
    from fieldlab.segment.find_masks import find_masks

    console, device = Console(stderr=True), choose_device(args.device)
    info = load_run(args.run, "cpu")[1]
    masks = find_masks(args.masks, info)
    rows: dict[str, dict[str, Measured]] = {}
    methods = {"masks alone (training views)": _masks_alone, "Euclidean + HDBSCAN": _euclidean, "ultrametric": _ours}
    for name, method in methods.items():
        rows[name] = method(args, info, masks, device, console)
        values = {metric: found.mean for metric, found in rows[name].items()}
        console.print(f"{name}: " + ", ".join(f"{m} {'-' if v is None else f'{v:.3f}'}" for m, v in values.items()),
                      highlight=False)  # fmt: skip
    found = {name: {metric: asdict(value) for metric, value in row.items()} for name, row in rows.items()}
    if args.json is not None:
        write_json(args.json, {"seconds": args.seconds, "methods": found})
    Console().print(table(found))
    return found


def table(found: dict[str, Any]) -> Any:
    """Methods down; NC, VC and others across, with the levels of NC."""
    from rich.box import SIMPLE
    from rich.table import Table

    made = Table(box=SIMPLE)
    for heading in ("", "NC", "by level", "VC", "VC skipped", "dense NC", "mIoU"):
        made.add_column(heading, justify="left" if not heading else "right")
    for name, row in found.items():
        mean = {metric: "-" if value["mean"] is None else f"{value['mean']:.3f}" for metric, value in row.items()}
        levels = " ".join("-" if v is None else f"{v:.2f}" for v in row["nc"]["levels"])
        made.add_row(name, mean["nc"], levels, mean["vc"], mean["vc_skipped"], mean["dense_nc"], mean["miou"])
    return made


def _measure(predict: Callable[[int], Labels], info: RunInfo, folder: Path, split: str) -> dict[str, Measured]:
    from fieldlab.segment.evaluate import evaluate

    return evaluate(predict, info.scene.cameras[split], info.scene.names[split], folder / split)


def _masks_alone(
    args: SegmentBench, info: RunInfo, masks: dict[int, ImageMasks], device: torch.device, console: Console
) -> dict[str, Measured]:
    import numpy as np

    from fieldlab.segment.baselines import masks_alone

    most = max(len(masks_alone(m)) for m in masks.values())
    sizes = info.scene.cameras["train"].size

    def predict(i: int) -> Labels:
        if i not in masks:
            width, height = sizes[i].tolist()
            return np.full((most, height, width), -1, np.int32)
        layers = masks_alone(masks[i])
        return layers[np.minimum(np.arange(most), len(layers) - 1)]

    return _measure(predict, info, args.labels, "train")


def _learn(
    args: SegmentBench, info: RunInfo, masks: dict[int, ImageMasks], device: torch.device, console: Console,
    **settings: Any,
) -> Segmenter:  # fmt: skip
    from fieldlab.apps.progress import progress_bar
    from fieldlab.runs.load import load_run
    from fieldlab.segment.config import SegmentSettings
    from fieldlab.segment.segmenter import Segmenter

    model = load_run(args.run, device)[0]
    made = Segmenter(model, info.scene.cameras["train"], masks,
                     SegmentSettings(seconds=args.seconds, seed=args.seed, **settings))  # fmt: skip
    with progress_bar(console) as bar:
        for event in made.events():
            bar.tell("learning", made.fraction, f"step {event.step}")
    return made


def _euclidean(
    args: SegmentBench, info: RunInfo, masks: dict[int, ImageMasks], device: torch.device, console: Console
) -> dict[str, Measured]:
    import torch

    from fieldlab.segment.baselines import cluster_at_scales
    from fieldlab.segment.hierarchy import Hierarchy, palette
    from fieldlab.segment.labels import Labeler
    from fieldlab.segment.tree import surface

    made = _learn(args, info, masks, device, console, ultrametric_weight=0.0)
    points, features = surface(made)
    scales = torch.from_numpy(cluster_at_scales(features, seed=args.seed))
    combined, leaf = scales.unique(dim=1, return_inverse=True)  # a leaf for every combination of clusters
    m = combined.shape[1]
    flat = Hierarchy(torch.arange(m, dtype=torch.int32), torch.full((m,), -1), torch.zeros(m), [""] * m,
                     palette(torch.arange(m)), points, leaf)  # fmt: skip
    labeler, cameras = Labeler(flat), info.scene.cameras["test"]

    def predict(i: int) -> Labels:
        leaves = labeler.view(made.model, cameras, i)
        return torch.stack([_colored(leaves, layer) for layer in combined]).int().numpy()

    return _measure(predict, info, args.labels, "test")


def _colored(leaves: Tensor, layer: Tensor) -> Tensor:
    import torch

    return torch.where(leaves >= 0, layer[leaves.clamp_min(0)], -1)


def _ours(
    args: SegmentBench, info: RunInfo, masks: dict[int, ImageMasks], device: torch.device, console: Console
) -> dict[str, Measured]:
    from fieldlab.segment.segmentation import Segmentation
    from fieldlab.segment.tree import build_hierarchy, surface

    if args.segmented is not None:
        segmentation, _ = Segmentation.load(args.segmented, device)
    else:
        made = _learn(args, info, masks, device, console)
        segmentation = Segmentation(made.model, build_hierarchy(*surface(made)))
    thresholds, cameras = segmentation.hierarchy.thresholds(args.thresholds), info.scene.cameras["test"]
    return _measure(lambda i: segmentation.labels(cameras, i, thresholds).numpy(), info, args.labels, "test")
