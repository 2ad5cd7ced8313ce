"""The optimizer step: against torch.optim.Adam, and native against reference, dense and sparse."""

from __future__ import annotations

import pytest
import torch

from fieldlab.ops import native
from fieldlab.ops.adam import adam_step


@pytest.mark.slow
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("size", [1, 16, 4099])
def test_adam_is_that_of_torch(device, size, weight_decay):
    param = torch.randn(size, device=device)
    expected = param.clone().requires_grad_()
    first, second = torch.zeros_like(param), torch.zeros_like(param)
    optimizer = torch.optim.Adam([expected], lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=weight_decay)
    for step in range(1, 6):
        grad = torch.randn(size, device=device)
        adam_step(param, grad, first, second, step=step, lr=0.01, eps=1e-8, weight_decay=weight_decay)
        expected.grad = grad.clone()
        optimizer.step()
        assert torch.allclose(param, expected, atol=1e-5)


def test_sparse_step_leaves_untouched_entries_alone(device):
    param, first, second = (torch.rand(1000, device=device) for _ in range(3))
    grad = torch.randn(1000, device=device)
    grad[torch.rand(1000) < 0.6] = 0
    grad[100:200] = 0
    grad[150] = 1e-30  # its square underflows, yet it counts
    before = [t.clone() for t in (param, first, second)]
    with native.use_backend("reference"):
        expected = [t.clone() for t in before]
        adam_step(expected[0], grad, *expected[1:], step=3, lr=0.1, sparse=True)
    adam_step(param, grad, first, second, step=3, lr=0.1, sparse=True)
    for found, old, wanted in zip((param, first, second), before, expected, strict=True):
        assert torch.equal(found[grad == 0], old[grad == 0])
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert first[150] != before[1][150]
