"""What a visitor wants to see, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

CHANNELS = ("color", "depth", "normals", "opacity", "samples", "features", "segments", "error")
COMPARISONS = ("one run", "split", "difference")


@dataclass(frozen=True)
class DisplaySettings:
    """One client's wishes.

    Args:
        channel: of ``CHANNELS``.
        background: color behind everything, 0 to 1.
        threshold: height at which the hierarchy of segments is cut.
        tint: how strongly segments color the picture, 0 to 1.
        chosen: node ids of segments that stand out.
        hidden: node ids of segments that are not shown.
        only: node ids of the only segments that are shown; all where there are none.
        compare: of ``COMPARISONS``.
        split: where the second run begins, as a share of the width.
        gain: how strongly differences and errors are shown.
    """

    channel: str = "color"
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    threshold: float = 0.0
    tint: float = 0.8
    chosen: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()
    only: frozenset[int] = frozenset()
    compare: str = "one run"
    split: float = 0.5
    gain: float = 4.0

    @property
    def rays(self) -> tuple[object, ...]:
        """What a change of needs new rays; everything else only colors what was seen already."""
        return self.hidden, self.only, self.compare, self.split if self.compare == "split" else None
