"""Field coordinates: the contraction and its inverse, samples' points, and their derivatives."""

from __future__ import annotations

import pytest
import torch
from ray_cases import moved, random_samples

from fieldlab.ops.contract import contract, contract_reference, ray_points, ray_points_reference, uncontract

AABB = torch.tensor([[-1.0, 0.0, 2.0], [1.0, 3.0, 2.5]])


def scattered(n: int) -> torch.Tensor:
    """Points near, in and very far from the box."""
    torch.manual_seed(0)
    scale = torch.logspace(-1, 4, n)[:, None]
    return AABB.mean(0) + torch.randn(n, 3) * scale * (AABB[1] - AABB[0])


@pytest.mark.parametrize("contracted", [False, True])
@pytest.mark.parametrize("n", [0, 1, 17, 1000])
def test_contract(device, contracted, n):
    p = scattered(n)
    for layout in (p, p.t().contiguous().t()):
        a = layout.detach().to(device).requires_grad_()
        b = p.detach().double().requires_grad_()
        found, expected = contract(a, AABB.to(device), contracted), contract_reference(b, AABB.double(), contracted)
        assert torch.allclose(found.cpu().double(), expected, rtol=1e-5, atol=1e-6)
        grad = torch.randn(n, 3)
        found.backward(grad.to(device))
        expected.backward(grad.double())
        assert torch.allclose(a.grad.cpu().double(), b.grad, rtol=1e-4, atol=1e-7)


def test_contraction_fills_the_cube(device):
    """The box is the middle half, linear; all else is in the cube, at a distance from its faces that falls as 1/r."""
    corners = torch.stack([AABB[0], AABB[1], AABB.mean(0)])
    expected = torch.tensor([[0.25] * 3, [0.75] * 3, [0.5] * 3])
    assert torch.allclose(contract(corners.to(device), AABB.to(device)).cpu(), expected)
    x = contract(scattered(5000).to(device), AABB.to(device)).cpu()
    assert bool(((x >= 0) & (x <= 1)).all())
    far = AABB.mean(0) + (AABB[1] - AABB[0]) / 2 * torch.tensor([[10.0, 3.0, -2.0]])
    assert torch.allclose(contract(far.to(device), AABB.to(device)).cpu()[0, 0], torch.tensor(1 - 0.25 / 10))


@pytest.mark.parametrize("contracted", [False, True])
def test_uncontract_is_the_inverse(contracted):
    p = scattered(2000).double()
    p = p[p.abs().amax(-1) < 1e4]
    again = uncontract(contract_reference(p, AABB.double(), contracted), AABB.double(), contracted)
    assert torch.allclose(again, p, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("contracted", [False, True])
@pytest.mark.parametrize("which", ["points", "directions", "both"])
def test_ray_points(device, contracted, which):
    samples = random_samples([0, 5, 40, 0, 16, 1], 3)
    torch.manual_seed(1)
    o, d = torch.randn(6, 3) * 2, torch.nn.functional.normalize(torch.randn(6, 3), dim=-1)
    grads = [torch.randn(len(samples), 3) for _ in range(2)]
    answers = []
    for there, dtype, op in (
        (device, torch.float32, ray_points),
        (torch.device("cpu"), torch.float64, ray_points_reference),
    ):
        a, b = (x.detach().to(there, dtype).requires_grad_() for x in (o, d))
        x, seen = op(a, b, moved(samples, there, dtype), AABB.to(there, dtype), contracted)
        total = 0
        if which != "directions":
            total = total + (x * grads[0].to(x)).sum()
        if which != "points":
            total = total + (seen * grads[1].to(x)).sum()
        total.backward()
        answers.append([t.detach().cpu().double() for t in (x, seen, b.grad)])
        if which != "directions":
            answers[-1].append(a.grad.cpu().double())
    for found, expected in zip(*answers, strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
