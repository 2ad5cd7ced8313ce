"""What nerfacc's own tests ask of packed rays, asked of ours; and nerfacc itself as an oracle where it is installed.

Only those of its functions are called that work without its CUDA extension.
"""

from __future__ import annotations

import pytest
import torch
from ray_cases import CUBE, moved, random_mask, random_rays, random_samples

from fieldlab.ops.composite import composite, visible
from fieldlab.ops.march import march
from fieldlab.ops.occupancy import pack_occupancy, query_occupancy, scaled_aabb
from fieldlab.ops.ray_box import ray_box
from fieldlab.ops.samples import Samples, offsets_of, sum_before

RAYS = [0, 2, 2, 2, 2]  # three rays, the middle one empty


def five_samples(device) -> Samples:
    starts = torch.rand(5, generator=torch.Generator().manual_seed(0))
    starts = torch.cat([starts[:1], starts[1:2] + torch.arange(4.0)]).to(device)
    indices = torch.tensor(RAYS, device=device)
    return Samples(offsets_of(torch.bincount(indices, minlength=3)), starts, starts + 1.0, indices)


def density(alphas: torch.Tensor, samples: Samples) -> torch.Tensor:
    return -torch.log1p(-alphas) / samples.lengths


def test_pack(device):
    samples = five_samples(device)
    starts_and_counts = torch.stack([samples.ray_offsets[:-1], samples.counts], 1)
    assert starts_and_counts.tolist() == [[0, 1], [1, 0], [1, 4]]


def test_scan_is_the_batched_scan(device):
    """Equal counts per ray: the running sum is the one over the second axis, values and gradients."""
    torch.manual_seed(0)
    batched = torch.rand(5, 1000, device=device)
    flat = batched.flatten().requires_grad_()
    batched.requires_grad_()
    indices = torch.arange(5, device=device).repeat_interleave(1000)
    offsets = torch.arange(6, device=device) * 1000
    found = sum_before(flat, offsets, indices)
    expected = (batched.cumsum(1) - batched).flatten()
    grad = torch.rand(5000, device=device)
    found.backward(grad)
    expected.backward(grad)
    assert torch.allclose(found, expected, atol=3e-4)
    assert torch.allclose(flat.grad, batched.grad.flatten(), atol=3e-4)


@pytest.mark.parametrize(
    ("early_stop", "least_alpha", "expected"),
    [
        (0.03, 0.0, [True, True, True, True, False]),
        (0.05, 0.0, [True, True, True, True, False]),
        (0.03, 0.35, [True, False, True, True, False]),
        (0.05, 0.35, [True, False, True, True, False]),
        (0.15, 0.0, [True, True, True, False, False]),
    ],
)
def test_visibility(device, early_stop, least_alpha, expected):
    samples = five_samples(device)
    sigmas = density(torch.tensor([0.4, 0.3, 0.8, 0.8, 0.5], device=device), samples)
    assert visible(sigmas, samples, early_stop, least_alpha).tolist() == expected


def test_weights_from_alphas(device):
    samples = five_samples(device)
    alphas = torch.tensor([0.4, 0.3, 0.8, 0.8, 0.5], device=device)
    weights = composite(density(alphas, samples), None, samples, 0.0).weights
    expected = [0.4, 0.3, 0.7 * 0.8, 0.7 * 0.2 * 0.8, 0.7 * 0.2 * 0.2 * 0.5]
    assert weights.tolist() == pytest.approx(expected, abs=1e-6)


def test_accumulation_with_an_empty_ray(device):
    samples = five_samples(device)
    torch.manual_seed(0)
    values = torch.rand(5, 2, device=device)
    c = composite(torch.rand(5, device=device), values, samples, 0.0)
    w = c.weights
    expected = torch.stack([w[0] * values[0], 0 * values[0], (w[1:, None] * values[1:]).sum(0)])
    assert torch.allclose(c.values, expected, atol=1e-6)
    assert torch.allclose(c.opacity, torch.stack([w[0], 0 * w[0], w[1:].sum()]), atol=1e-6)


@pytest.mark.parametrize("route", ["weights", "opacity", "values", "values of each sample"])
def test_gradients_by_several_routes(device, route):
    """The sum of all weights, taken from whichever result it can be."""
    samples = five_samples(device)
    sigmas = torch.tensor([0.4, 0.8, 0.1, 0.8, 0.1], device=device, requires_grad=True)
    channels = torch.ones(5, 1, device=device) if route == "values" else torch.eye(5, device=device)
    c = composite(sigmas, channels, samples, 0.0)
    {"weights": c.weights, "opacity": c.opacity}.get(route, c.values).sum().backward()
    assert c.weights.tolist() == pytest.approx([0.3297, 0.5507, 0.0428, 0.2239, 0.0174], abs=1e-4)
    assert sigmas.grad.tolist() == pytest.approx([0.6703, 0.1653, 0.1653, 0.1653, 0.1653], abs=1e-4)


