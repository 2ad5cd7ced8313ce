"""The distillation loop: rays where photographs could have been taken, and what teacher and student see along them.

Three levels, from shallow to deep (Fang et al. 2023, section 3): latents, density and color per sample, pixels. Both
fields are asked at the same points: samples in all cells that either of them occupies.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.distill.config import DistillSettings
from fieldlab.distill.losses import LatentMatch, density_loss
from fieldlab.distill.mining import HARD, HardRays, Poses
from fieldlab.distill.poses import pose_source
from fieldlab.distill.prefetch import Prefetch
from fieldlab.distill.targets import Targets, find_targets, rows
from fieldlab.errors import ConfigError
from fieldlab.fields.base import FieldProgress, ParamGroup
from fieldlab.fields.encoded import LatentField
from fieldlab.ops.composite import composite
from fieldlab.render.model import RadianceModel, on_background
from fieldlab.render.seen import LEARNING_EARLY_STOP
from fieldlab.runs.checkpoint import Checkpoint, load_arrays, load_model, take_shapes
from fieldlab.runs.loop import Event, Loop, Progress
from fieldlab.training.config import TrainConfig
from fieldlab.training.losses import psnr_of
from fieldlab.training.optimizer import Adam, loop_state, restore_loop
from fieldlab.training.schedule import Schedule

SAMPLES_PER_STEP = {"cpu": 1 << 14, "cuda": 1 << 18}
POSES = 256  # of an epoch
EPOCH = 64  # steps
KEPT_BATCHES = 24  # of a slow teacher's answers
EMPTY_SHARE = 1 / 16  # points anywhere, per sample, at which the student shall be no denser than the teacher
CELLS_PER_SAMPLE = 0.25  # occupancy cells evaluated per sample
OCCUPANCY_EVERY = 16
MIN_RAYS, MAX_RAYS = 64, 1 << 18
TIMED_SAMPLES = 1 << 14
MOST_REUSE = 64
SLOW_BEGINNING = 0.5  # of the time there is
STAGES = ("latents", "samples", "pixels")


@dataclass(frozen=True)
class DistillEvent(Event):
    """How distillation stands after a step; ``psnr`` is a running average over rays, against the teacher, in dB, and
    not a number before pixels are compared."""

    psnr: float
    stage: str
    samples_per_s: float
    rays: int

    def describe(self) -> str:
        return f"{self.stage}, " + ("no pixels yet" if math.isnan(self.psnr) else f"{self.psnr:.2f} dB to the teacher")


@dataclass
class DistillProgress(Progress):
    """Counters of distillation; the running average is of the mean squared error of pixels."""

    rays: int = 256
    reuse: int = 0
    teacher_seconds: float = 0.0
    settled: bool = False
    stage: int = 0


class Distiller(Loop[DistillEvent]):
    """Turns a teacher into a student.

    Args:
        teacher: a trained model.
        student: another with the same box and settings, on the same device; it gets heads like the teacher's.
        cameras: the teacher's training cameras.
        settings: what is compared when, and where.
        train: limits, learning rate, samples per step and seed.
    """

    def __init__(
        self,
        teacher: RadianceModel,
        student: RadianceModel,
        cameras: Cameras,
        settings: DistillSettings,
        train: TrainConfig,
    ) -> None:
        mine, other = student.config, teacher.config
        if (mine.aabb, mine.unbounded, mine.cascades) != (other.aabb, other.unbounded, other.cascades):
            raise ConfigError("teacher and student cover different boxes", field="aabb", found=mine.aabb,
                              expected=other.aabb)  # fmt: skip
        self.teacher, self.student = teacher, student
        for name in teacher.heads:
            student.add_head(teacher.head(name).config)
        self.settings, self.train = settings, train
        self.limits = self.schedule = Schedule(train)
        self.progress: DistillProgress = DistillProgress()
        self.generator = torch.Generator().manual_seed(self.train.seed)
        source = pose_source(cameras, teacher.aabb, teacher.config.unbounded)
        self.poses = Poses(source, POSES, self.settings.real_poses, self.settings.active)
        self.hard = HardRays()
        self.batches: deque[Targets] = deque(maxlen=KEPT_BATCHES)
        self.budget = self.train.samples_per_step or SAMPLES_PER_STEP[student.device.type]
        self.prefetch = Prefetch(self._look, student.device)
        self._match: LatentMatch | None = None
        self._optimizer: Adam | None = None

    @property
    def model(self) -> RadianceModel:
        return self.student

    def _start(self, resume: Checkpoint | None) -> list[str]:
        """Take over from the teacher what can be taken over; the time it takes counts."""
        if resume is not None:
            self._load(resume)
            return []
        return self._begin()

    def _begin(self) -> list[str]:
        start = time.perf_counter()
        grid = self.student.occupancy
        grid.values.copy_(self.teacher.occupancy.values)
        grid.changed()
        taken = [*self._begin_appearance(), *self._begin_heads(), *self._begin_field()]
        said = [f"from the teacher: {words}" for words in taken or ["nothing that fits the student"]]
        self.prepare()
        self.progress.reuse = self.settings.reuse or self._affordable_reuse()
        if self.progress.reuse > 1:
            said.append(f"the teacher is slow: every batch of its answers is used {self.progress.reuse} times")
        self.progress.seconds = time.perf_counter() - start
        if self.train.seconds is not None and self.progress.seconds > SLOW_BEGINNING * self.train.seconds:
            said.append(f"that took {self.progress.seconds:.0f} of {self.train.seconds:g} s; give it more time")
        return said

    def prepare(self) -> None:
        """What follows from the fields as they are: how latents are compared, and the optimiser."""
        generator = torch.Generator().manual_seed(self.train.seed)
        teacher, student = self.teacher.field, self.student.field
        same = isinstance(student, LatentField) and student.can_share_latent(teacher) and self.settings.initialize
        sizes = student.n_compared, teacher.n_compared
        self._match = LatentMatch(*sizes, same, generator).to(self.student.device)
        self._optimizer = Adam(self._groups())

    @property
    def match(self) -> LatentMatch:
        assert self._match is not None, "start() first"
        return self._match

    @property
    def optimizer(self) -> Adam:
        assert self._optimizer is not None, "start() first"
        return self._optimizer

    def _begin_appearance(self) -> list[str]:
        mine, other = self.student.appearance, self.teacher.appearance
        if mine is None or other is None or mine.shape != other.shape:
            return []
        with torch.no_grad():
            mine.copy_(other)
        return ["appearance of the photographs copied"]

    def _begin_heads(self) -> list[str]:
        """Heads read an encoding of their own, and so mean the same to any representation."""
        for name in self.teacher.heads:
            arrays = self.teacher.head(name).state_dict()
            take_shapes(self.student.head(name), arrays, None)
            load_arrays(self.student.head(name), arrays, None)
        return [f"features {name} copied" for name in self.teacher.heads]

    def _begin_field(self) -> list[str]:
        if not self.settings.initialize:
            return []
        teacher, student = self.teacher.field, self.student.field
        if teacher.config.as_part() == student.config:  # without what only helps to learn from photographs
            own = student.state_dict()
            arrays = {name: array for name, array in teacher.state_dict().items() if name in own}
            student.resize_like(arrays)
            load_arrays(student, arrays, None)
            return ["the whole field copied: it is the same"]
        return student.begin_from(teacher, self.teacher.occupied, self.generator)

    def _affordable_reuse(self) -> int:
        """How often a batch of the teacher's answers is to be used so that it costs no more than the student's step."""
        x = torch.rand(TIMED_SAMPLES, 3, generator=self.generator).to(self.student.device)
        d = torch.nn.functional.normalize(x - 0.5, dim=1)

        def ask(model: RadianceModel) -> Tensor:
            log_density, latent = model.field.geometry(x)
            colors = model.field.color(latent, x, d, model.appearance_of(None, None, len(x)))
            return log_density.sum() + colors.sum()

        def train() -> None:
            total = ask(self.student)
            if total.requires_grad:
                total.backward()
            for p in self.student.parameters():
                p.grad = None

        def watch() -> None:
            with torch.no_grad():
                ask(self.teacher)

        ratio = _seconds(watch, x.device) / max(_seconds(train, x.device), 1e-9)
        return min(math.ceil(ratio), MOST_REUSE) if ratio > 1.2 else 1  # what is about as fast is asked every time

    def step(self) -> DistillEvent:
        """One step: rays, the teacher's answers, the student's, the loss, derivatives, Adam."""
        now, start = self.progress, time.perf_counter()
        fraction = self.schedule.fraction(now.step, now.seconds)
        student = self.student
        if student.field.schedule(FieldProgress(now.step, fraction, student.occupied, self.generator, student.field)):
            self.optimizer.regroup(self._groups())
        if now.step and now.step % EPOCH == 0:
            self.poses.renew(self.generator)
        stage = self._stage(fraction)
        self.prefetch.settle()
        if stage == "pixels" and now.step % OCCUPANCY_EVERY == 0:
            self._update_occupancy()
        self.prefetch.mark()
        targets = self._targets()
        loss, errors = self._loss(targets, stage, fraction)
        loss.backward()
        if (now.step + 1) % now.reuse == 0:
            self.prefetch.prepare()
        student.field.regularize(fraction)
        rate = self.schedule.learning_rate(now.step, fraction)
        self.optimizer.step(rate)
        if errors is not None and self.settings.active:
            if targets.epoch == self.poses.epoch:  # poses of answers from before are gone
                self.poses.note(targets.poses.cpu(), errors.cpu())
            self.hard.offer(targets.rays.to("cpu"), errors.cpu(), self.generator)
        return self._account(float(loss.detach()), targets, errors, stage, rate, start)

    def finish(self) -> bool:
        """Let the student's occupancy be its own, among the cells that either field had occupied; once."""
        if self.progress.settled:
            return False
        self.progress.settled = True
        grid = self.student.occupancy
        kept = self._union()
        grid.refresh(self.student.density, self.generator, passes=4)
        grid.values[~kept & (grid.values >= 0)] = 0.0
        grid.changed()
        return True

    def _stage(self, fraction: float) -> str:
        """Never one that was over already, when a student goes on for longer."""
        reached = (fraction >= self.settings.latents_until) + (fraction >= self.settings.samples_until)
        self.progress.stage = max(self.progress.stage, int(reached))
        return STAGES[self.progress.stage]

    def _targets(self) -> Targets:
        """A new batch of the teacher's answers, or, where those are expensive, mostly one from before."""
        now = self.progress
        if now.step % now.reuse and self.batches:
            return self.batches[int(torch.randint(len(self.batches), (1,), generator=self.generator))]
        found = self.prefetch.take()
        if now.reuse > 1:
            self.batches.append(found)
        return found

    def _look(self) -> Targets:
        """The teacher's answers along new rays, and how many rays are to be next."""
        now = self.progress
        rays, poses = self.poses.draw(now.rays, self.generator)
        again = self.hard.draw(round(HARD * now.rays) if self.settings.active else 0, self.generator)
        rays = Rays(torch.cat((rays.origins, again.origins)), torch.cat((rays.directions, again.directions)))
        poses = torch.cat((poses, poses.new_full((len(again),), -1)))
        jitter = torch.rand(len(rays), generator=self.generator)
        images = None  # the mean appearance
        if self.teacher.appearance is not None and self.student.appearance is not None:
            images = torch.randint(len(self.teacher.appearance), (len(rays),), generator=self.generator)
        device = self.student.device
        rays, jitter = rays.to(device), jitter.to(device)
        samples = self.student.sample(rays, jitter)
        start = time.perf_counter()
        images = None if images is None else images.to(device)
        found = find_targets(self.teacher, rays, samples, images, poses.to(device), self.poses.epoch)
        now.teacher_seconds += time.perf_counter() - start
        ratio = self.budget / max(len(found.samples), 1)
        now.rays = int(min(max(now.rays * min(max(ratio, 0.5), 2.0), MIN_RAYS), MAX_RAYS))
        return found

    def _loss(self, targets: Targets, stage: str, fraction: float) -> tuple[Tensor, Tensor | None]:
        """The loss, and the squared error of every ray's pixel where pixels are compared."""
        field, settings, unit = self.student.field, self.settings, self.student.field.log_unit
        n = len(targets.x)
        nothing = self._empty_points(n)  # in the same call, since large perceptrons are costly to call
        log_density, latent = field.geometry(torch.cat((targets.x.t(), nothing.t()), dim=1).t())
        empty = density_loss(log_density[n:] + unit, nothing.new_full((len(nothing),), -torch.inf)).sum()
        log_density, latent = log_density[:n], latent[:n]
        density = density_loss(log_density + unit, targets.log_density + unit).sum()
        late = field.config.late_density if stage == "pixels" else 1.0
        loss = settings.density_weight * (late * density / max(n, 1) + empty / max(len(nothing), 1))
        fade = max(1 - fraction / max(settings.samples_until, 1e-9), 0.0)
        if stage == "pixels":  # also where a student goes on for longer, and the fraction has fallen back
            fade = 0.0
        sigma = field.sigma(log_density)
        with torch.no_grad():
            own = composite(sigma.detach(), None, targets.samples, LEARNING_EARLY_STOP).weights
        narrow = settings.active and stage == "pixels"  # before, everything is still to be learnt
        chosen = targets.influential(own) if narrow else torch.ones_like(targets.seen, dtype=torch.bool)
        part = chosen.nonzero()[:, 0]
        seen = targets.seen[part]
        if settings.latent_weight * fade and len(seen):
            difference = self.match(rows(latent, seen), rows(targets.latent, part))
            loss = loss + settings.latent_weight * fade * difference.mean()
        loss = loss + self._features_loss(targets)
        if stage == "latents":
            return loss, None
        appearance = self.student.appearance_of(targets.images, targets.samples, len(targets.x))
        if stage == "samples":
            x, d = rows(targets.x, seen), rows(targets.directions, seen)
            colors = field.color(rows(latent, seen), x, d, None if appearance is None else appearance[seen])
        else:
            whole = field.color(latent, targets.x, targets.directions, appearance)
            colors = rows(whole, seen)
        if settings.color_weight and len(seen):
            error = (colors - rows(targets.colors, part)).square().mean(1) * targets.weights[seen]
            loss = loss + settings.color_weight * error.sum() / max(len(targets.rays), 1)
        if stage == "samples":
            return loss, None
        return self._pixels(loss, sigma, whole, targets)

    def _features_loss(self, targets: Targets) -> Tensor | float:
        """Of heads that cannot be copies: squared error of features per variance of the teacher's."""
        x = rows(targets.x, targets.seen)
        if not len(x):
            return 0.0
        total: Tensor | float = 0.0
        for name, wanted in targets.features.items():
            error = (self.student.head(name)(x) - wanted).square().mean()
            total = total + error / wanted.var().clamp_min(1e-6)
        return self.settings.features_weight * total

    def _pixels(self, loss: Tensor, sigma: Tensor, colors: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        background = torch.rand(len(targets.rays), 3, generator=self.generator).to(sigma.device)
        seen = composite(sigma, colors, targets.samples, LEARNING_EARLY_STOP)
        wanted = targets.rgb + (1 - targets.opacity)[:, None] * background
        errors = (on_background(seen, background) - wanted).square().mean(1)
        return loss + errors.mean(), errors.detach()

    def _empty_points(self, samples: int) -> Tensor:
        """Points [P,3] anywhere the teacher is empty, so that the student is too where nothing is ever sampled."""
        x = torch.rand(max(int(samples * EMPTY_SHARE), 1), 3, generator=self.generator).to(self.student.device)
        return x[~self.teacher.occupied(x)]

    def _update_occupancy(self) -> None:
        """Look at the student in some cells; what the teacher occupies stays occupied."""
        grid = self.student.occupancy
        grid.update(self.student.density, self.generator, int(CELLS_PER_SAMPLE * self.budget * OCCUPANCY_EVERY))
        self._keep_teachers()

    def _keep_teachers(self) -> None:
        grid = self.student.occupancy
        grid.values.copy_(torch.where(self._teachers(), grid.values.clamp_min(2 * grid.threshold), grid.values))
        grid.changed()

    def _teachers(self) -> Tensor:
        return self.teacher.occupancy.occupied()

    def _union(self) -> Tensor:
        return self._teachers() | self.student.occupancy.occupied()

    def _groups(self) -> list[ParamGroup]:
        groups = [*self.student.field.param_groups(), *self.match.param_groups()]
        if self.student.appearance is not None:
            groups.append(ParamGroup("appearance", [self.student.appearance]))
        if not self.teacher.field.in_place:
            heads = {name: self.student.head(name) for name in self.student.heads}
            groups += [replace(g, name=f"{name}.{g.name}") for name, head in heads.items() for g in head.param_groups()]
        return groups

    def _account(
        self, loss: float, targets: Targets, errors: Tensor | None, stage: str, rate: float, start: float
    ) -> DistillEvent:
        now = self.progress
        self.check_finite(loss)
        if errors is not None and len(errors):
            now.note(float(errors.mean()))
        elapsed = time.perf_counter() - start
        now.step += 1
        now.seconds += elapsed
        now.settled = False
        return DistillEvent(
            now.step, loss, now.seconds, self.limits.seconds_left(now.step, now.seconds), rate,
            psnr=psnr_of(now.mean), stage=stage, samples_per_s=len(targets.samples) / max(elapsed, 1e-9),
            rays=len(targets.rays),
        )  # fmt: skip

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Arrays and plain values from which :meth:`start` goes on."""
        arrays, plain = loop_state("model", self.student, self.progress, self.optimizer, self.generator)
        return arrays | {f"match.{name}": array for name, array in self.match.state_dict().items()}, plain

    def _load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Poses, hard rays and kept answers are drawn anew."""
        load_model(self.student, checkpoint)
        self.prepare()
        load_arrays(self.match, checkpoint.part("match"), checkpoint.path)
        self.progress = restore_loop(checkpoint, DistillProgress, self.optimizer, self.generator)
        if self.progress.settled:  # what the teacher occupies is looked at again
            self._keep_teachers()


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Median of three calls after one to warm up."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[1]
