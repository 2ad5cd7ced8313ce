"""Placing kernels: weighted k-means, covariances, clipping, and the order of the paper's ablation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.fields.rbf_placement import (
    HALF_AT_DEVIATION,
    kernel_shapes,
    morton_order,
    occupied_points,
    place_kernels,
    radiance_weights,
)  # fmt: skip
from fieldlab.ops.rbf import KERNELS, RbfSpec, rbf_encode


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_covariance_of_one_gaussian():
    root = torch.tensor([[0.03, 0.0, 0.0], [0.02, 0.02, 0.0], [-0.01, 0.0, 0.01]])
    points = torch.randn(200_000, 3, generator=seeded()) @ root.t() + 0.5
    center, covariance = place_kernels(points, torch.ones(len(points)), 1, seeded(), iterations=3)
    assert torch.allclose(center, torch.full((1, 3), 0.5), atol=1e-3)
    assert torch.allclose(covariance[0], root @ root.t(), atol=2e-5)


def test_weights_pull_and_zero_weights_do_not_count():
    points = torch.rand(5000, 2, generator=seeded())
    weights = torch.where(points[:, 0] < 0.5, torch.zeros(()), torch.ones(()))
    centers, _ = place_kernels(points, weights, 50, seeded())
    assert bool((centers[:, 0] > 0.5).all())


def test_fewer_points_than_kernels():
    points = torch.rand(7, 3, generator=seeded())
    centers, covariances = place_kernels(points, torch.ones(7), 20, seeded())
    assert centers.shape == (7, 3)
    shapes = kernel_shapes(covariances, RbfSpec(3), 0.3, 3e-4)
    assert bool(shapes.isfinite().all())
    assert bool((shapes[:, 0] > 0).all())
    assert float(shapes[:, 0].max()) < 1 / 3e-4**2


@pytest.mark.parametrize("weights", [torch.zeros(5), torch.full((5,), math.nan)])
def test_nothing_to_place(weights):
    with pytest.raises(ConfigError, match="placed"):
        place_kernels(torch.rand(5, 2), weights, 3, seeded())


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_half_at_one_deviation(kernel):
    deviation, alpha = 0.02, 0.5
    spec = RbfSpec(2, kernel, "axes")
    covariance = torch.eye(2)[None] * deviation**2 * alpha
    shapes = kernel_shapes(covariance, spec, alpha, 1e-4)
    x, center = torch.tensor([[0.5 + deviation, 0.5]]), torch.tensor([[0.5, 0.5]])
    phi = rbf_encode(x, torch.zeros(1, 1, dtype=torch.int32), center, shapes, torch.ones(1, 1), spec)
    assert math.isclose(float(phi), 0.5, abs_tol=1e-4)
    assert kernel in HALF_AT_DEVIATION


def test_shapes_are_clipped_and_positive():
    flat = torch.zeros(4, 3, 3)
    flat[0] = torch.diag(torch.tensor([1e-12, 0.2, 1e-4]))
    flat[1] = torch.full((3, 3), 1e-4)  # perfectly correlated
    flat[2, 0, 0] = 1e-4
    shapes = kernel_shapes(flat, RbfSpec(3), 0.5, 1e-3)
    a = torch.empty(4, 3, 3)
    i, j = torch.triu_indices(3, 3)
    a[:, i, j] = a[:, j, i] = shapes
    widths = torch.linalg.eigvalsh(a.double()).rsqrt()
    assert float(widths.min()) > 0.99e-3
    assert float(widths.max()) < 0.18
    assert math.isclose(float(a[0, 1, 1]), 100.0, rel_tol=1e-3)


def signal(x: Tensor) -> Tensor:
    """A picture with an edge and fine detail in one corner."""
    ring = ((x - 0.5).norm(dim=1) < 0.3).float()
    return ring + torch.where((x < 0.35).all(1), (60 * x[:, 0]).sin() * (60 * x[:, 1]).sin(), torch.zeros(()))


def spread(centers: Tensor, x: Tensor, weights: Tensor) -> float:
    """What k-means makes small: the weighted mean of squared distances to the nearest center."""
    nearest = torch.cdist(x, centers).min(dim=1).values
    return float((weights * nearest.square()).sum() / weights.sum())


def test_k_means_beats_weighted_points_beat_any_points():
    """The order of the paper's ablation."""
    n = 256
    axis = (torch.arange(96) + 0.5) / 96
    x = torch.cartesian_prod(axis, axis)
    image = signal(x).view(96, 96)
    weights = torch.stack(torch.gradient(image)).norm(dim=0).flatten()
    kmeans = spread(place_kernels(x, weights, n, seeded())[0], x, weights)
    weighted = spread(place_kernels(x, weights, n, seeded(), iterations=0)[0], x, weights)
    uniform = spread(place_kernels(x, torch.ones(len(x)), n, seeded(), iterations=0)[0], x, weights)
    assert 1.3 * kmeans < weighted
    assert 1.3 * weighted < uniform


def test_morton_order_keeps_neighbors_near():
    points = torch.rand(4096, 3, generator=seeded())
    order = morton_order(points)
    assert torch.equal(order.sort().values, torch.arange(4096))
    walk = points[order].diff(dim=0).norm(dim=1).mean()
    assert float(walk) < 0.3 * float(points.diff(dim=0).norm(dim=1).mean())


def test_occupied_points():
    def corner(x: Tensor) -> Tensor:
        return (x < 0.5).all(1)

    found = occupied_points(corner, 1000, seeded(), torch.device("cpu"))
    assert found.shape == (1000, 3)
    assert bool(corner(found).all())
    assert len(occupied_points(lambda x: x[:, 0] > 2, 10, seeded(), torch.device("cpu"), rounds=2)) == 0


class Wall:
    """Opaque below x = 0.5; its latent changes near y = 0.5 only."""

    unit_length = 1.0
    n_compared = 1

    def sigma(self, log_density: Tensor) -> Tensor:
        return log_density.exp()

    def geometry(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_density = torch.where(x[:, 0] < 0.5, torch.tensor(8.0), torch.tensor(-8.0))
        return log_density, (40 * (x[:, 1:2] - 0.5)).tanh()


def test_radiance_weights_are_large_where_something_opaque_changes():
    x = torch.tensor([[0.2, 0.5, 0.3], [0.8, 0.5, 0.3], [0.2, 0.9, 0.3], [0.2, 0.48, 0.3]])
    weights = radiance_weights(Wall(), x)  # type: ignore[arg-type]
    assert weights[0] > weights[3] > 100 * weights[2]
    assert weights[0] > 1e4 * weights[1]
    expected = (1 - math.exp(-math.exp(8.0) / 1024)) * 40
    assert math.isclose(float(weights[0]), expected, rel_tol=1e-2)
