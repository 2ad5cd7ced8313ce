"""How far training has come, and the learning rate there."""

from __future__ import annotations

from dataclasses import dataclass

from fieldlab.train.config import TrainConfig


@dataclass
class Limits:
    """When training ends: after ``steps``, after ``seconds`` of training time, or with both limits at whichever comes
    first."""

    steps: int | None
    seconds: float | None

    def fraction(self, step: int, seconds: float) -> float:
        """How much of training is done after ``step`` steps and ``seconds`` of training time, 0 to 1."""
        done = 0.0
        if self.steps is not None:
            done = step / max(self.steps, 1)
        if self.seconds is not None:
            done = max(done, seconds / max(self.seconds, 1e-9))
        return min(done, 1.0)

    def finished(self, step: int, seconds: float) -> bool:
        """Whether training ends here."""
        by_steps = self.steps is not None and step >= self.steps
        return by_steps or (self.seconds is not None and seconds >= self.seconds)

    def seconds_left(self, step: int, seconds: float) -> float | None:
        """Estimated training time that remains; None before anything is known."""
        fraction = self.fraction(step, seconds)
        return None if fraction <= 0 else seconds * (1 - fraction) / fraction


class Schedule(Limits):
    """Limits with a learning rate: linear warm-up, constant, then exponential decay (Müller et al. 2022, section 4)."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config.steps, config.seconds)
        self.config = config

    def learning_rate(self, step: int, fraction: float) -> float:
        """The learning rate of ``step`` (from 0) at this fraction of training."""
        config = self.config
        warm = min((step + 1) / max(config.warmup_steps, 1), 1.0)
        late = max(fraction - config.decay_start, 0.0) / (1.0 - config.decay_start)
        return config.learning_rate * warm * config.final_learning_rate**late
