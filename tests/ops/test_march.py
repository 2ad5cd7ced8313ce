"""Marching: native against the reference that looks at every step, on many grids, and what any marcher must do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ray_cases import CUBE, check_packed, differences, random_mask, random_rays, shell_mask

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.march import march, march_reference
from fieldlab.ops.occupancy import pack_occupancy, query_occupancy
from fieldlab.ops.ray_box import ray_box, ray_box_reference


def both(device, mask, o, d, near, far, step, cone=0.0, jitter=None, aabb=CUBE, max_samples=None):
    """Native samples, the reference's in float64, and how many of them differ."""
    grid = pack_occupancy(mask.to(device), aabb.to(device))
    there = [x if x is None else x.to(device) for x in (o, d, near, far, jitter)]
    found = march(*there[:4], grid, step, cone, there[4], max_samples)
    check_packed(found)
    wide = [x if x is None else x.double() for x in (o, d, near, far, jitter)]
    here = pack_occupancy(mask, aabb)
    expected = march_reference(*wide[:4], here, step, cone, wide[4], max_samples)
    check_packed(expected)
    return found, expected, differences(found, expected, 0.05 * step)


@pytest.mark.slow
@pytest.mark.parametrize("cone", [0.0, 0.004, 0.05])
@pytest.mark.parametrize("jittered", [False, True])
def test_native_equals_reference_on_a_scene(device, cone, jittered):
    o, d = random_rays(1000, 0)
    jitter = torch.rand(len(o), generator=torch.Generator().manual_seed(1)) if jittered else None
    near, far = torch.full((len(o),), 0.2), torch.full((len(o),), 100.0)
    _, expected, wrong = both(device, shell_mask(128), o, d, near, far, 2 / 512, cone, jitter)
    assert len(expected) > (10_000 if cone < 0.01 else 1000)
    assert wrong <= 2 + 1e-5 * len(expected)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("resolution", [4, 32, 128])
@pytest.mark.parametrize("cone", [0.0, 0.01])
def test_native_equals_reference_on_noise(device, levels, resolution, cone):
    """Rays start inside or outside of cubes nested up to four deep."""
    if resolution == 128 and levels > 2:
        levels = 2
    torch.manual_seed(levels)
    o = torch.randn(60, 3)
    d = torch.nn.functional.normalize(torch.randn(60, 3), dim=-1)
    near, far = torch.rand(60) * 0.5, torch.full((60,), torch.inf)
    mask = random_mask(levels, resolution, 0.3, resolution)
    _, expected, wrong = both(device, mask, o, d, near, far, 0.01, cone)
    assert len(expected) > 150
    assert wrong <= 1 + 1e-4 * len(expected)  # noise has an edge at every cell


@pytest.mark.slow
def test_thin_structure_is_not_stepped_over(device):
    """Single occupied cells far apart: every jump across empty space must land before them."""
    mask = random_mask(2, 128, 0.001, 9)
    o, d = random_rays(600, 5, distance=4.0)
    near, far = torch.zeros(600), torch.full((600,), 20.0)
    _, expected, wrong = both(device, mask, o, d, near, far, 0.003)
    assert len(expected) > 300
    assert wrong <= 2


