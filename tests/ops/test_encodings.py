"""Spherical harmonics and frequency encoding: native against reference, and both against formulas written here."""

from __future__ import annotations

import math

import pytest
import torch

from fieldlab.errors import ConfigError
from fieldlab.ops.frequency import frequency_encode, frequency_encode_reference
from fieldlab.ops.spherical_harmonics import spherical_harmonics, spherical_harmonics_reference


def compare(native_op, reference_op, x, device, atol=2e-6):
    """Values and derivatives of both, for a row-major and a feature-major input."""
    for layout in (x, x.t().contiguous().t()):
        a = layout.to(device).detach().requires_grad_()
        b = x.to(torch.float64).requires_grad_()
        out, expected = native_op(a), reference_op(b)
        assert torch.allclose(out.cpu().double(), expected, atol=atol)
        grad = torch.randn(expected.shape, dtype=torch.float64)
        out.backward(grad.float().to(device))
        expected.backward(grad)
        scale = b.grad.abs().max().clamp_min(1.0)
        assert torch.allclose(a.grad.cpu().double() / scale, b.grad / scale, atol=5e-6)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("samples", [0, 1, 15, 16, 4097])
def test_spherical_harmonics(device, degree, samples):
    d = torch.nn.functional.normalize(torch.randn(samples, 3), dim=-1)
    if samples == 0:
        assert spherical_harmonics(d.to(device), degree).shape == (0, degree**2)
        return
    compare(lambda x: spherical_harmonics(x, degree), lambda x: spherical_harmonics_reference(x, degree), d, device)


def test_spherical_harmonics_are_orthonormal():
    """Integrals of products over the sphere, by a quadrature that is exact for these polynomials."""
    nodes = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    weights = torch.full((4001,), 2 / 4000, dtype=torch.float64)
    weights[0] = weights[-1] = 1 / 4000
    phi = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    z, p = torch.meshgrid(nodes, phi, indexing="ij")
    r = (1 - z * z).clamp_min(0).sqrt()
    d = torch.stack([r * p.cos(), r * p.sin(), z], -1).reshape(-1, 3)
    y = spherical_harmonics_reference(d, 4)
    gram = (y * (weights[:, None].expand(-1, 16).reshape(-1, 1) * 2 * math.pi / 16)).t() @ y
    assert torch.allclose(gram, torch.eye(16, dtype=torch.float64), atol=1e-5)


def test_spherical_harmonics_degree_is_checked():
    with pytest.raises(ConfigError, match="degree"):
        spherical_harmonics(torch.zeros(1, 3), 5)


@pytest.mark.parametrize("samples", [1, 17, 1000])
@pytest.mark.parametrize("dimensions", [1, 3])
def test_frequency(device, samples, dimensions):
    x = torch.rand(samples, dimensions) * 2 - 1
    compare(lambda v: frequency_encode(v, 10), lambda v: frequency_encode_reference(v, 10), x, device)


def test_frequency_formula():
    x = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    expected = [f(math.pi * 2**k * v) for v in (0.3, -0.7) for k in range(3) for f in (math.sin, math.cos)]
    assert torch.allclose(frequency_encode_reference(x, 3)[0], torch.tensor(expected, dtype=torch.float64))
