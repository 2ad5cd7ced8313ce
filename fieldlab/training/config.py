"""How a field is trained, as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fieldlab.data.background import background_color
from fieldlab.data.options import SceneOptions
from fieldlab.errors import require
from fieldlab.runs.kinds import RunKind
from fieldlab.training.exposure import MODES


@dataclass(frozen=True)
class TrainConfig:
    """How a field is trained. Zero or None stands for "chosen by device and scene"."""

    steps: int | None = None
    """Stop after so many steps."""
    seconds: float | None = None
    """Stop after so much training time (loading, evaluating and writing do not count)."""
    seed: int = 0
    samples_per_step: int = 0
    """Samples along rays that a step trains on; the number of rays follows."""
    learning_rate: float = 1e-2
    """Of Adam (beta 0.9 and 0.99, epsilon 1e-15: Müller et al. 2022, section 4)."""
    warmup_steps: int = 30
    final_learning_rate: float = 0.1
    """Last learning rate as a fraction of the first; the decay is exponential."""
    decay_start: float = 0.6
    """Fraction of training after which the learning rate decays."""
    loss: str = "mse"
    """mse or huber."""
    distortion: float = 0.0
    """Weight of the distortion loss (Barron et al. 2022, eq. 15), which draws haze together to surfaces, see
    :func:`fieldlab.training.losses.spread`."""
    opacity: float = 0.0
    """Weight of the mean opacity of rays, which clears away what looks like the background."""
    background: str = "random"
    """What pictures with alpha are composited on: random, white, black or #rrggbb. With random, opaque photographs
    with a plain or dark background are learnt in front of its color."""
    hull: bool = True
    """Start the occupancy grid from the visual hull of the alpha channels."""
    prune: bool = True
    """Find and drop samples behind the visible surface before training on the others."""
    occupancy_warmup: int = 32
    """Steps before the first look at the occupancy grid; all cells that can be occupied are taken to be until then."""
    occupancy_every: int = 16
    """Steps between two updates of the occupancy grid."""
    exposure: str = "auto"
    """Whether every photograph gets a map of colors of its own: on, off, or auto, when they differ in exposure or white
    balance."""
    pose_refinement: bool = False
    """Correct the camera poses while training (6D rotations, Zhou et al. 2019)."""
    appearance: int = 0
    """Values of the appearance vector that each photograph gets; 0 for none (Martin-Brualla et al. 2021)."""
    device_memory_gb: float | None = None
    """Most memory of the device that photographs may take; those that do not fit stay in main memory."""

    def __post_init__(self) -> None:
        require(self.steps is None or self.steps >= 0, "train.steps", self.steps, "0 or more")
        require(self.seconds is None or self.seconds >= 0, "train.seconds", self.seconds, "0 or more")
        require(self.samples_per_step >= 0, "train.samples_per_step", self.samples_per_step, "0 or more")
        require(0 < self.learning_rate < math.inf, "train.learning_rate", self.learning_rate, "above 0")
        require(self.loss in ("mse", "huber"), "train.loss", self.loss, "mse | huber")
        if self.background != "random":
            background_color(self.background)
        require(self.exposure in MODES, "train.exposure", self.exposure, " | ".join(MODES))
        require(self.distortion >= 0, "train.distortion", self.distortion, "0 or more")
        require(self.opacity >= 0, "train.opacity", self.opacity, "0 or more")
        require(0 <= self.decay_start < 1, "train.decay_start", self.decay_start, "0 to 1")
        require(self.appearance >= 0, "train.appearance", self.appearance, "0 or more")
        require(self.occupancy_every >= 1, "train.occupancy_every", self.occupancy_every, "1 or more")


TRAINED = RunKind(
    "trained", "fieldlab train", {"train": TrainConfig, "scene": SceneOptions}, products=("tensorboard",),
    says="was trained on photographs",
)  # fmt: skip