def test_more_runs_than_are_noted(device):
    """A chess board of cells gives each ray a run per cell."""
    index = torch.arange(128)
    mask = ((index[:, None, None] + index[None, :, None] + index[None, None, :]) % 2 == 0)[None]
    o, d = random_rays(64, 6)
    near, far = torch.zeros(64), torch.full((64,), 20.0)
    found, expected, wrong = both(device, mask, o, d, near, far, 0.004)
    runs = (found.t_starts[1:] > found.t_ends[:-1] + 1e-4).sum()
    assert runs > 64 * 33
    assert wrong <= 2 + 1e-4 * len(expected)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(0, 20),
    levels=st.integers(1, 4),
    resolution=st.sampled_from([4, 8, 12, 16, 20, 36, 48, 64]),
    fraction=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    cone=st.sampled_from([0.0, 0.003, 0.1]),
    parallel=st.booleans(),
    inside=st.booleans(),
    limit=st.sampled_from([None, 0, 1, 7]),
    seed=st.integers(0, 2**20),
)
def test_any_grid(n, levels, resolution, fraction, cone, parallel, inside, limit, seed):
    torch.manual_seed(seed)
    mask = random_mask(levels, resolution, fraction, seed)
    aabb = torch.tensor([[-0.7, -1.0, 0.3], [0.9, 0.8, 1.1]])
    o = aabb.mean(0) + torch.randn(n, 3) * (0.3 if inside else 2.5)
    d = torch.nn.functional.normalize(torch.randn(n, 3), dim=-1)
    if parallel:
        d = torch.eye(3)[torch.randint(3, (n,))] * torch.tensor([-1.0, 1.0])[torch.randint(2, (n, 1))]
    near, far = torch.rand(n), 1 + torch.rand(n) * 8
    jitter = torch.rand(n)
    _, expected, wrong = both(torch.device("cpu"), mask, o, d, near, far, 0.021, cone, jitter, aabb, limit)
    assert wrong <= 2 + 2e-4 * len(expected)


def test_empty_and_full_grids(device):
    o, d = random_rays(200, 7)
    near, far = torch.full((200,), 0.5), torch.full((200,), 9.0)
    step = 0.01
    empty = pack_occupancy(torch.zeros(3, 32, 32, 32, dtype=torch.bool, device=device), CUBE)
    assert len(march(o.to(device), d.to(device), near.to(device), far.to(device), empty, step)) == 0
    full = pack_occupancy(torch.ones(1, 32, 32, 32, dtype=torch.bool, device=device), CUBE)
    found = march(o.to(device), d.to(device), near.to(device), far.to(device), full, step)
    t_min, t_max, hit = (x[:, 0] for x in ray_box_reference(o.double(), d.double(), CUBE.double()[None]))
    assert bool(hit.all())
    first, last = ((t_min - 0.5) / step - 0.5).ceil(), ((t_max - 0.5) / step - 0.5).ceil()
    assert int(((last - first).long() - found.counts.cpu()).abs().sum()) <= 2
    gaps = found.t_starts[1:] - found.t_ends[:-1]
    assert bool((gaps[found.ray_indices[1:] == found.ray_indices[:-1]].abs() < 1e-6).all())


def test_rays_that_miss_have_no_samples(device):
    o, d = random_rays(64, 8, distance=6.0)
    d = -d
    grid = pack_occupancy(torch.ones(2, 16, 16, 16, dtype=torch.bool, device=device), CUBE)
    near, far, hit = ray_box(o.to(device), d.to(device), grid.outer_aabb.to(device))
    assert not bool(hit.any())
    for bounds in ((near, far), (torch.zeros_like(near), far), (torch.zeros_like(near), torch.zeros_like(far))):
        samples = march(o.to(device), d.to(device), *bounds, grid, 0.01)
        assert len(samples) == 0
        assert samples.n_rays == 64


def test_no_rays(device):
    grid = pack_occupancy(torch.ones(1, 4, 4, 4, dtype=torch.bool, device=device), CUBE)
    none = torch.zeros(0, 3, device=device)
    samples = march(none, none, none[:, 0], none[:, 0], grid, 0.1)
    assert samples.n_rays == 0
    assert samples.ray_offsets.tolist() == [0]


@pytest.mark.parametrize("cone", [0.0, 0.01])
def test_occupancy_does_not_move_the_lattice(device, cone):
    o, d = (x.to(device) for x in random_rays(300, 9))
    near, far = torch.full((300,), 0.1, device=device), torch.full((300,), 9.0, device=device)
    args = (o, d, near, far)
    some = march(*args, pack_occupancy(random_mask(1, 64, 0.2, 1).to(device), CUBE), 0.005, cone)
    every = march(*args, pack_occupancy(torch.ones(1, 64, 64, 64, dtype=torch.bool, device=device), CUBE), 0.005, cone)
    assert 0 < len(some) < len(every)
    lattice = set(zip(every.ray_indices.tolist(), every.t_starts.tolist(), every.t_ends.tolist(), strict=True))
    assert set(zip(some.ray_indices.tolist(), some.t_starts.tolist(), some.t_ends.tolist(), strict=True)) <= lattice


