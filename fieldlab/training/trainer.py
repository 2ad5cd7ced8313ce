"""The training loop: random rays, a constant budget of samples per step, and all that is learnt along the way."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from fieldlab.data.background import background_color
from fieldlab.data.cameras import Rays
from fieldlab.data.pose import PoseCorrections
from fieldlab.data.views import Views
from fieldlab.errors import ConfigError, DataError
from fieldlab.fields.base import FieldProgress, ParamGroup
from fieldlab.render.model import RadianceModel, RayOutput
from fieldlab.render.seen import LEARNING_EARLY_STOP
from fieldlab.runs.checkpoint import Checkpoint, load_arrays, load_model
from fieldlab.runs.loop import Event, Loop, Progress
from fieldlab.training.carve import carve
from fieldlab.training.config import TrainConfig
from fieldlab.training.distributed import World
from fieldlab.training.emptiness import gains_after, hidden_opacity
from fieldlab.training.exposure import DIFFERENT, RATE, Exposures, Residuals
from fieldlab.training.loader import RayBatch, RayLoader
from fieldlab.training.losses import photometric, psnr_of, spread
from fieldlab.training.optimizer import Adam, restore_loop
from fieldlab.training.schedule import Schedule
from fieldlab.training.validation import FALL, Validation

SAMPLES_PER_STEP = {"cpu": 1 << 15, "cuda": 1 << 18}
MARCHED_PER_TRAINED = 4  # samples marched per sample trained on, at most: bounds memory while everything is occupied
CELLS_PER_SAMPLE = 0.25  # occupancy cells evaluated per sample trained on: about a tenth of the work
UNKNOWN_PER_SAMPLE = 0.5  # the same while there are cells nobody has looked at
LOOKING = 4  # times as often is the grid updated meanwhile
COARSE_STEPS = 12.0  # most that steps along rays are lengthened
SAMPLES_PER_RAY = 48  # they are while rays would take more, which is as long as most of space is occupied
SCALE_STRENGTH = 0.2  # with which that changes at a time
MIN_RAYS = 64
MAX_RAYS = 1 << 18


@dataclass(frozen=True)
class TrainEvent(Event):
    """How training stands after a step.

    Args:
        psnr: a running average over training rays, in dB.
        validation: PSNR of held-out photographs when they were last asked, in dB; None without.
    """

    psnr: float
    samples_per_s: float
    rays: int
    validation: float | None = None

    def describe(self) -> str:
        held = "" if self.validation is None else f", {self.validation:.2f} dB held out"
        return f"PSNR {self.psnr:.2f} dB{held}, {self.samples_per_s / 1e6:.2f} M samples/s"


@dataclass
class TrainProgress(Progress):
    """Counters of training; the running average is of the mean squared error. ``validation`` is the PSNR of held-out
    photographs in dB as it was last, after ``validated_step``; ``best_step`` is that of the checkpoint that is best on
    them."""

    rays: int = 256
    samples: int = 0
    kept_fraction: float = 0.0
    cells_due: float = 0.0
    looking: bool = True
    step_scale: float = COARSE_STEPS
    gains: list[float] = field(default_factory=list)
    validation: float | None = None
    validated_step: int = -1
    best_validation: float | None = None
    best_step: int | None = None


class Trainer(Loop[TrainEvent]):
    """Trains a model on photographs.

    Args:
        model: on the device it shall be trained on.
        views: the training photographs.
        config: settings.
        world: the processes that train together.
        teacher: a trained model of the same scene from which the field is initialised; None to begin at random.
        validation: photographs that are not trained on but tell how good training is; None without.

    Raises:
        DataError: no training views, all pixels masked, or no ray meets the box.
    """

    def __init__(
        self,
        model: RadianceModel,
        views: Views,
        config: TrainConfig,
        world: World | None = None,
        teacher: RadianceModel | None = None,
        validation: Views | None = None,
    ) -> None:
        self._model, self.config, self.world, self.teacher = model, config, world or World(), teacher
        self.limits = self.schedule = Schedule(config)
        self.progress: TrainProgress = TrainProgress()
        self.views = views
        limit = config.device_memory_gb
        self.loader = RayLoader(views, model.device, None if limit is None else int(limit * 2**30))
        self.generator = torch.Generator().manual_seed(config.seed)
        self.poses = PoseCorrections(len(views), model.field.unit_length) if config.pose_refinement else None
        if self.poses is not None:
            self.poses.to(model.device)
        self.exposures: Exposures | None = None
        self.residuals = Residuals(len(views)) if config.exposure == "auto" else None
        if config.exposure == "on":
            self._expose()
        self.optimizer = Adam(self._groups())
        self.budget = config.samples_per_step or SAMPLES_PER_STEP[model.device.type]
        self.hull = config.hull and views.channels == 4
        self._check_rays()
        asks = validation is not None and self.world.rank == 0
        self.validation = Validation(validation, model) if asks and validation is not None else None

    @property
    def model(self) -> RadianceModel:
        return self._model

    @property
    def best_step(self) -> int | None:
        return self.progress.best_step

    def _start(self, resume: Checkpoint | None) -> list[str]:
        """Initialise from the teacher, and find the cells that can hold anything: those some camera sees, inside the
        visual hull. Like loading, this does not count as training time.

        Raises:
            ConfigError: the teacher covers another box, or the field cannot use it.
            CheckpointError: the checkpoint does not fit.
        """
        words = []
        if resume is not None:
            self._load(resume)
        elif self.teacher is not None:
            words = self._begin_from(self.teacher)
        if self.progress.step == 0:
            carve(self.model.occupancy, self.views, hull=self.hull)
            self.model.occupancy.forget()
            if self.hull:  # most of space is empty from the beginning
                self.progress.step_scale = 1.0
        return words

    def _begin_from(self, teacher: RadianceModel) -> list[str]:
        mine, other = self.model.config, teacher.config
        if (mine.aabb, mine.unbounded) != (other.aabb, other.unbounded):
            raise ConfigError("the teacher covers another box", field="aabb", found=other.aabb, expected=mine.aabb)
        field = self.model.field
        done = field.begin_from(teacher.field, teacher.occupied, self.generator)
        if not done:
            raise ConfigError("this field cannot begin from that one", field=field.kind, hint="leave --teacher out")
        self.optimizer.regroup(self._groups())
        return [f"from the teacher: {words}" for words in done]

    def step(self) -> TrainEvent:
        """One step of training: rays, samples, loss, derivatives, Adam, and from time to time the occupancy grid."""
        now, start = self.progress, time.perf_counter()
        fraction = self.schedule.fraction(now.step, now.seconds)
        if self.model.field.schedule(self._field_progress(fraction)):
            self.optimizer.regroup(self._groups())
        self.model.step_scale = now.step_scale
        self._update_occupancy()
        batch, jitter, background = self._draw(now.rays)
        ramp = self.schedule.ramp(fraction)
        loss, mse, out = self._forward(batch, jitter, background, now.rays * self.world.size, ramp)
        if loss.requires_grad:
            loss.backward()
        self.world.sum_gradients(self.optimizer.parameters() if self.world.size > 1 else ())
        self.model.field.regularize(fraction)  # once, whatever the number of processes
        rate = self.schedule.learning_rate(now.step, fraction)
        self.optimizer.step(rate)
        news = ""
        if (now.step + 1) % self.config.occupancy_every == 0:
            self._judge(out, batch.rays)
            news = self._compare_exposures()
        return self._account(float(loss.detach()), mse, out, rate, start, news)

    def _compare_exposures(self) -> str:
        """Whether photographs differ as wholes; says so when they do."""
        if self.residuals is None:
            return ""
        [share] = self.world.sum([self.residuals.share() / self.world.size])
        if share < DIFFERENT:
            return ""
        self._expose()
        self.optimizer.regroup(self._groups())
        return (
            f"the photographs differ in exposure or white balance ({share:.0%} of the error): each gets a map of "
            "colors of its own (exposure)"
        )

    def _forward(
        self, batch: RayBatch, jitter: Tensor, background: Tensor, total: int, ramp: float
    ) -> tuple[Tensor, float, RayOutput]:
        """Loss (this process's share of the mean over ``total`` rays), mean squared error, and what was rendered."""
        images = batch.cameras if self.model.appearance is not None else None
        prune = self.config.prune and self._pruning_pays()
        out: RayOutput = self.model(
            batch.rays,
            background,
            jitter=jitter,
            images=images,
            prune=prune,
            hierarchical=True,
            early_stop=LEARNING_EARLY_STOP,
            full_gradient=self.model.config.content,
        )
        target = batch.target(background)
        rgb = self._as_photographed(out.rgb, batch.cameras)
        loss = photometric(self.config.loss, rgb, target).sum() / total
        if out.coarse_rgb is not None:
            coarse = self._as_photographed(out.coarse_rgb, batch.cameras)
            loss = loss + photometric(self.config.loss, coarse, target).sum() / total
        if self.config.distortion and ramp:
            begins = self.model.config.content or self.model.config.near
            loss = loss + self.config.distortion * ramp * spread(out.weights, out.samples, begins).sum() / total
        if self.config.opacity and ramp:
            loss = loss + self.config.opacity * ramp * out.opacity.sum() / total
        with torch.no_grad():
            error = rgb - target
            mse = float(error.square().mean())
            if self.residuals is not None:
                self.residuals.note(batch.cameras, error, target)
        return loss, mse, out

    def _as_photographed(self, rgb: Tensor, images: Tensor) -> Tensor:
        return rgb if self.exposures is None else self.exposures(rgb, images)

    def _expose(self) -> None:
        """Let photographs differ in exposure and white balance from here on."""
        self.exposures, self.residuals = Exposures(len(self.views)).to(self.model.device), None

    def _draw(self, rays: int) -> tuple[RayBatch, Tensor, Tensor]:
        """This process's share of the step's rays; every process draws them all, so that their number does not matter
        for the result."""
        total = rays * self.world.size
        mine = slice(self.world.rank * rays, (self.world.rank + 1) * rays)
        positions = self.loader.draw(total, self.generator)[mine]
        jitter = torch.rand(total, generator=self.generator)[mine]
        if self.config.background == "random":
            background = torch.rand(total, 3, generator=self.generator)[mine]
        else:
            background = torch.tensor(background_color(self.config.background)).expand(rays, 3)
        poses = None if self.poses is None else self.poses(self.loader.cameras.camera_to_world)
        device = self.model.device
        return self.loader.batch(positions, poses), jitter.to(device), background.to(device)

    def _account(self, loss: float, mse: float, out: RayOutput, rate: float, start: float, news: str) -> TrainEvent:
        now, size = self.progress, self.world.size
        elapsed = time.perf_counter() - start
        trained, marched, mse, loss, elapsed, stop = self.world.sum(
            [len(out.samples), out.n_marched, mse / size, loss, elapsed / size, float(self.stop_requested)]
        )
        self.stop_requested = stop > 0
        self.check_finite(loss)
        rays = now.rays * size
        now.step += 1
        now.seconds += elapsed
        now.samples += int(trained)
        if now.step > self.config.occupancy_warmup:
            share = UNKNOWN_PER_SAMPLE if now.looking else CELLS_PER_SAMPLE
            now.cells_due = max(now.cells_due, 0.0) + share * trained
        now.note(mse)
        if out.n_marched > len(out.samples):
            now.kept_fraction = trained / max(marched, 1)
        if self.validation is not None and self.validation.due(now.seconds):
            self._validate()
        now.rays = self._next_rays(trained / rays, marched / rays)
        return TrainEvent(
            now.step, loss, now.seconds, self.limits.seconds_left(now.step, now.seconds), rate,
            psnr=psnr_of(now.mean), samples_per_s=trained / max(elapsed, 1e-9), rays=rays, validation=now.validation,
            news=news,
        )  # fmt: skip

    def _validate(self) -> float | None:
        """Ask the held-out photographs, once per step; PSNR in dB, None without any."""
        now = self.progress
        if self.validation is not None and now.validated_step != now.step:
            now.validation, now.validated_step = self._ask(self.validation), now.step
        return now.validation

    def _ask(self, validation: Validation) -> float:
        return validation.psnr(self.progress.seconds, fit_colors=self.exposures is not None)

    @property
    def gap(self) -> float:
        """By how many dB held-out photographs are worse than training rays; 0 where nobody knows."""
        now = self.progress
        return 0.0 if now.validation is None else psnr_of(now.mean) - now.validation

    def _next_rays(self, trained: float, marched: float) -> int:
        """Rays per process for the next step from samples per ray in this one, changing at most twofold."""
        wanted = min(self.budget / max(trained, 1e-3), MARCHED_PER_TRAINED * self.budget / max(marched, 1e-3))
        wanted = min(max(wanted, self.progress.rays / 2), self.progress.rays * 2)
        return int(min(max(wanted, MIN_RAYS), MAX_RAYS))

    def _pruning_pays(self) -> bool:
        """A density pass costs about a third of training on a sample; look again every 16 steps."""
        return self.progress.kept_fraction < 0.7 or self.progress.step % 16 == 0

    def _update_occupancy(self) -> None:
        now, grid = self.progress, self.model.occupancy
        # All of space is looked at in small parts, so that no step takes long.
        every = max(self.config.occupancy_every // LOOKING, 1) if now.looking else self.config.occupancy_every
        if now.step > self.config.occupancy_warmup and now.step % every == 0:
            now.cells_due -= grid.update(self.model.density, self.generator, int(now.cells_due))
            now.looking = grid.unknown

    def _judge(self, out: RayOutput, rays: Rays) -> None:
        """From what a step's rays saw: how faint cells may be to be emptied, and how long steps along rays are."""
        now, grid = self.progress, self.model.occupancy
        total = len(rays) * self.world.size
        before = grid.gains if now.gains else None
        grid.gains = gains_after(before, hidden_opacity(out, rays, grid), total, self.world)
        now.gains = grid.gains.tolist()
        [marched] = self.world.sum([out.n_marched])
        wanted = min(max(now.step_scale * marched / total / SAMPLES_PER_RAY, 1.0), COARSE_STEPS)
        now.step_scale += SCALE_STRENGTH * (wanted - now.step_scale)

    def _field_progress(self, fraction: float) -> FieldProgress:
        return FieldProgress(self.progress.step, fraction, self.model.occupied, self.generator, self.model.field)

    def _groups(self) -> list[ParamGroup]:
        groups = list(self.model.field.param_groups())
        if self.model.appearance is not None:
            groups.append(ParamGroup("appearance", [self.model.appearance]))
        if self.exposures is not None:
            groups.append(ParamGroup("exposures", list(self.exposures.parameters()), lr_scale=RATE))
        if self.poses is not None:
            groups.append(ParamGroup("poses", list(self.poses.parameters()), lr_scale=0.05))
        return groups

    def _check_rays(self, n: int = 4096) -> None:
        """Stop early when no photograph looks at the box; say nothing of a few rays that miss it."""
        from fieldlab.ops.ray_box import ray_box

        batch = self.loader.batch(self.loader.draw(n, torch.Generator().manual_seed(0)))
        rays: Rays = batch.rays
        _, _, hit = ray_box(rays.origins, rays.directions, self.model.outer_box)
        self.rays_in_box = float(hit.float().mean())
        if self.rays_in_box == 0:
            raise DataError(
                "all rays miss the box of the scene",
                field="aabb",
                found=self.model.config.aabb,
                hint="give a box that the cameras look at, or none, so that it is found from the data",
            )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Arrays and plain values from which :meth:`start` goes on exactly. The held-out photographs are asked whether
        no state was better."""
        now, found = self.progress, self._validate()
        if found is not None and (now.best_validation is None or found >= now.best_validation - FALL):
            now.best_step, now.best_validation = now.step, max(found, now.best_validation or found)
        arrays = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.state().items()}
        if self.poses is not None:
            arrays |= {f"poses.{name}": array for name, array in self.poses.state_dict().items()}
        for part, module in (("exposures", self.exposures), ("residuals", self.residuals)):
            if module is not None:
                arrays |= {f"{part}.{name}": array for name, array in module.state_dict().items()}
        arrays["random_state"] = self.generator.get_state()
        return arrays, {"progress": asdict(self.progress), "optimizer_steps": self.optimizer.step_count}

    def _load(self, checkpoint: Checkpoint) -> None:
        load_model(self.model, checkpoint)
        if exposures := checkpoint.part("exposures"):
            self._expose()
            assert self.exposures is not None
            load_arrays(self.exposures, exposures, checkpoint.path)
        elif self.residuals is not None and (residuals := checkpoint.part("residuals")):
            load_arrays(self.residuals, residuals, checkpoint.path)
        self.optimizer.regroup(self._groups())
        if self.poses is not None:
            load_arrays(self.poses, checkpoint.part("poses"), checkpoint.path)
        self.progress = restore_loop(checkpoint, TrainProgress, self.optimizer, self.generator)
        if self.progress.gains:
            self.model.occupancy.gains = torch.tensor(self.progress.gains)
