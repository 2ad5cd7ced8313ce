"""The procedural scenes, one file each."""

from __future__ import annotations

from collections.abc import Callable

from fieldlab.data.procedural.catalog.garden import garden
from fieldlab.data.procedural.catalog.robot import robot
from fieldlab.data.procedural.catalog.toys import toys
from fieldlab.data.procedural.model import SceneModel

SCENES: dict[str, Callable[[], SceneModel]] = {"robot": robot, "toys": toys, "garden": garden}
