"""Masks of a folder of photographs, a file each, found by a model of the SAM family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldlab.data.images import IMAGE_SUFFIXES, over, read_image
from fieldlab.errors import DataError
from fieldlab.files import write_json
from fieldlab.segment.sam import MaskGenerator, sam_entries


@dataclass(frozen=True)
class PhotographFolder:
    """Photographs, and where their masks go."""

    photographs: tuple[Path, ...]
    out: Path

    @staticmethod
    def read(images: Path, out: Path) -> PhotographFolder:
        """The photographs of a folder in order of name.

        Raises:
            DataError: there are none, or two of one name.
        """
        found = sorted(path for path in images.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise DataError("there are no photographs", file=images, expected=", ".join(IMAGE_SUFFIXES))
        stems = [path.stem for path in found]
        twice = next((stem for stem in stems if stems.count(stem) > 1), None)
        if twice is not None:
            raise DataError("two photographs have one name", file=images, found=twice)
        return PhotographFolder(tuple(found), out)

    def file(self, photograph: Path) -> Path:
        """Where its masks are written."""
        return self.out / f"{photograph.stem}.json"

    def waiting(self) -> list[Path]:
        """Photographs without masks."""
        return [path for path in self.photographs if not self.file(path).exists()]

    def find_masks(self, generate: MaskGenerator, photographs: Sequence[Path]) -> Iterator[int]:
        """Write the masks of some photographs, one after another; gives how many each has."""
        for path in photographs:
            masks = generate(on_white(path))
            write_json(self.file(path), sam_entries(masks))
            yield len(masks)


def on_white(path: Path) -> NDArray[np.uint8]:
    """A picture [H,W,3], white behind what is transparent."""
    picture = read_image(path)
    if picture.shape[2] == 3:
        return picture
    rgba: NDArray[np.float32] = picture.astype(np.float32)
    rgb: NDArray[np.float32] = over(rgba[..., :3], rgba[..., 3:] / np.float32(255), 255)
    return (rgb + 0.5).astype(np.uint8)
