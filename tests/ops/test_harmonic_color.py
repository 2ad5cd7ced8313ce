"""Colors of spherical harmonics: native against reference, and the reference against its formula."""

from __future__ import annotations

import pytest
import torch

from fieldlab.errors import ConfigError
from fieldlab.ops.harmonic_color import harmonic_color, harmonic_color_reference
from fieldlab.ops.spherical_harmonics import spherical_harmonics_reference


def directions(samples: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(samples, 3, generator=torch.Generator().manual_seed(3)), dim=-1)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("samples", [0, 1, 17, 1000])
def test_values_and_derivatives(device, degree, samples):
    table, grad = torch.randn(samples, 3 * degree**2), torch.randn(samples, 3)
    for turn in (lambda t: t, lambda t: t.t().contiguous().t()):
        c, d = (turn(t).to(device).requires_grad_() for t in (table.clone(), directions(samples)))
        c_ref, d_ref = (t.double().requires_grad_() for t in (table, directions(samples)))
        out, expected = harmonic_color(c, d), harmonic_color_reference(c_ref, d_ref)
        assert torch.allclose(out.cpu().double(), expected, atol=2e-6)
        if samples == 0:
            continue
        out.backward(grad.to(device))
        expected.backward(grad.double())
        assert torch.allclose(c.grad.cpu().double(), c_ref.grad, atol=2e-6)
        assert torch.allclose(d.grad.cpu().double(), d_ref.grad, atol=1e-5)


def test_directions_that_are_constants(device):
    c = torch.randn(50, 27, device=device, requires_grad=True)
    harmonic_color(c, directions(50).to(device)).sum().backward()
    assert c.grad.shape == (50, 27)


def test_formula():
    c, d = torch.randn(4, 12), directions(4)
    y = spherical_harmonics_reference(d, 2)
    for s in range(4):
        for channel in range(3):
            total = sum(float(c[s, channel * 4 + k] * y[s, k]) for k in range(4))
            expected = torch.tensor(total).sigmoid()
            assert float(harmonic_color_reference(c, d)[s, channel]) == pytest.approx(float(expected), abs=1e-6)


def test_derivatives_by_finite_differences():
    c = torch.randn(3, 27, dtype=torch.float64, requires_grad=True)
    d = directions(3).double().requires_grad_()
    assert torch.autograd.gradcheck(harmonic_color_reference, (c, d))


def test_number_of_coefficients_is_checked():
    with pytest.raises(ConfigError, match="coefficients"):
        harmonic_color(torch.zeros(1, 15), torch.zeros(1, 3))
