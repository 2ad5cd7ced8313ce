"""How a field is distilled, as plain values stored beside the student's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from fieldlab.data.options import SceneOptions
from fieldlab.errors import require
from fieldlab.runs.kinds import RunKind
from fieldlab.training.config import TrainConfig


@dataclass(frozen=True)
class DistillSettings:
    """What is compared when, and where. Fractions are of the whole distillation."""

    latents_until: float = 0.03
    """Until this fraction only latents and densities are compared: colors are not even evaluated."""
    samples_until: float = 0.25
    """Until this fraction densities and colors per sample are compared and nothing is composited."""
    latent_weight: float = 0.2
    """Weight of the latents' difference, per variance of the teacher's; it fades out by ``samples_until``."""
    density_weight: float = 0.02
    """Weight of the difference of clamped log-densities."""
    color_weight: float = 1.0
    """Weight of the difference of colors per sample."""
    features_weight: float = 0.1
    """Weight of the difference of feature heads, where they cannot be copied because an edit has moved things."""
    initialize: bool = True
    """Begin with what can be copied or computed in closed form."""
    active: bool = True
    """Look again at hard poses and rays, and late compare colors only at influential samples."""
    real_poses: float = 0.0
    """Share of poses that are those of the photographs."""
    reuse: int = 0
    """How often what the teacher says of a batch of rays is used; 0 finds out what keeps it as cheap as the student."""

    def __post_init__(self) -> None:
        ordered = 0 <= self.latents_until <= self.samples_until < 1
        require(ordered, "distill.latents_until, distill.samples_until", (self.latents_until, self.samples_until),
                "in order, from 0 to below 1")  # fmt: skip
        for name in ("latent_weight", "density_weight", "color_weight", "features_weight"):
            require(getattr(self, name) >= 0, f"distill.{name}", getattr(self, name), "0 or more")
        require(0 <= self.real_poses <= 1, "distill.real_poses", self.real_poses, "0 to 1")
        require(0 <= self.reuse <= 64, "distill.reuse", self.reuse, "0 to 64")


DISTILLED = RunKind(
    "distilled", "fieldlab distill", {"train": TrainConfig, "distill": DistillSettings, "scene": SceneOptions},
    products=("hierarchy.json", "hierarchy.npz"), says="was distilled from another",
    measured_on="the teacher's rays",
)  # fmt: skip
