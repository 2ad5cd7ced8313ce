"""What the words fast, good and best stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Word = Literal["fast", "good", "best"]


@dataclass(frozen=True)
class Quality:
    """Settings that belong together.

    Args:
        seconds: training time.
        side: photographs are made smaller by the whole number that brings their longer side closest to this.
        resolution: cells of the mesh along the longest side of the box.
        texture: texels along a side of its texture.
        frames, film: of the orbit video, and most pixels along its longer side.
    """

    seconds: float
    side: int
    resolution: int
    texture: int
    frames: int
    film: int

    def downscale(self, size: tuple[int, int] | None) -> int:
        """How many times smaller to make photographs of this width and height; as they are where nobody knows it."""
        return 1 if size is None else max(1, round(max(size) / self.side))


# Training times are for two processor cores; poses, pictures and mesh come on top.
QUALITIES: dict[Word, Quality] = {
    "fast": Quality(60.0, 640, 160, 1024, 36, 360),
    "good": Quality(300.0, 800, 256, 2048, 60, 480),
    "best": Quality(1800.0, 1600, 512, 4096, 120, 800),
}
