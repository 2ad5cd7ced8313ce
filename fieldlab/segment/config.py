"""How features are learnt, as plain values stored beside the run's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from fieldlab.data.options import SceneOptions
from fieldlab.errors import require
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.fields.head import HeadConfig
from fieldlab.runs.kinds import RunKind
from fieldlab.training.config import TrainConfig

HEAD = "parts"
"""Name of the head that a segmentation learns."""


@dataclass(frozen=True)
class SegmentSettings:
    """What is learnt and for how long."""

    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    features: int = 64
    """Values per point."""
    pixels: int = 4096
    """Of one photograph per step."""
    neighbors: int = 10
    """Near pixels that each is joined to."""
    learning_rate: float = 1e-2
    warmup_steps: int = 20
    final_learning_rate: float = 0.03
    ultrametric_weight: float = 1.0
    euclidean_weight: float = 1.0
    norm_weight: float = 1.0
    continuity_weight: float = 0.1
    nested: bool = True
    """Learn from how masks nest, not only from each by itself."""
    masks: str = "auto"
    """Where the masks were, or ``auto``."""

    def __post_init__(self) -> None:
        require(self.steps is None or self.steps >= 0, "segment.steps", self.steps, "0 or more")
        require(self.seconds is None or self.seconds >= 0, "segment.seconds", self.seconds, "0 or more")
        require(2 <= self.features <= 256, "segment.features", self.features, "2 to 256")
        require(64 <= self.pixels <= 1 << 16, "segment.pixels", self.pixels, "64 to 65536")
        require(1 <= self.neighbors <= 64, "segment.neighbors", self.neighbors, "1 to 64")
        require(self.learning_rate > 0, "segment.learning_rate", self.learning_rate, "above 0")
        for name in ("ultrametric", "euclidean", "norm", "continuity"):
            value = getattr(self, f"{name}_weight")
            require(value >= 0, f"segment.{name}_weight", value, "0 or more")

    def head(self, encoding: FieldConfig | None = None) -> HeadConfig:
        """The head that is learnt: on a hash grid whose finest cells are a few pixels wide, since parts are larger."""
        grid = encoding or HashGridConfig(
            n_levels=10, n_features=4, log2_hashmap_size=16, base_resolution=16, finest_resolution=256
        )
        return HeadConfig(HEAD, self.features, grid, width=64, layers=1)


SEGMENTED = RunKind(
    "segmented", "fieldlab segment", {"train": TrainConfig, "segment": SegmentSettings, "scene": SceneOptions},
    products=("hierarchy.json", "hierarchy.npz"), says="was segmented",
)  # fmt: skip
