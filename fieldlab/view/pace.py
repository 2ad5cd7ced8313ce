"""How large a picture can be that is drawn in a given time."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

DECAY = 0.7  # of earlier measurements
CAREFUL = 2e5  # rays per second before anything was measured
FEWEST = 64 * 64  # rays that are always drawn, so that something can be recognized
FORGETTING = 1.01  # by which sizes that are not drawn are believed to be faster, with every picture


@dataclass
class Pace:
    """Remembers rays per second of every way of drawing. Small pictures cost more per ray, so that speed is kept for
    each octave of sizes by itself."""

    _speed: dict[tuple[Hashable, int], float] = field(default_factory=dict)

    def note(self, way: Hashable, rays: int, seconds: float) -> None:
        """So many rays took so long."""
        key, found = (way, _octave(rays)), rays / max(seconds, 1e-6)
        before = self._speed.get(key, found)
        for other in self._speed:  # a size that was slow once, while the machine was busy, is tried again some day
            if other[0] == way:
                self._speed[other] *= FORGETTING
        self._speed[key] = math.exp(DECAY * math.log(before) + (1 - DECAY) * math.log(found))

    def speed(self, way: Hashable, rays: float) -> float:
        """Expected rays per second of a picture of so many rays: as of the nearest size that was drawn."""
        known = [(abs(octave - _octave(rays)), speed) for (of, octave), speed in self._speed.items() if of == way]
        return min(known, default=(0, CAREFUL))[1]

    def seconds(self, way: Hashable, rays: float) -> float:
        """Expected time of a picture of so many rays."""
        return rays / self.speed(way, rays)

    def rays(self, way: Hashable, seconds: float, most: float) -> float:
        """The largest number of rays, up to ``most``, that is expected to take at most so long."""
        rays = most
        for _ in range(_octave(most) + 1):
            if self.seconds(way, rays) <= seconds or rays <= FEWEST:
                break
            rays = max(min(rays / 2, self.speed(way, rays) * seconds), FEWEST)
        return max(min(rays, most), min(FEWEST, most))


def _octave(rays: float) -> int:
    return max(math.floor(math.log2(max(rays, 1.0))), 0)
