"""What the teacher says of samples along rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.data.cameras import Rays
from fieldlab.ops.samples import Samples
from fieldlab.render.model import RadianceModel
from fieldlab.render.seen import LEARNING_EARLY_STOP, visible_samples

SEEN = 1e-3  # weight below which a sample has no color worth comparing
SHARE = 0.3  # of a ray's samples that are influential
OPAQUE = 0.5  # opacity from which a ray has influential samples


@dataclass
class Targets:
    """What N rays and their S samples look like to the teacher; the samples are those that it sees.

    Args:
        rays: N rays.
        samples: S samples of them.
        x: field coordinates [S,3].
        directions: [S,3].
        images: int64 [N] whose appearance each ray has, or None.
        log_density: [S].
        weights: [S] of compositing.
        seen: int64 [K], which samples have a weight worth comparing.
        latent: [K,G] of these.
        colors: [K,3] of these.
        rgb: [N,3], composited in front of nothing.
        opacity: [N].
        poses: int64 [N], which pose each ray belongs to; -1 for others.
        n_marched: samples before those behind surfaces were dropped.
        features: of the seen samples, [K,D] by the name of their head, where they were not learnt in place.
        epoch: of the poses.
    """

    rays: Rays
    samples: Samples
    x: Tensor
    directions: Tensor
    images: Tensor | None
    log_density: Tensor
    weights: Tensor
    seen: Tensor
    latent: Tensor
    colors: Tensor
    rgb: Tensor
    opacity: Tensor
    poses: Tensor
    n_marched: int
    features: dict[str, Tensor]
    epoch: int

    def influential(self, own_weights: Tensor) -> Tensor:
        """bool [K] of the seen samples: those among the SHARE with the largest weights on their rays, to the teacher or
        by ``own_weights`` [S], on rays that are not transparent."""
        chosen = top_of_rays(self.weights, self.samples, SHARE) | top_of_rays(own_weights, self.samples, SHARE)
        opaque = self.opacity[self.samples.ray_indices] >= OPAQUE
        return (chosen & opaque)[self.seen]


@torch.no_grad()
def find_targets(
    teacher: RadianceModel, rays: Rays, samples: Samples, images: Tensor | None, poses: Tensor, epoch: int = 0
) -> Targets:
    """Ask the teacher about samples of rays of poses that were drawn in an ``epoch``."""
    field = teacher.field
    log_density, latent = field.geometry(teacher.points(rays, samples)[0])
    reached = visible_samples(samples, field.sigma(log_density), LEARNING_EARLY_STOP)
    index = reached.visible.nonzero()[:, 0]
    samples, log_density = reached.samples, log_density[index]
    x, directions = teacher.points(rays, samples)
    weights = reached.composite().weights
    seen = (weights > SEEN).nonzero()[:, 0]
    latent = rows(latent, index[seen])
    appearance = teacher.appearance_of(images, samples, len(x))
    appearance = None if appearance is None else appearance[seen]
    colors = field.color(latent, rows(x, seen), rows(directions, seen), appearance)
    everywhere = colors.new_zeros(len(x), 3)
    everywhere[seen] = colors
    whole = reached.composite(everywhere)
    return Targets(
        rays, samples, x, directions, images, log_density, weights, seen, latent[:, : field.n_compared], colors,
        whole.values, whole.opacity, poses, reached.n_marched, _moved_features(teacher, rows(x, seen)), epoch,
    )  # fmt: skip


def _moved_features(teacher: RadianceModel, x: Tensor) -> dict[str, Tensor]:
    """What a student's heads have to learn, since what they read was learnt somewhere else; other heads are copies."""
    if teacher.field.in_place or not teacher.heads:
        return {}
    there = teacher.field.source(x)
    return {name: teacher.head(name)(there) for name in teacher.heads}


def rows(values: Tensor, index: Tensor) -> Tensor:
    """``values[index]`` of [S,C], as native operations like it: feature by feature."""
    return values.t().index_select(1, index).t()


def top_of_rays(weights: Tensor, samples: Samples, share: float) -> Tensor:
    """bool [S]: whether a sample is among the ``share`` of its ray's samples, rounded up, with the largest weights."""
    order = (samples.ray_indices.double() * 2 - weights.double()).argsort()  # weights are at most 1
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    rank = place - samples.ray_offsets[samples.ray_indices]
    most = (samples.counts.double() * share).ceil().long()
    return rank < most[samples.ray_indices]
