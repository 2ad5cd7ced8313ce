"""What ``fieldlab bench`` measures, as one stream of figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fieldlab.bench.distillation import distillation_rows
from fieldlab.bench.operations import operation_rows
from fieldlab.bench.record import Figure
from fieldlab.bench.viewer import viewer_rows
from fieldlab.bench.whole import make_trainer, whole_rows
from fieldlab.errors import BackendError
from fieldlab.ops import native
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.sources.load import load_scene
from fieldlab.training.config import TrainConfig
from fieldlab.view.scene_source import LoadedScene
from fieldlab.view.shown_run import ShownRun

What = Literal["everything", "operations", "distillation"]
QUICK_SECONDS = 1.0


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long.

    Args:
        scene: what is trained on.
        seconds: training times after which the test PSNR is measured.
        device: where.
        log2_table: size of the hash table of the encoding benchmarks, as a power of two.
        quick: everything once, as short as can be.
    """

    scene: str
    seconds: tuple[float, ...]
    device: torch.device
    log2_table: int
    quick: bool

    @property
    def longest(self) -> float:
        return QUICK_SECONDS if self.quick else max(self.seconds)

    def figures(self, what: What) -> Iterator[Figure]:
        """Stages one by one and the whole job; or only the stages; or distillation against training."""
        if what != "distillation":
            yield from operation_rows(self.device, self.log2_table, self.quick)
        if what == "operations":
            return
        scene = load_scene(self.scene)
        if what == "distillation":
            yield from distillation_rows(scene, self.device, self.longest, self.quick)
        else:
            seconds = [QUICK_SECONDS] if self.quick else sorted(self.seconds)
            yield from whole_rows(scene, self.device, seconds, self.quick)

    def viewer_figures(self, run: Path | None) -> Iterator[Figure]:
        """How soon the viewer of a run answers; without one, of a hash grid trained for the longest time."""
        yield from viewer_rows(ShownRun.load(run, self.device) if run is not None else self._trained(), self.quick)

    def _trained(self) -> ShownRun:
        scene = load_scene(self.scene)
        trainer = make_trainer(scene, self.device, TrainConfig(seconds=self.longest))
        for _ in trainer.events():
            pass
        model = trainer.model.eval().requires_grad_(False)
        return ShownRun(scene.name, model, SceneRecord.of(scene), source=LoadedScene(scene))


def use_kernels(name: str) -> None:
    """Compute with CPU kernels of another instruction set than the widest one.

    Raises:
        BackendError: this processor or build has none such.
    """
    if name != "widest" and not (native.library and native.library.choose_instruction_set(name)):
        raise BackendError("this processor or build has no such kernels", field="--kernels", found=name)
