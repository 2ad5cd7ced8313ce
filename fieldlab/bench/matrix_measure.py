"""The runs of a matrix made, measured and remembered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from fieldlab.bench.matrix import MatrixSettings, Wanted, folder_of
from fieldlab.data.views import Views
from fieldlab.files import write_json
from fieldlab.jobs.job import Runner
from fieldlab.render.model import RadianceModel
from fieldlab.runs.load import load_run
from fieldlab.training.evaluate import target_picture
from fieldlab.training.metrics import psnr, ssim


@dataclass(frozen=True)
class Result:
    """What is known of one run.

    Args:
        student: its representation.
        teacher: that of the field it was distilled from, None for one trained on the photographs.
        kind: teacher, scratch, same (from scratch for as long as its students) or pair.
        asked: seconds it was to take.
        psnr, ssim: against the photographs.
        psnr_to_teacher: against the teacher's renders of the same views.
    """

    student: str
    teacher: str | None
    kind: str
    asked: float
    psnr: float
    ssim: float
    psnr_to_teacher: float | None
    seconds: float
    steps: int
    trainable: int
    bytes: int


class Results:
    """Measures runs and remembers what was found, in a file for each run.

    Args:
        settings: of the matrix.
        views: the test photographs.
        device: where to render.
    """

    def __init__(self, settings: MatrixSettings, views: Views, device: torch.device) -> None:
        self.settings, self.views, self.device = settings, views, device
        self._renders: dict[str, list[Tensor]] = {}

    def complete(self, wanted: Sequence[Wanted], runner: Runner) -> Iterator[tuple[Wanted, Result]]:
        """Make and measure what is not known yet; gives each run when it is."""
        left = [run for run in wanted if not self.known(run)]
        by_job = {run.job: run for run in left if run.job is not None}
        there = [run for run in left if run.job is None]
        for done in chain(there, (by_job[job] for job in runner.run(list(by_job)))):
            yield done, self.measure(done)

    def file(self, wanted: Wanted) -> Path:
        """Where a run's result is kept."""
        return self.settings.out / "results" / f"{wanted.name}.json"

    def known(self, wanted: Wanted) -> bool:
        """Whether a run was made and measured before."""
        return self.file(wanted).is_file()

    def load(self, wanted: Wanted) -> Result:
        """What is known of a run."""
        return Result(**json.loads(self.file(wanted).read_text()))

    def measure(self, wanted: Wanted) -> Result:
        """Render the test views of a run, compare them with the photographs and the teacher, and remember that."""
        model, info = load_run(wanted.folder, self.device)
        made, background = self._render(model), model.background(None).cpu()
        truth = [target_picture(self.views, i, background).cpu() for i in range(len(made))]
        to_teacher = None
        if wanted.teacher is not None:
            to_teacher = mean(psnr(a, b) for a, b in zip(made, self._teacher(wanted.teacher), strict=True))
        found = Result(
            wanted.student, wanted.teacher, wanted.kind, wanted.asked,
            mean(psnr(a, b) for a, b in zip(made, truth, strict=True)),
            mean(ssim(a, b) for a, b in zip(made, truth, strict=True)), to_teacher, info.seconds, info.step,
            model.field.n_parameters, model.field.n_bytes,
        )  # fmt: skip
        write_json(self.file(wanted), asdict(found))
        return found

    def _teacher(self, name: str) -> list[Tensor]:
        """A teacher's renders of the test views."""
        if name not in self._renders:
            self._renders.clear()  # pairs come teacher by teacher
            self._renders[name] = self._render(load_run(folder_of(self.settings, None, name), self.device)[0])
        return self._renders[name]

    def _render(self, model: RadianceModel) -> list[Tensor]:
        """Clipped renders [H,W,3] of the test views."""
        return [model.render_image(self.views.cameras, i)["rgb"].cpu() for i in range(len(self.views))]
