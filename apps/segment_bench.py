"""fieldlab segment-bench: the hierarchy against its baselines, on exact labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fieldlab.apps.options import Device, OptionalFile, RunFolder

if TYPE_CHECKING:
    from fieldlab.segment.evaluate import Measured

DEFAULT_SECONDS = 390.0


@dataclass
class SegmentBench:
    """Segment a run three times from the same masks and compare the results with exact labels, which nothing is learnt
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

    from fieldlab.apps.progress import progress_bar
    from fieldlab.bench.segments import SegmentComparison, methods_table
    from fieldlab.bench.tables import fixed
    from fieldlab.files import write_json
    from fieldlab.ops.device import choose_device
    from fieldlab.runs.load import load_run
    from fieldlab.segment.find_masks import find_masks

    console, device = Console(stderr=True), choose_device(args.device)
    info = load_run(args.run, "cpu")[1]
    masks = find_masks(args.masks, info)
    found = {}
    with progress_bar(console) as bar:
        compared = SegmentComparison(info, masks, args.labels, args.seconds, args.seed, device,
                                     lambda share, step: bar.tell("learning", share, f"step {step}"))  # fmt: skip
        methods: dict[str, Callable[[], dict[str, Measured]]] = {
            "masks alone (training views)": compared.masks_alone,
            "Euclidean + HDBSCAN": compared.euclidean,
            "ultrametric": lambda: compared.ultrametric(args.segmented, args.thresholds),
        }
        for name, method in methods.items():
            found[name] = {metric: asdict(value) for metric, value in method().items()}
            values = ", ".join(f"{metric} {fixed(value['mean'], 3)}" for metric, value in found[name].items())
            console.print(f"{name}: {values}", highlight=False)
    if args.json is not None:
        write_json(args.json, {"seconds": args.seconds, "methods": found})
    Console().print(methods_table(found))
    return found