def test_middles_of_samples_are_occupied(device):
    mask = random_mask(4, 32, 0.5, 0).to(device)
    grid = pack_occupancy(mask, torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    torch.manual_seed(3)
    o = torch.randn(10, 3, device=device)
    d = torch.nn.functional.normalize(torch.randn(10, 3, device=device), dim=-1)
    samples = march(o, d, torch.zeros(10, device=device), torch.full((10,), 1e10, device=device), grid, 1e-3)
    points = o[samples.ray_indices] + d[samples.ray_indices] * samples.middles[:, None]
    assert len(samples) > 1000
    assert float(query_occupancy(grid, points).float().mean()) > 0.9998


def test_two_limited_passes_make_the_whole(device):
    """As a renderer does that stops rays once they are opaque: the second pass starts where the first ended."""
    o, d = (x.to(device) for x in random_rays(50, 4))
    grid = pack_occupancy(random_mask(2, 32, 0.4, 1).to(device), CUBE)
    zeros, far = torch.zeros(50, device=device), torch.full((50,), 20.0, device=device)
    step = 2.0**-8  # exact in binary, so that the two lattices are one
    whole = march(o, d, zeros, far, grid, step)
    first = march(o, d, zeros, far, grid, step, max_samples=100)
    near = zeros.clone()
    some = first.counts > 0
    near[some] = first.t_ends[(first.ray_offsets[1:] - 1)[some]]
    second = march(o, d, near, far, grid, step)
    assert int(first.counts.max()) == 100
    assert torch.equal(first.counts + second.counts, whole.counts)
    weights = [composite(torch.ones_like(s.t_starts), None, s, 0.0).opacity for s in (whole, first, second)]
    assert torch.allclose(weights[0], weights[1] + (1 - weights[1]) * weights[2], atol=1e-5)


@pytest.mark.parametrize("per_ray", [False, True])
def test_near_and_far(device, per_ray):
    o, d = (x.to(device) for x in random_rays(100, 5))
    grid = pack_occupancy(torch.ones(3, 16, 16, 16, dtype=torch.bool, device=device), CUBE)
    torch.manual_seed(0)
    near = 2 + torch.rand(100, device=device) * per_ray
    far = near + 1 + torch.rand(100, device=device) * per_ray
    step = 0.01
    samples = march(o, d, near, far, grid, step)
    assert int(samples.counts.min()) > 90
    assert bool((samples.t_starts >= near[samples.ray_indices] - step / 2).all())
    assert bool((samples.t_ends <= far[samples.ray_indices] + step / 2 + 1e-5).all())


def test_box_against_nerfacc():
    grid = pytest.importorskip("nerfacc.grid")
    torch.manual_seed(0)
    o, d = torch.rand(1000, 3), torch.nn.functional.normalize(torch.randn(1000, 3), dim=-1)
    low = torch.rand(100, 3)
    boxes = torch.stack([low, low + torch.rand(100, 3) * (1 - low)], 1)
    expected = grid._ray_aabb_intersect(o, d, boxes.flatten(1))
    found = ray_box(o, d, boxes)
    assert torch.equal(found[2], expected[2])
    assert torch.allclose(found[0][found[2]], expected[0][expected[2]], atol=1e-5)
    assert torch.allclose(found[1][found[2]], expected[1][expected[2]], atol=1e-5)


def test_query_against_nerfacc():
    grid = pytest.importorskip("nerfacc.grid")
    mask = random_mask(4, 32, 0.5, 2)
    torch.manual_seed(1)
    points = torch.randn(20000, 3) * 4
    expected, inside = grid._query(points, mask, CUBE.flatten())
    found = query_occupancy(pack_occupancy(mask, CUBE), points)
    assert int((found != expected.bool()).sum()) <= 2
    outer = scaled_aabb(CUBE, 3)
    assert torch.equal(inside, ((points > outer[0]) & (points < outer[1])).all(-1))


def test_weights_against_nerfacc(device):
    nerfacc = pytest.importorskip("nerfacc")
    samples = random_samples([64] * 20, 3)
    torch.manual_seed(2)
    sigmas = torch.rand(len(samples)) * 20
    batched = [x.view(20, 64) for x in (samples.t_starts, samples.t_ends, sigmas)]
    batched[2] = batched[2].clone().requires_grad_()
    expected, light, _ = nerfacc.render_weight_from_density(*batched)
    ours = sigmas.to(device).requires_grad_()
    found = composite(ours, None, moved(samples, device), 0.0)
    assert torch.allclose(found.weights.cpu(), expected.flatten(), atol=1e-5)
    grad = torch.rand(20, 64)
    (expected * grad).sum().backward()
    (found.weights * grad.flatten().to(device)).sum().backward()
    assert torch.allclose(ours.grad.cpu(), batched[2].grad.flatten(), atol=1e-5)
    seen = visible(sigmas.to(device), moved(samples, device), 1e-3)
    assert int((seen.cpu() != (light >= 1e-3).flatten()).sum()) <= 1


def test_accumulation_against_nerfacc(device):
    nerfacc = pytest.importorskip("nerfacc")
    samples = random_samples([3, 0, 30, 1, 0], 4)
    torch.manual_seed(3)
    values = torch.rand(len(samples), 4)
    c = composite(torch.rand(len(samples), device=device) * 5, values.to(device), moved(samples, device), 0.0)
    expected = nerfacc.accumulate_along_rays(c.weights.cpu(), values, samples.ray_indices, 5)
    assert torch.allclose(c.values.cpu(), expected, atol=1e-5)
