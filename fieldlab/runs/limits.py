"""When a loop ends."""

from __future__ import annotations

from dataclasses import dataclass


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
