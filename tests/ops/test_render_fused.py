"""The fused renderer against the references of the operations it fuses."""

from __future__ import annotations

import pytest
import torch

from fieldlab.ops import native
from fieldlab.ops.hash_grid import HashGridSpec
from fieldlab.ops.mlp import MLPSpec, init_mlp
from fieldlab.ops.occupancy import pack_occupancy
from fieldlab.ops.render_fused import HashFieldPlan, render_fused


def make_plan(features=2, constants=0, bias=False, offset=1.0):
    generator = torch.Generator().manual_seed(5)
    encoding = HashGridSpec(6, features, 11, 6, 1.6)
    geometry = MLPSpec(encoding.n_out, 16, 64, 1, bias)
    color = MLPSpec(15 + 16 + constants, 3, 64, 2, bias, "sigmoid")
    return HashFieldPlan(
        torch.rand(encoding.n_params, generator=generator) * 4 - 2, encoding, init_mlp(geometry, generator), geometry,
        init_mlp(color, generator), color, 4, offset, 6.0,
        torch.rand(constants, generator=generator) if constants else None,
    )  # fmt: skip


def make_rays(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1) * 3
    directions = torch.nn.functional.normalize(torch.rand(n, 3, generator=generator) - 0.5 - origins, dim=-1)
    return origins, directions


def to_device(plan, device):
    moved = {k: v.to(device) for k, v in vars(plan).items() if isinstance(v, torch.Tensor)}
    return HashFieldPlan(**{**vars(plan), **moved})


def check(device, n, plan, levels=1, contracted=False, cone=0.0, occupied=0.4):
    origins, directions = make_rays(n)
    aabb = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    mask = torch.rand(levels, 16, 16, 16, generator=torch.Generator().manual_seed(1)) < occupied
    near, far = torch.full((n,), 0.3), torch.full((n,), 9.0)
    settings = {"step": 0.05, "cone_angle": cone, "contracted": contracted}
    grid = pack_occupancy(mask, aabb)
    with native.use_backend("reference"):
        expected = render_fused(origins, directions, near, far, grid, plan, aabb, **settings)
    arrays = [t.to(device) for t in (origins, directions, near, far)]
    there = (grid.to(device), to_device(plan, device), aabb.to(device))
    found = render_fused(*arrays, *there, **settings, least_weight=0.0)
    # A step within rounding of a cell's border may be kept by one and not by the other.
    wrong = (found.rgb.cpu() - expected.rgb).abs().amax(-1) > 2e-4
    assert wrong.sum() <= 0.01 * n
    right = ~wrong
    assert torch.allclose(found.opacity.cpu()[right], expected.opacity[right], atol=2e-4)
    assert torch.allclose(found.depth.cpu()[right], expected.depth[right], atol=2e-3)
    assert (found.evaluated.cpu() <= expected.evaluated + 1).all()
    if n > 100:
        assert expected.opacity.max() > 0.5
    # Leaving out the color of samples that hardly show changes hardly anything.
    fast = render_fused(*arrays, *there, **settings)
    assert torch.allclose(fast.rgb, found.rgb, atol=1e-2)
    assert torch.equal(fast.opacity, found.opacity)


@pytest.mark.parametrize("n", [0, 1, 47, 700])
def test_fused_is_the_reference(device, n):
    check(device, n, make_plan())


@pytest.mark.parametrize(("features", "constants", "bias"), [(1, 0, False), (4, 5, True), (8, 0, True)])
def test_fused_with_other_shapes(device, features, constants, bias):
    check(device, 300, make_plan(features, constants, bias))


def test_fused_unbounded(device):
    check(device, 400, make_plan(offset=-1.0), levels=3, contracted=True, cone=0.01)


def test_fused_where_all_is_opaque_or_empty(device):
    check(device, 200, make_plan(offset=6.0), occupied=1.0)
    check(device, 50, make_plan(), occupied=0.0)
