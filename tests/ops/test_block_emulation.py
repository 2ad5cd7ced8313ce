"""The GPU's networks and fused renderer on a machine without a GPU: the very headers, a CPU thread per GPU thread."""

from __future__ import annotations

import ctypes

import pytest
import torch
from test_render_fused import make_plan, make_rays

from fieldlab.ops import native
from fieldlab.ops.mlp import MLPSpec, init_mlp, mlp_reference
from fieldlab.ops.occupancy import pack_occupancy
from fieldlab.ops.render_fused import render_fused


@pytest.fixture(scope="module")
def block(emulation):
    return emulation("block_emulation")


def address(tensor):
    assert tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr())


@pytest.mark.parametrize(
    "spec",
    [
        MLPSpec(31, 3, 64, 2, output_activation="sigmoid"),
        MLPSpec(20, 17, 32, 1, bias=True),
        MLPSpec(9, 16, 128, 3),
        MLPSpec(10, 5, 64, 0, bias=True),
        MLPSpec(20, 4, 48, 2, sine=(1.0, 30.0)),
        MLPSpec(63, 16, 256, 3, True, skip=2),
        MLPSpec(40, 3, 32, 3, skip=1),
    ],
    ids=str,
)
def test_networks(block, spec):
    torch.manual_seed(1)
    n, first = 71, 7
    params = init_mlp(spec)
    x, grad = torch.randn(spec.n_in, n), torch.randn(spec.n_out, n)
    out, grad_x, grad_params = torch.empty(spec.n_out, n), torch.empty(spec.n_in, n), torch.zeros(spec.n_params)
    block.mlp(
        ctypes.c_int64(n), first, spec.n_in - first, spec.n_out, spec.width, spec.n_hidden, spec.bias,
        spec.output_activation == "sigmoid", spec.skip, *[ctypes.c_float(f) for f in spec.sine or (0.0, 0.0)],
        address(x[:first]), address(x[first:]), address(params), address(out),
        address(grad), address(grad_x[:first]), address(grad_x[first:]), address(grad_params),
    )  # fmt: skip
    a, p = x.t().double().requires_grad_(), params.double().requires_grad_()
    expected = mlp_reference(a, p, spec)
    expected.backward(grad.t().double())
    assert torch.allclose(out.t().double(), expected, atol=1e-5)
    assert torch.allclose(grad_x.t().double(), a.grad, atol=1e-4)
    assert torch.allclose(grad_params.double(), p.grad, atol=1e-3)


def test_fused_renderer(block):
    n, plan = 230, make_plan()
    origins, directions = make_rays(n)
    aabb = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    grid = pack_occupancy(torch.rand(1, 16, 16, 16, generator=torch.Generator().manual_seed(1)) < 0.4, aabb)
    near, far = torch.full((n,), 0.3), torch.full((n,), 9.0)
    with native.use_backend("reference"):
        expected = render_fused(origins, directions, near, far, grid, plan, aabb, step=0.05)
    branch = plan.branches[0]
    hashes = branch.encoders[0]
    scales, resolutions, offsets, hashed = hashes.spec.plan
    rgb, opacity, depth = torch.full((3, n), 9.0), torch.full((n,), 9.0), torch.full((n,), 9.0)
    evaluated = torch.zeros(n, dtype=torch.int32)
    as_array = {float: torch.float32, int: torch.int32, bool: torch.uint8}
    lists = [torch.tensor(v, dtype=as_array[type(v[0])]) for v in (scales, resolutions, offsets, hashed)]
    o, d = origins.t().contiguous(), directions.t().contiguous()
    block.render(
        ctypes.c_int64(n), address(o), address(d), address(near), address(far), address(grid.bits),
        address(grid.coarse), address(aabb), 16, ctypes.c_float(0.05), hashes.spec.n_levels,
        *[address(v) for v in lists],
        address(hashes.table), address(branch.params), address(plan.color_params), ctypes.c_float(plan.offset),
        address(rgb), address(opacity), address(depth), address(evaluated),
    )  # fmt: skip
    wrong = (rgb.t() - expected.rgb).abs().amax(-1) > 2e-4
    assert wrong.sum() <= 2  # rays with a step within rounding of a cell's border
    assert torch.allclose(opacity[~wrong], expected.opacity[~wrong], atol=2e-4)
    assert torch.allclose(depth[~wrong], expected.depth[~wrong], atol=2e-3)
    assert expected.opacity.max() > 0.5
