"""What was done to make a mesh of a surface."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Cleaning:
    """What was taken away: floaters, their faces, and faces of surface that no camera saw."""

    parts_removed: int = 0
    faces_removed: int = 0
    unseen_removed: int = 0


@dataclass
class MeshReport:
    """What was done to make a mesh.

    Args:
        method: ``depth`` or ``density``.
        views: depth pictures used.
        cell: size of a grid cell in world units.
        level, automatic: density of the surface per world unit, and whether it was chosen automatically; None for
            fused depth, which needs no level.
        cleaning: what was taken away.
        faces_before_decimation: triangles of the clean mesh.
        cut: faces of the box that cut through the surface, such as ``-z``.
    """

    method: str
    views: int
    cell: float
    level: float | None = None
    automatic: bool = True
    cleaning: Cleaning = field(default_factory=Cleaning)
    faces_before_decimation: int = 0
    cut: tuple[str, ...] = ()
