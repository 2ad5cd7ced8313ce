"""Active learning (PVD-AL, Fang et al. 2023): looking again where the student is worst."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, Rays
from fieldlab.distill.poses import PoseSource

HARD = 0.1  # share of poses and rays that are hard, and of a batch that is drawn from them
JITTER = math.pi / 20  # how far hard poses are turned
POOL = 1 << 16  # rays


class Poses:
    """The poses that rays are drawn from, a new set every epoch, of which a tenth are near the hardest before.

    Args:
        source: where new poses come from.
        real: the photographs' cameras.
        count: poses of an epoch.
        real_share: how many of them are photographs' own.
        active: whether to look again at hard ones.
    """

    def __init__(self, source: PoseSource, count: int, real_share: float, active: bool) -> None:
        self.source, self.count, self.active = source, count, active
        self.n_real = round(count * real_share)
        self.epoch = 0
        self.cameras: Cameras | None = None
        self.drawn: Tensor | None = None  # poses [N,3,4] as they were before any was turned
        self.error = torch.zeros(count)
        self.rays = torch.zeros(count)

    def renew(self, generator: torch.Generator) -> None:
        """Draw the next epoch's poses."""
        before, source = self.cameras, self.source
        made = [source.draw(self.count - self.n_real, generator)]
        if self.n_real:
            chosen = torch.randint(len(source.cameras), (self.n_real,), generator=generator)
            made.append(source.cameras[chosen])
        cameras = Cameras.concatenate(made)
        drawn = cameras.camera_to_world
        if self.active and before is not None:
            hard, origin = self._hardest(before, generator)
            cameras = Cameras.concatenate([hard, cameras[len(hard) :]])
            drawn = torch.cat((origin, drawn[len(hard) :]))
        self.cameras, self.drawn = cameras, drawn
        self.epoch += 1
        self.error.zero_()
        self.rays.zero_()

    def _hardest(self, before: Cameras, generator: torch.Generator) -> tuple[Cameras, Tensor]:
        """The hardest poses, turned a little from where they were drawn first, so that they do not wander off."""
        from dataclasses import replace

        assert self.drawn is not None
        mean = self.error / self.rays.clamp_min(1)
        worst = mean.topk(max(round(self.count * HARD), 1)).indices
        origin = self.drawn[worst]
        return replace(before[worst], camera_to_world=self.source.jittered(origin, JITTER, generator)), origin

    def draw(self, n: int, generator: torch.Generator) -> tuple[Rays, Tensor]:
        """n random rays and int64 [n] the poses they belong to."""
        if self.cameras is None:
            self.renew(generator)
        assert self.cameras is not None
        index = torch.randint(self.count, (n,), generator=generator)
        pixels = torch.rand(n, 2, generator=generator) * self.cameras.size[index]
        return self.cameras.rays(index, pixels), index

    def note(self, poses: Tensor, errors: Tensor) -> None:
        """Remember the errors [n] of rays of ``poses`` int64 [n]; -1 belongs to none."""
        mine = poses >= 0
        self.error.index_add_(0, poses[mine], errors[mine])
        self.rays.index_add_(0, poses[mine], torch.ones_like(errors[mine]))


class HardRays:
    """A pool of the rays that were hardest in their batches; when it is full new ones take random places."""

    def __init__(self) -> None:
        self.origins, self.directions = torch.empty(POOL, 3), torch.empty(POOL, 3)
        self.count = 0

    def draw(self, n: int, generator: torch.Generator) -> Rays:
        """Up to n random rays of the pool, none before it is a quarter full."""
        if self.count < POOL // 4:
            n = 0
        index = torch.randint(max(self.count, 1), (n,), generator=generator)
        return Rays(self.origins[index], self.directions[index])

    def offer(self, rays: Rays, errors: Tensor, generator: torch.Generator) -> None:
        """Take the hardest tenth of rays [N] with errors [N]."""
        worst = errors.topk(max(round(len(errors) * HARD), 1)).indices if len(errors) else errors.long()
        free = min(POOL - self.count, len(worst))
        where = torch.randint(POOL, (len(worst),), generator=generator)
        where[:free] = torch.arange(self.count, self.count + free)
        self.origins[where], self.directions[where] = rays.origins[worst], rays.directions[worst]
        self.count += free
