"""Which representation suits a scene, where a person leaves it open."""

from __future__ import annotations

from dataclasses import replace

from fieldlab.data.scene import Scene
from fieldlab.training.build import FieldChoice

AUTO = "auto"


def suited(choice: FieldChoice, scene: Scene) -> tuple[FieldChoice, str | None]:
    """The same choice with a representation, and why it is that one; None where a person named it.

    Low-rank tensors learn objects alone faster than hash grids (docs/benchmarks.md), hash grids what has surroundings.
    """
    if choice.kind != AUTO:
        return choice, None
    if scene.unbounded:
        kind, why = "hashgrid", "there is content at any distance, which a hash grid learns fastest"
    else:
        kind, why = "vm", "nothing is outside the box, and low-rank tensors learn objects alone fastest"
    return replace(choice, kind=kind), f"the representation is {kind}: {why} (--field)"
