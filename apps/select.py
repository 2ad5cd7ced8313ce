"""fieldlab select: which segment is seen at a pixel, or is at a point."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Annotated

from fieldlab.apps.options import Device, OptionalFile, OptionalFloat, OptionalInt, RunFolder, optional

OptionalPixel = Annotated[str | None, optional("X,Y")]
OptionalPoint = Annotated[tuple[float, float, float] | None, optional("X Y Z")]


@dataclass
class Select:
    """Say which segment of a segmented run is seen at a pixel of a view, or is at a point of the world: its node id,
    name, children and parent, as JSON."""

    run: RunFolder
    """A segmented run."""
    view: OptionalInt = None
    """Number of the view, from 0."""
    split: str = "test"
    """Which views: test, val or train."""
    pixel: OptionalPixel = None
    """Column and row in the view, from 0."""
    point: OptionalPoint = None
    """Instead of a view and a pixel: a point in world units."""
    level: OptionalFloat = None
    """Threshold: higher ones give coarser segments. The middle one of all different cuts by default."""
    up: int = 0
    """Go up so many parents from there."""
    json: OptionalFile = None
    """Write what is found to this file too."""
    device: Device = "auto"
    """Where to render."""


def run(args: Select) -> None:
    """Select and print."""
    import torch

    from fieldlab.errors import ConfigError, DataError, require
    from fieldlab.files import write_json
    from fieldlab.ops.device import choose_device
    from fieldlab.segment.segmentation import Segmentation

    if (args.point is None) == (args.pixel is None or args.view is None):
        raise ConfigError("give either a pixel or a point", expected="--view K --pixel X,Y, or --point X Y Z")
    require(args.level is None or 0 <= args.level < math.inf, "--level", args.level, "a number from 0 up")
    require(args.up >= 0, "--up", args.up, "0 or more")
    segmentation, info = Segmentation.load(args.run, choose_device(args.device))
    tree = segmentation.hierarchy
    level = tree.middle_threshold() if args.level is None else args.level
    if args.point is not None:
        found = segmentation.at_point(torch.tensor(args.point), level)
    else:
        assert args.view is not None
        assert args.pixel is not None
        cameras = info.scene.cameras.get(args.split)
        if cameras is None or not 0 <= args.view < len(cameras):
            raise DataError("the run has no such view", field="--split, --view", found=(args.split, args.view),
                            expected={split: len(c) for split, c in info.scene.cameras.items()})  # fmt: skip
        found = segmentation.at_pixel(cameras, args.view, *_pixel(args.pixel), level)
    for _ in range(args.up):
        if found is None or found.parent is None:
            break
        found = segmentation.selected(tree.row_of(found.parent), torch.tensor(found.point))
    made = {"level": level, "selected": None if found is None else asdict(found)}
    print(json.dumps(made, indent=2))
    if args.json is not None:
        write_json(args.json, made)
    if found is None:
        raise SystemExit(1)


def _pixel(text: str) -> tuple[float, float]:
    from fieldlab.errors import ConfigError

    try:
        x, y = (float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError("a pixel is a column and a row", field="--pixel", found=text, expected="X,Y") from error
    return x, y
