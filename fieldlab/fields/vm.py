"""TensoRF's vector-matrix field (Chen et al. 2022, eq. 4): three sums of products of a plane and a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fieldlab.fields.low_rank import LowRankConfig, LowRankField


@dataclass(frozen=True)
class VMConfig(LowRankConfig):
    """Sizes of a vector-matrix field."""

    kind: ClassVar[str] = "vm"
    tensor: ClassVar[str] = "vm"
    init_scale: ClassVar[float] = 0.1
    recipe: ClassVar[dict[str, Any]] = {"learning_rate": 2e-2}


class VMField(LowRankField):
    """Planes times lines."""

    kind = "vm"
    config_type = VMConfig
    config: VMConfig
