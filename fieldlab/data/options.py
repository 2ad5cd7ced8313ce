"""What a person can choose about how a scene is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SceneOptions:
    """How to read a scene; every default is right for an ordinary capture."""

    format: str | None = None
    """Force a format (blender, transforms, colmap, llff, record3d, polycam); found out from the folder when absent."""
    downscale: int = 1
    """Make the pictures this many times smaller (area average)."""
    max_side: int | None = None
    """Make pictures smaller until their longer side has at most this many pixels."""
    test_every: int = 8
    """Hold out every n-th view, sorted by name, when the data set has no split of its own; 0 holds out none."""
    holdout: str = "every"
    """How: every n-th, or as many from one side (sector), which tells how good views are from where nobody stood."""
    validation: float = 0.05
    """Share of the other views, if there are ten or more, that are not trained on either but tell how good training is.
    Data sets that come with splits keep theirs."""
    images: str | None = None
    """Folder of the photographs, relative to the scene, when it is not the usual one (COLMAP, LLFF)."""
    aabb: tuple[float, float, float, float, float, float] | None = None
    """Box of main interest in world units: x0 y0 z0 x1 y1 z1. Found from the data when absent."""
    cube: bool = True
    """Grow the box that was found to a cube, so that grids have the same cell size along every axis."""
    unbounded: bool | None = None
    """Whether there is content outside the box too. Found from the data when absent."""
    background: str | None = None
    """Background for evaluation: white or black. White for pictures with an alpha channel when absent."""
    skip_bad_frames: bool = False
    """Leave out frames that cannot be read (and count them) instead of stopping."""
    max_memory_gb: float | None = None
    """Most memory the pictures may take; 80 % of what is free when absent."""
