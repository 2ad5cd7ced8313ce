"""The fused renderer against the references of the operations it fuses."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from fieldlab.ops import native
from fieldlab.ops.field_plan import Branch, FieldPlan
from fieldlab.ops.hash_grid import HashGridPlan, HashGridSpec
from fieldlab.ops.mlp import MLPSpec, init_mlp
from fieldlab.ops.occupancy import pack_occupancy
from fieldlab.ops.render_fused import render_fused


def make_plan(features=2, constants=0, bias=False, offset=1.0):
    generator = torch.Generator().manual_seed(5)
    encoding = HashGridSpec(6, features, 11, 6, 1.6)
    geometry = MLPSpec(encoding.n_out, 16, 64, 1, bias)
    color = MLPSpec(15 + 16 + constants, 3, 64, 2, bias, "sigmoid")
    table = torch.rand(encoding.n_params, generator=generator) * 4 - 2
    branch = Branch((HashGridPlan(table, encoding),), init_mlp(geometry, generator), geometry)
    return FieldPlan(
        (branch,), init_mlp(color, generator), color, 4, offset, 6.0,
        torch.rand(constants, generator=generator) if constants else None,
    )  # fmt: skip


def make_rays(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1) * 3
    directions = torch.nn.functional.normalize(torch.rand(n, 3, generator=generator) - 0.5 - origins, dim=-1)
    return origins, directions


def to_device(plan, device):
    def moved(value):
        if isinstance(value, torch.Tensor):
            return value.to(device)
        if isinstance(value, tuple):
            return tuple(moved(v) for v in value)
        if isinstance(value, (Branch, FieldPlan, HashGridPlan)):
            parts = {f.name: moved(getattr(value, f.name)) for f in fields(value) if f.init}
            return type(value)(**parts)
        return value

    return moved(plan)


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


def test_fused_branches_are_added(device):
    one, two = make_plan(), make_plan(features=4)
    plan = FieldPlan((*one.branches, *two.branches), one.color_params, one.color, 4, 0.0, 6.0)
    check(device, 300, plan)


def test_fused_encoders_side_by_side(device):
    one, two = make_plan().branches[0].encoders[0], make_plan(features=1).branches[0].encoders[0]
    geometry = MLPSpec(one.n_out + two.n_out, 16, 64, 1)
    generator = torch.Generator().manual_seed(2)
    branch = Branch((one, two), init_mlp(geometry, generator), geometry)
    color = make_plan()
    check(device, 300, FieldPlan((branch,), color.color_params, color.color, 4, 1.0, 6.0))


def test_fused_without_perceptrons(device):
    encoding = HashGridSpec(7, 4, 11, 6, 1.6)  # log-density and three times nine coefficients
    table = torch.rand(encoding.n_params, generator=torch.Generator().manual_seed(3)) * 6 - 3
    check(device, 300, FieldPlan((Branch((HashGridPlan(table, encoding),)),), None, None, 3, 1.0, 6.0))
