"""Differences of densities and latents."""

from __future__ import annotations

import math

import pytest
import torch

from fieldlab.distill.losses import CLAMP, LatentMatch, density_loss, log_density_error


def brute(student: float, teacher: float) -> float:
    low, high = CLAMP
    wanted = min(max(teacher, low), high)
    if teacher <= low and student <= low:
        return 0.0
    if teacher >= high and student >= high:
        return 0.0
    return student - wanted


def test_the_difference_is_to_the_clamped_teacher_and_none_beyond_the_same_end():
    values = [-math.inf, -20.0, CLAMP[0], -1.0, 0.0, 4.0, CLAMP[1], 15.0]
    for t in values:
        for s in values[1:]:
            found = float(log_density_error(torch.tensor([s]), torch.tensor([t])))
            assert found == pytest.approx(brute(s, t))


def test_a_student_out_of_range_is_still_told():
    """Where both were clamped it would have no derivative."""
    student = torch.tensor([30.0, -30.0, -30.0, 30.0], requires_grad=True)
    loss = density_loss(student, torch.tensor([-8.0, 12.0, -8.0, 12.0]))
    loss.sum().backward()
    assert student.grad.tolist() == [1.0, -1.0, 0.0, 0.0]


def test_huber():
    student = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)
    loss = density_loss(student, torch.zeros(2, dtype=torch.float64))
    assert loss.tolist() == pytest.approx([0.125, 2.5])
    assert torch.autograd.gradcheck(lambda s: density_loss(s, torch.zeros(2, dtype=torch.float64)), student)


def test_latents_of_one_meaning_are_compared_as_they_are():
    match = LatentMatch(4, 4, same=True, generator=torch.Generator())
    teacher, student = torch.randn(50, 4), torch.randn(50, 4)
    wanted = (student - teacher).square().mean(1) / teacher.var(0).mean()
    assert torch.allclose(match(student, teacher), wanted, rtol=1e-4)
    assert match.param_groups() == []
    assert float(match(teacher, teacher).sum()) == 0
    # The scale stays that of the first values seen.
    assert torch.allclose(match(2 * student, 2 * teacher), 4 * wanted, rtol=1e-4)


@pytest.mark.slow
def test_an_adapter_learns_to_match_latents_of_another_shape():
    g = torch.Generator().manual_seed(0)
    match = LatentMatch(5, 9, same=False, generator=g)
    student = torch.randn(256, 5, generator=g)
    teacher = student @ torch.randn(5, 9, generator=g)
    [group] = match.param_groups()
    adam = torch.optim.Adam(group.parameters, lr=1e-2)
    losses = []
    for _ in range(300):
        loss = match(student, teacher).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
