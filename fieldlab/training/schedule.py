"""How far training has come, and the learning rate there."""

from __future__ import annotations

from fieldlab.runs.limits import Limits
from fieldlab.training.config import TrainConfig

RAMP = 0.05  # of training


class Schedule(Limits):
    """Limits with a learning rate: linear warm-up, constant, then exponential decay (Müller et al. 2022, section 4)."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config.steps, config.seconds)
        self.config = config

    def ramp(self, fraction: float) -> float:
        """The share of the losses that an empty ray has least of, distortion and opacity. From the first step on they
        would keep fields from becoming dense at all."""
        return min(fraction / RAMP, 1.0)

    def learning_rate(self, step: int, fraction: float) -> float:
        """The learning rate of ``step`` (from 0) at this fraction of training."""
        config = self.config
        warm = min((step + 1) / max(config.warmup_steps, 1), 1.0)
        late = max(fraction - config.decay_start, 0.0) / (1.0 - config.decay_start)
        return config.learning_rate * warm * config.final_learning_rate**late
