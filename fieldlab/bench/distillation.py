"""Distillation against plain training: what a step costs, and how much sooner a student is as good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from fieldlab.bench.measure import Row
from fieldlab.bench.whole import WARM_SECONDS, test_psnr
from fieldlab.data.scene import Scene
from fieldlab.distill.config import DistillSettings
from fieldlab.distill.distiller import Distiller
from fieldlab.distill.session import student_config
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.kinds import kinds
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.training.build import FieldChoice, choose_field, choose_model, footprint_of
from fieldlab.training.config import TrainConfig
from fieldlab.training.trainer import Trainer

SOONER = 10  # times
MOMENTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the time a field trains from scratch
STEPS, QUICK_STEPS = 24, 2


@dataclass(frozen=True)
class Bench:
    """A scene, a device, and how fields are made for them as the command line makes them."""

    scene: Scene
    device: torch.device

    def config(self, kind: str) -> FieldConfig:
        return choose_field(FieldChoice(kind), footprint_of(self.scene), 0, self.device).as_part()

    def trainer(self, kind: str, **train: Any) -> Trainer:
        """A fresh trainer with the field's recipe, which has started."""
        field = choose_field(FieldChoice(kind), footprint_of(self.scene), 0, self.device)
        settings = TrainConfig(**{**field.recipe, **train})
        model = build_model(field, choose_model(self.scene, settings), 0).to(self.device)
        trainer = Trainer(model, self.scene.splits["train"], settings)
        trainer.start()
        return trainer

    def distiller(self, teacher: RadianceModel, kind: str, **train: Any) -> Distiller:
        """A distiller that has begun, with the field's recipe."""
        field = self.config(kind)
        settings = TrainConfig(**{**field.recipe, **field.distill_recipe, **train})
        student = build_model(field, student_config(field, teacher), 0).to(self.device)
        made = Distiller(teacher, student, self.scene.splits["train"].cameras, DistillSettings(), settings)
        made.start()
        return made

    def teacher(self, kind: str, seconds: float) -> RadianceModel:
        """A model trained for so long."""
        trainer = self.trainer(kind, seconds=seconds)
        for _ in trainer.events():
            pass
        return trainer.model.requires_grad_(False)


def distillation_rows(scene: Scene, device: torch.device, seconds: float, quick: bool) -> Iterator[Row]:
    """What a step costs for every student of a hash grid and of a slow teacher, then how much sooner an mlp is as good
    as one that trains from scratch for ``seconds``."""
    bench = Bench(scene, device)
    warm = 0.5 if quick else WARM_SECONDS
    for name, students in (("hashgrid", kinds()), ("mlp", ["hashgrid"])):
        teacher = bench.teacher(name, warm)
        for kind in students[:1] if quick else students:
            yield step_row(bench, teacher, kind, warm, QUICK_STEPS if quick else STEPS)
    yield from sooner_rows(bench, seconds)


def step_row(bench: Bench, teacher: RadianceModel, kind: str, warm: float, steps: int) -> Row:
    """Milliseconds of a student's step over those of a plain training step of the same field on as many samples, both
    late in their schedules, by turns, over so many ``steps``."""
    distiller = bench.distiller(teacher, kind, seconds=2 * warm)
    while distiller.progress.seconds < 1.2 * warm:
        distiller.step()
    trainer = bench.trainer(kind, seconds=2 * warm, samples_per_step=distiller.budget)
    while trainer.progress.seconds < 1.2 * warm:
        trainer.step()
    distilled = trained = 0.0
    for _ in range(steps):
        before = distiller.progress.seconds, trainer.progress.seconds
        distiller.step()
        trainer.step()
        distilled += distiller.progress.seconds - before[0]
        trained += trainer.progress.seconds - before[1]
    name = f"step of {teacher.field.kind} to {kind}, {distiller.budget} samples"
    return Row("distillation", name, distilled / steps * 1e3, "ms", trained / steps * 1e3, "plain training step")


def sooner_rows(bench: Bench, seconds: float, kind: str = "mlp") -> Iterator[Row]:
    """Test PSNR of a student of a hash grid after a tenth of the times at which that of the same field is taken while
    it trains from scratch for ``seconds``."""
    alone, moments = [], [seconds * m for m in MOMENTS]
    trainer = bench.trainer(kind, seconds=seconds)
    for at in moments:
        while trainer.progress.seconds < at and not trainer.finished:
            trainer.step()
        alone.append(test_psnr(trainer.model, bench.scene))
    teacher = bench.teacher("hashgrid", seconds / 2)
    distiller = bench.distiller(teacher, kind, seconds=seconds / SOONER)
    for at, score in zip(moments, alone, strict=True):
        while distiller.progress.seconds < at / SOONER and not distiller.finished:
            distiller.step()
        found = test_psnr(distiller.student, bench.scene)
        name = f"hashgrid to {kind}, test PSNR after {at / SOONER:.3g} s"
        yield Row("distillation", name, found, "dB", score, f"one trained for {at:.3g} s")