def test_steps_grow_with_the_cone(device):
    o, d = (x.to(device) for x in random_rays(50, 10, distance=6.0))
    near, far = torch.full((50,), 0.01, device=device), torch.full((50,), 99.0, device=device)
    grid = pack_occupancy(torch.ones(4, 16, 16, 16, dtype=torch.bool, device=device), CUBE)
    samples = march(o, d, near, far, grid, 0.01, 0.004)
    expected = (samples.t_starts * 0.004).clamp_min(0.01)
    assert torch.allclose(samples.lengths, expected, rtol=1e-3)
    assert samples.lengths.max() > 0.03


@pytest.mark.parametrize("limit", [0, 1, 5, 10_000])
def test_sample_limit(device, limit):
    o, d = (x.to(device) for x in random_rays(200, 11))
    near, far = torch.zeros(200, device=device), torch.full((200,), 9.0, device=device)
    grid = pack_occupancy(random_mask(1, 32, 0.3, 2).to(device), CUBE)
    everything = march(o, d, near, far, grid, 0.01)
    limited = march(o, d, near, far, grid, 0.01, max_samples=limit)
    number = torch.arange(len(everything), device=device) - everything.ray_offsets[everything.ray_indices]
    assert torch.equal(limited.t_starts, everything.t_starts[number < limit])
    assert torch.equal(limited.ray_indices, everything.ray_indices[number < limit])


def test_one_or_two_threads(device):
    o, d = (x.to(device) for x in random_rays(5000, 12))
    near, far = torch.zeros(5000, device=device), torch.full((5000,), 9.0, device=device)
    grid = pack_occupancy(shell_mask(32).to(device), CUBE)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = march(o, d, near, far, grid, 0.01)
        torch.set_num_threads(2)
        two = march(o, d, near, far, grid, 0.01)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.t_starts, two.t_starts)
    assert torch.equal(one.ray_offsets, two.ray_offsets)


def test_strided_rays_and_the_reference_backend(device):
    o, d = random_rays(100, 13)
    packed = torch.cat([o, d], 1).to(device)
    near, far = torch.zeros(100, device=device), torch.full((100,), 9.0, device=device)
    grid = pack_occupancy(shell_mask(32).to(device), CUBE)
    found = march(packed[:, :3], packed[:, 3:], near, far, grid, 0.02)
    plain = march(o.to(device), d.to(device).t().contiguous().t(), near, far, grid, 0.02)
    assert torch.equal(found.t_starts, plain.t_starts)
    with native.use_backend("reference"):
        reference = march(o.to(device), d.to(device), near, far, grid, 0.02)
    assert reference.t_starts.dtype == torch.float32
    assert differences(found, reference, 1e-4) <= 2
    assert bool(
        query_occupancy(
            grid, (o.to(device)[found.ray_indices] + d.to(device)[found.ray_indices] * found.middles[:, None])
        )
        .float()
        .mean()
        > 0.999
    )


@pytest.mark.parametrize(
    "bad", [{"step": 0.0}, {"step": -1.0}, {"step": float("nan")}, {"cone_angle": -0.1}, {"max_samples": -1}]
)
def test_options_are_checked(bad):
    o, d = random_rays(3, 14)
    grid = pack_occupancy(torch.ones(1, 4, 4, 4, dtype=torch.bool), CUBE)
    with pytest.raises(ConfigError, match="marching"):
        march(o, d, torch.zeros(3), torch.ones(3), grid, **{"step": 0.1, **bad})
    with pytest.raises(ConfigError, match="near"):
        march(o, d, torch.zeros(2), torch.ones(3), grid, 0.1)
