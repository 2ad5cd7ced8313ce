"""Edited runs: another run's field with a list of edits, which the field's own configuration holds."""

from __future__ import annotations

from fieldlab.data.options import SceneOptions
from fieldlab.runs.kinds import RunKind
from fieldlab.training.config import TrainConfig

EDITED = RunKind("edited", "fieldlab edit", {"train": TrainConfig, "scene": SceneOptions},
                 ("hierarchy.json", "hierarchy.npz"), says="was edited")  # fmt: skip
