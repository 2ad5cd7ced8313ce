"""Importance sampling along rays: fine samples where coarse ones found weight (Mildenhall et al. 2020, section 5.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation
from fieldlab.ops.samples import Samples, offsets_of, packed


def importance_sample(
    samples: Samples, weights: Tensor, n: int, jitter: Tensor | None = None, padding: float = 0.0
) -> Samples:
    """New samples on each ray, distributed as the weights of others, which are taken to be constant within a sample.

    The k-th new sample lies where the fraction (k + jitter) / n of the ray's weight is in front of it. Neighbors meet
    halfway between, the outermost edges mirror the inner ones (as in nerfacc), and all stay within the given samples:
    none reaches across a gap between them. A ray without weight is sampled as if its samples weighed the same.

    Args:
        samples: S samples of N rays.
        weights: float32 [S], at least 0; not differentiated.
        n: new samples per ray, at least 1. Rays without samples get none.
        jitter: float32 [N] in [0,1), or None for the middles.
        padding: added to every weight (Barron et al. 2021, section 3.3, blurs and pads by 0.01), so that no place is
            overlooked for good.

    Raises:
        ConfigError: ``n``, ``padding``, or the number of weights or jitters is wrong.
    """
    if n < 1 or padding < 0:
        raise ConfigError("importance sampling needs samples and no negative weight", found=(n, padding))
    if weights.shape != samples.t_starts.shape:
        raise ConfigError("importance sampling needs a weight per sample", found=len(weights), expected=len(samples))
    if jitter is not None and jitter.shape != (samples.n_rays,):
        raise ConfigError("importance sampling needs a jitter per ray", found=len(jitter), expected=samples.n_rays)
    weights = weights.detach()
    if not native.active(weights):
        return importance_sample_reference(samples, weights, n, jitter, padding)
    offsets = offsets_of((samples.counts > 0) * n)
    return Samples(offsets, *_importance_sample(
        samples.ray_offsets, samples.t_starts, samples.t_ends, weights, offsets, jitter, n, padding,
        n * int(torch.count_nonzero(samples.counts)),
    ))  # fmt: skip


def importance_sample_reference(
    samples: Samples, weights: Tensor, n: int, jitter: Tensor | None = None, padding: float = 0.0
) -> Samples:
    """The same in plain PyTorch."""
    counts, rays = samples.counts, samples.ray_indices
    new_rays = (counts > 0).nonzero()[:, 0]
    mass = weights.double() + padding
    total = mass.new_zeros(len(counts)).index_add(0, rays, mass)
    mass = torch.where(total[rays] > 0, mass, 1.0)
    total = torch.where(total > 0, total, counts.double())
    share = mass / total[rays]
    # One searchable sequence for all rays: the weight in front of each sample's end, plus the ray's number.
    passed = share.cumsum(0)
    passed = passed - (passed - share)[samples.ray_offsets[rays]]
    shift = 0.5 if jitter is None else jitter[new_rays, None].double()
    u = (torch.arange(n, device=mass.device) + shift) / n * mass.new_ones(len(new_rays), 1)
    at = torch.searchsorted(passed + rays, (u + new_rays[:, None]).contiguous())
    at = at.clamp(samples.ray_offsets[new_rays, None], samples.ray_offsets[new_rays + 1, None] - 1)
    part = ((u - passed[at] + share[at]) / share[at].clamp_min(1e-300)).clamp(0, 1).to(weights.dtype)
    t = samples.t_starts[at] + samples.lengths[at] * part
    starts, ends = _edges(t, at, samples)
    return Samples(offsets_of((counts > 0) * n), starts.flatten(), ends.flatten(), new_rays.repeat_interleave(n))


def _edges(t: Tensor, at: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """Edges [R,n] of new samples at distances t [R,n] within the given samples ``at`` [R,n]."""
    if not t.numel():
        return t, t
    begins = torch.ones_like(samples.ray_indices, dtype=torch.bool)  # where a stretch without gaps begins
    begins[1:] = samples.t_starts[1:] > samples.t_ends[:-1]
    begins[1:] |= samples.ray_indices[1:] != samples.ray_indices[:-1]
    first = begins.nonzero()[:, 0]
    last = torch.cat([first[1:], first.new_tensor([len(samples)])]) - 1
    run = (begins.cumsum(0) - 1)[at]
    run_start, run_end = samples.t_starts[first][run], samples.t_ends[last][run]
    edges, together = 0.5 * (t[:, 1:] + t[:, :-1]), run[:, 1:] == run[:, :-1]
    starts, ends = run_start.clone(), run_end.clone()
    starts[:, 1:] = torch.where(together, edges, run_start[:, 1:])
    ends[:, :-1] = torch.where(together, edges, run_end[:, :-1])
    if t.shape[1] > 1:
        ends[:, -1] = (2 * t[:, -1] - starts[:, -1]).maximum(t[:, -1]).minimum(run_end[:, -1])
        starts[:, 0] = (2 * t[:, 0] - ends[:, 0]).minimum(t[:, 0]).maximum(run_start[:, 0])
    return starts, ends


@operation("importance_sample")
def _importance_sample(
    ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor, weights: Tensor, offsets: Tensor, jitter: Tensor | None,
    n: int, padding: float, total: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    starts, ends, indices = t_starts.new_empty(total), t_starts.new_empty(total), ray_offsets.new_empty(total)
    weights, jitter = weights.contiguous(), None if jitter is None else jitter.contiguous()
    native.library.importance_sample(
        native.target(t_starts),
        samples=packed(ray_offsets, t_starts, t_ends),
        weights=native.pointer(weights),
        padding=padding,
        n=n,
        jitter=native.pointer(jitter),
        offsets=native.pointer(offsets, torch.int64),
        t_starts=native.pointer(starts),
        t_ends=native.pointer(ends),
        ray_indices=native.pointer(indices, torch.int64),
    )
    return starts, ends, indices


@_importance_sample.register_fake
def _(ray_offsets, t_starts, t_ends, weights, offsets, jitter, n, padding, total):
    return t_starts.new_empty(total), t_starts.new_empty(total), ray_offsets.new_empty(total)
