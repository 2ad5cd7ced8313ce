"""Rays, grids and packed samples that several test modules draw on, and a comparison of marched samples."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldlab.ops.samples import Samples, offsets_of

CUBE = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def random_rays(n: int, seed: int, distance: float = 3.0, spread: float = 1.4) -> tuple[Tensor, Tensor]:
    """Rays from a sphere around the cube towards points in it."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randn(n, 3, generator=generator)
    origins = distance * torch.nn.functional.normalize(origins, dim=-1)
    targets = (torch.rand(n, 3, generator=generator) - 0.5) * spread
    return origins, torch.nn.functional.normalize(targets - origins, dim=-1)


def random_mask(levels: int, resolution: int, fraction: float, seed: int) -> Tensor:
    """Cells occupied independently of each other."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((levels,) + (resolution,) * 3, generator=generator) < fraction


def shell_mask(resolution: int) -> Tensor:
    """A hollow sphere and a ball, as a trained scene might look."""
    x = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    p = torch.stack(torch.meshgrid(x, x, x, indexing="ij"), -1)
    shell = (p.norm(dim=-1) - 0.6).abs() < 0.06
    return (shell | ((p - torch.tensor([0.1, 0.2, 0.0])).norm(dim=-1) < 0.3))[None]


def random_samples(counts: list[int] | Tensor, seed: int) -> Samples:
    """Samples with gaps between some of them; counts may be zero."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.as_tensor(counts, dtype=torch.int64)
    total = int(counts.sum())
    offsets = offsets_of(counts)
    indices = torch.repeat_interleave(torch.arange(len(counts)), counts)
    lengths = torch.rand(total, generator=generator) * 0.1 + 0.01
    gaps = (torch.rand(total, generator=generator) - 0.5).clamp_min(0) * 0.1
    ends = (lengths + gaps).double().cumsum(0)
    ends = ends - torch.cat([ends.new_zeros(1), ends])[offsets[indices]] + 0.5
    ends = ends.float()
    return Samples(offsets, ends - lengths, ends, indices)


def moved(samples: Samples, device: torch.device, dtype: torch.dtype = torch.float32) -> Samples:
    """The samples on another device, with distances in another type."""
    return Samples(
        samples.ray_offsets.to(device),
        samples.t_starts.to(device, dtype),
        samples.t_ends.to(device, dtype),
        samples.ray_indices.to(device),
    )


def differences(a: Samples, b: Samples, tolerance: float) -> int:
    """How many samples of either have no partner in the other: same ray, and start and end within the tolerance."""
    return _without_partner(a, b, tolerance) + _without_partner(b, a, tolerance)


def _without_partner(a: Samples, b: Samples, tolerance: float) -> int:
    if len(a) == 0 or len(b) == 0:
        return len(a)
    spread = 1e5  # rays side by side on one axis
    keys = [s.ray_indices.cpu().double() * spread + s.t_starts.cpu().double() for s in (a, b)]
    ends = [s.ray_indices.cpu().double() * spread + s.t_ends.cpu().double() for s in (a, b)]
    at = torch.searchsorted(keys[1], keys[0])
    found = torch.zeros(len(a), dtype=torch.bool)
    for candidate in (at - 1, at):
        candidate = candidate.clamp(0, len(b) - 1)
        near = (keys[1][candidate] - keys[0]).abs() < tolerance
        found |= near & ((ends[1][candidate] - ends[0]).abs() < tolerance)
    return int((~found).sum())


def check_packed(samples: Samples) -> None:
    """The invariants of packed samples."""
    assert samples.ray_offsets[0] == 0
    assert samples.ray_offsets[-1] == len(samples) == len(samples.t_ends)
    expected = torch.repeat_interleave(torch.arange(samples.n_rays, device=samples.counts.device), samples.counts)
    assert torch.equal(samples.ray_indices, expected)
    assert bool((samples.t_ends > samples.t_starts).all())
    same_ray = samples.ray_indices[1:] == samples.ray_indices[:-1]
    assert bool((samples.t_starts[1:] > samples.t_ends[:-1] * (1 - 1e-6))[same_ray].all())
