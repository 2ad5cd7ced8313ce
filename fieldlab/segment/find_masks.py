"""The masks of a run's training photographs, from files or from the photographs themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fieldlab.errors import DataError
from fieldlab.runs.load import RunInfo
from fieldlab.runs.photographs import reload_views
from fieldlab.segment.mask_files import read_masks
from fieldlab.segment.masks import ImageMasks
from fieldlab.segment.oversegment import oversegment
from fieldlab.segment.pairs import has_contrast
from fieldlab.segment.truth import short_name

AUTO = "auto"


def masks_source(source: str | Path) -> str:
    """What a run remembers of where its masks came from: the whole path, or ``auto``."""
    return AUTO if source == AUTO else str(Path(source).resolve())


def find_masks(
    source: str | Path, info: RunInfo, on_photograph: Callable[[int, int], object] = lambda done, total: None
) -> dict[int, ImageMasks]:
    """Masks by the number of their training photograph.

    Args:
        source: a folder or file of masks, or ``auto`` for regions of like color.
        info: of the run.
        on_photograph: told how many of all photographs are done, with ``auto``.

    Raises:
        DataError: they cannot be read, or fewer than two photographs have any that teach.
    """
    names = info.scene.names["train"]
    sizes = [(height, width) for width, height in info.scene.cameras["train"].size.tolist()]
    short = [short_name(name) for name in names]
    others = [short_name(name) for split, views in info.scene.names.items() if split != "train" for name in views]
    if source == AUTO:
        views, found = reload_views(info, "train"), {}
        for i, name in enumerate(short):
            found[name] = oversegment(views.image(i).numpy())
            on_photograph(i + 1, len(short))
    else:
        found = read_masks(Path(source), short, sizes, "train", others)
    teaching = sum(has_contrast(masks) for masks in found.values())
    if teaching < 2:
        raise DataError("masks teach nothing: each shows all or nothing", field=f"--masks {source}",
                        found=f"{teaching} photographs with masks of some of their pixels", expected="2 or more",
                        hint="a mask is where one thing is, or one part of it")  # fmt: skip
    return {short.index(name): masks for name, masks in found.items()}
