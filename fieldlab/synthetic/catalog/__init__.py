"""The procedural scenes, one file each."""

from __future__ import annotations

from collections.abc import Callable

from fieldlab.synthetic.catalog.garden import garden
from fieldlab.synthetic.catalog.robot import robot
from fieldlab.synthetic.catalog.toys import toys
from fieldlab.synthetic.model import SceneModel

SCENES: dict[str, Callable[[], SceneModel]] = {"robot": robot, "toys": toys, "garden": garden}
