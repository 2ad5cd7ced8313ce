"""The operations on rays as PyTorch sees them: schemas, shapes without data, and derivatives under tracing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from ray_cases import CUBE, random_rays, random_samples, shell_mask

from fieldlab.ops import composite, contract, distortion, importance, march, native, occupancy, ray_box, samples

pytestmark = pytest.mark.skipif(native.library is None, reason="built without native kernels")


def cases():
    s = random_samples([3, 0, 5], 0)
    packed = (s.ray_offsets, s.t_starts, s.t_ends)
    o, d = random_rays(3, 0)
    sigmas = torch.rand(8, requires_grad=True)
    values = torch.rand(8, 2, requires_grad=True)
    moving = (o.clone().requires_grad_(), d.clone().requires_grad_())
    grid = occupancy.native_grid(occupancy.pack_occupancy(shell_mask(16), CUBE))
    ones, offsets = torch.ones(3), torch.tensor([0, 1, 1, 2])
    return {
        "ray_box": (ray_box._ray_box, (o, d, CUBE[None])),
        "pack": (occupancy._pack, (torch.rand(2 * 8**3), 0.5, 8, 2)),
        "query": (occupancy._query, (o, *grid)),
        "update": (occupancy._update, (torch.rand(64), torch.tensor([1, 1, 5]), ones, 0.9)),
        "cell points": (occupancy._cell_points, (torch.arange(9), CUBE, 4, None)),
        "march": (march._march, (o, d, 0 * ones, 9 * ones, *grid, 0.1, 0.0, None, 10)),
        "keep": (samples._keep, (*packed, torch.rand(8) < 0.5)),
        "importance": (importance._importance_sample, (*packed, torch.rand(8), 2 * offsets, None, 2, 0.01, 4)),
        "composite": (composite._composite, (sigmas, values, *packed, 1e-4)),
        "composite without values": (composite._composite, (sigmas, None, *packed, 1e-4)),
        "visible": (composite._visible, (sigmas.detach(), *packed, 1e-4, 0.0)),
        "distortion": (distortion._distortion, (torch.rand(8, requires_grad=True), *packed)),
        "contract": (contract._contract, (values[:, :1].detach().repeat(1, 3).requires_grad_(), CUBE, True)),
        "ray points": (contract._ray_points, (*moving, *packed, CUBE, True)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", list(cases()) if native.library is not None else [])
def test_registration(name):
    op, args = cases()[name]
    torch.library.opcheck(
        op.overload, args, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )


@pytest.mark.slow
def test_compositing_compiles_whole():
    """What a compiler needs is there: no break in the graph, the same result and gradient."""
    s = random_samples([3, 0, 5], 0)

    def loss(sigmas):
        return composite.composite(sigmas, None, s).opacity.sum()

    a = torch.rand(8).requires_grad_()
    b = a.detach().clone().requires_grad_()
    loss(a).backward()
    torch.compile(loss, fullgraph=True, backend="aot_eager")(b).backward()
    assert torch.allclose(a.grad, b.grad)


def test_what_is_changed_in_place_is_noticed():
    """A derivative that had kept it would be wrong."""
    values = torch.rand(64)
    occupancy._update(values, torch.tensor([1, 1, 5]), torch.ones(3), 0.9)
    assert values._version == 1


@pytest.mark.slow
def test_no_command_waits_for_a_compiler_that_it_does_not_use():
    code = """if True:
        import sys, torch
        from fieldlab.ops.mlp import MLPSpec, mlp
        spec = MLPSpec(3, 1, 16, 1)
        mlp(torch.rand(8, 3), torch.rand(spec.n_params, requires_grad=True), spec).sum().backward()
        sys.exit("torch._dynamo" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
