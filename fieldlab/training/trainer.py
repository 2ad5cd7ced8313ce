"""The training loop: random rays, a constant budget of samples per step, and all that is learnt along the way."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from fieldlab.data.cameras import Rays
from fieldlab.data.pose import PoseCorrections
from fieldlab.data.views import Views
from fieldlab.errors import ConfigError, DataError
from fieldlab.fields.base import FieldProgress, ParamGroup
from fieldlab.ops.distortion import distortion_loss
from fieldlab.render.model import BACKGROUNDS, RadianceModel, RayOutput
from fieldlab.render.seen import LEARNING_EARLY_STOP
from fieldlab.runs.checkpoint import Checkpoint, load_arrays, load_model
from fieldlab.runs.loop import Event, Loop, Progress
from fieldlab.training.carve import carve
from fieldlab.training.config import TrainConfig
from fieldlab.training.distributed import World
from fieldlab.training.emptiness import gains_after, hidden_opacity
from fieldlab.training.loader import RayBatch, RayLoader
from fieldlab.training.losses import photometric, psnr_of
from fieldlab.training.optimizer import Adam, restore_loop
from fieldlab.training.schedule import Schedule

SAMPLES_PER_STEP = {"cpu": 1 << 16, "cuda": 1 << 18}
MARCHED_PER_TRAINED = 4  # samples marched per sample trained on, at most: bounds memory while everything is occupied
CELLS_PER_SAMPLE = 0.25  # occupancy cells evaluated per sample trained on: about a tenth of the work
UNKNOWN_PER_SAMPLE = 0.5  # the same while there are cells nobody has looked at
COARSE_STEPS = 4.0  # most that steps along rays are lengthened
SAMPLES_PER_RAY = 128  # they are while rays would take more, which is as long as most of space is occupied
SCALE_STRENGTH = 0.2  # with which that changes at a time
MIN_RAYS = 64
MAX_RAYS = 1 << 18


@dataclass(frozen=True)
class TrainEvent(Event):
    """How training stands after a step; ``psnr`` is a running average over training rays, in dB."""

    psnr: float
    samples_per_s: float
    rays: int

    def describe(self) -> str:
        return f"PSNR {self.psnr:.2f} dB, {self.samples_per_s / 1e6:.2f} M samples/s"


@dataclass
class TrainProgress(Progress):
    """Counters of training; the running average is of the mean squared error."""

    rays: int = 256
    samples: int = 0
    kept_fraction: float = 0.0
    cells_due: float = 0.0
    looking: bool = True
    step_scale: float = COARSE_STEPS
    gains: list[float] = field(default_factory=list)


class Trainer(Loop[TrainEvent]):
    """Trains a model on photographs.

    Args:
        model: on the device it shall be trained on.
        views: the training photographs.
        config: settings.
        world: the processes that train together.
        teacher: a trained model of the same scene from which the field is initialised; None to begin at random.

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
        self.optimizer = Adam(self._groups())
        self.budget = config.samples_per_step or SAMPLES_PER_STEP[model.device.type]
        self.hull = config.hull and views.channels == 4
        self._check_rays()

    @property
    def model(self) -> RadianceModel:
        return self._model

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
        loss, mse, out = self._forward(batch, jitter, background, now.rays * self.world.size)
        if loss.requires_grad:
            loss.backward()
        self.world.sum_gradients(self.optimizer.parameters() if self.world.size > 1 else ())
        self.model.field.regularize(fraction)  # once, whatever the number of processes
        rate = self.schedule.learning_rate(now.step, fraction)
        self.optimizer.step(rate)
        if (now.step + 1) % self.config.occupancy_every == 0:
            self._judge(out, batch.rays)
        return self._account(float(loss.detach()), mse, out, rate, start)

    def _forward(
        self, batch: RayBatch, jitter: Tensor, background: Tensor, total: int
    ) -> tuple[Tensor, float, RayOutput]:
        """Loss (this process's share of the mean over ``total`` rays), mean squared error, and what was rendered."""
        images = batch.cameras if self.model.appearance is not None else None
        prune = self.config.prune and self._pruning_pays()
        out = self.model(
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
        loss = photometric(self.config.loss, out.rgb, target).sum() / total
        if out.coarse_rgb is not None:
            loss = loss + photometric(self.config.loss, out.coarse_rgb, target).sum() / total
        if self.config.distortion:
            loss = loss + self.config.distortion * distortion_loss(out.weights, out.samples).sum() / total
        with torch.no_grad():
            mse = float((out.rgb - target).square().mean())
        return loss, mse, out

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
            background = torch.tensor(BACKGROUNDS[self.config.background]).expand(rays, 3)
        poses = None if self.poses is None else self.poses(self.loader.cameras.camera_to_world)
        device = self.model.device
        return self.loader.batch(positions, poses), jitter.to(device), background.to(device)

    def _account(self, loss: float, mse: float, out: RayOutput, rate: float, start: float) -> TrainEvent:
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
        now.rays = self._next_rays(trained / rays, marched / rays)
        return TrainEvent(
            now.step, loss, now.seconds, self.limits.seconds_left(now.step, now.seconds), rate,
            psnr=psnr_of(now.mean), samples_per_s=trained / max(elapsed, 1e-9), rays=rays,
        )  # fmt: skip

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
        if now.step > self.config.occupancy_warmup and now.step % self.config.occupancy_every == 0:
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
        """Arrays and plain values from which :meth:`start` goes on exactly."""
        arrays = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.state().items()}
        if self.poses is not None:
            arrays |= {f"poses.{name}": array for name, array in self.poses.state_dict().items()}
        arrays["random_state"] = self.generator.get_state()
        return arrays, {"progress": asdict(self.progress), "optimizer_steps": self.optimizer.step_count}

    def _load(self, checkpoint: Checkpoint) -> None:
        load_model(self.model, checkpoint)
        self.optimizer.regroup(self._groups())
        if self.poses is not None:
            load_arrays(self.poses, checkpoint.part("poses"), checkpoint.path)
        self.progress = restore_loop(checkpoint, TrainProgress, self.optimizer, self.generator)
        if self.progress.gains:
            self.model.occupancy.gains = torch.tensor(self.progress.gains)
