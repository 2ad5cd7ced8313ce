"""TensoRF's CANDECOMP/PARAFAC field (Chen et al. 2022, eq. 1): a sum of products of three lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fieldlab.fields.low_rank import LowRankConfig, LowRankField


@dataclass(frozen=True)
class CPConfig(LowRankConfig):
    """Sizes of a CP field; ranks are higher, because one line holds so little."""

    kind: ClassVar[str] = "cp"
    tensor: ClassVar[str] = "cp"
    init_scale: ClassVar[float] = 0.2
    recipe: ClassVar[dict[str, Any]] = {"learning_rate": 2e-2}
    distill_recipe: ClassVar[dict[str, Any]] = {"learning_rate": 4e-2}
    late_density: ClassVar[float] = 0.1

    density_rank: int = 96
    appearance_rank: int = 288
    resolution: int = 500


class CPField(LowRankField):
    """Lines times lines times lines."""

    kind = "cp"
    config_type = CPConfig
    config: CPConfig
