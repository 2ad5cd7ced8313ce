"""Sparse grids: the index against a dictionary, interpolation against its definition, memory, hostile arrays."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.adam import adam_step
from fieldlab.ops.sparse_grid import (
    add_variation,
    sparse_corners,
    sparse_corners_reference,
    sparse_grid,
    sparse_grid_reference,
    variation_reference,
)
from fieldlab.ops.sparse_index import SparseIndex, near


def random_index(resolution: int, share: float = 0.5, seed: int = 0) -> SparseIndex:
    mask = torch.rand(resolution, resolution, resolution, generator=torch.Generator().manual_seed(seed)) < share
    return SparseIndex.of_mask(mask)


def shell(resolution: int, thickness: float = 1.5) -> SparseIndex:
    """Vertices within some cells of a sphere."""
    axis = torch.linspace(-1, 1, resolution)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return SparseIndex.of_mask(((x * x + y * y + z * z).sqrt() - 0.7).abs() < thickness * 2 / resolution)


def positions(samples: int, seed: int = 1) -> torch.Tensor:
    """Random positions, among them faces and corners of the cube and some outside."""
    x = torch.rand(samples, 3, generator=torch.Generator().manual_seed(seed)) * 1.04 - 0.02
    x[::7] = x[::7].round().clamp(0, 1)
    return x


@pytest.mark.parametrize("resolution", [2, 8, 9, 21])
def test_index_against_a_dictionary(resolution):
    index = random_index(resolution)
    rows = {tuple(v): i for i, v in enumerate(index.vertices.tolist())}
    assert len(rows) == index.n_rows
    axis = torch.arange(-1, resolution + 1)
    everywhere = torch.cartesian_prod(axis, axis, axis)
    assert index.find(everywhere).tolist() == [rows.get(tuple(v), -1) for v in everywhere.tolist()]
    again = SparseIndex.of_vertices(index.vertices[torch.randperm(index.n_rows)].repeat(2, 1), resolution)
    assert torch.equal(again.words, index.words)
    assert torch.equal(again.bricks, index.bricks)


@pytest.mark.parametrize("resolution", [2, 8, 9, 21, 64])
@pytest.mark.parametrize("samples", [0, 1, 100, 1003])
def test_corners(device, resolution, samples):
    index, x = random_index(resolution).to(device), positions(samples).to(device)
    expected = sparse_corners_reference(x, index)
    for layout in (x, x.t().contiguous().t()):
        assert torch.equal(sparse_corners(layout, index), expected)


@pytest.mark.parametrize("channels", [1, 3, 8, 12, 27])
@pytest.mark.parametrize("samples", [0, 1, 100, 1003])
def test_values_and_derivatives(device, channels, samples):
    resolution, empty = 11, -3.0
    index = random_index(resolution).to(device)
    table = torch.randn(index.n_rows, channels, device=device)
    grad = torch.randn(samples, channels, device=device)
    for layout in (positions(samples), positions(samples).t().contiguous().t()):
        x, values = layout.to(device).requires_grad_(), table.clone().requires_grad_()
        x_ref, values_ref = x.detach().double().requires_grad_(), table.double().requires_grad_()
        corners = sparse_corners(x, index)
        out = sparse_grid(x, corners, values, resolution, empty)
        expected = sparse_grid_reference(x_ref, corners, values_ref, resolution, empty)
        assert torch.allclose(out.double(), expected, atol=1e-5)
        if samples == 0:
            continue
        out.backward(grad)
        expected.backward(grad.double())
        assert values.grad.is_sparse
        assert torch.allclose(values.grad.to_dense().double(), values_ref.grad, atol=2e-5)
        inside = ((x > 0) & (x < 1)).all(1)  # the reference does not move clamped positions
        assert torch.allclose(x.grad.double()[inside], x_ref.grad[inside], atol=2e-3, rtol=1e-4)


def test_brute_force():
    """One sample at a time, straight from the definition."""
    resolution, empty = 6, 2.0
    index, x = random_index(resolution), positions(40).clamp(0, 1)
    values = torch.randn(index.n_rows, 2)
    rows = {tuple(v): i for i, v in enumerate(index.vertices.tolist())}
    out = sparse_grid(x, sparse_corners(x, index), values, resolution, empty)
    for point, found in zip(x.tolist(), out.tolist(), strict=True):
        total = [0.0, 0.0]
        for i in range(resolution**3):
            v = (i % resolution, i // resolution % resolution, i // resolution**2)
            weight = math.prod(max(0.0, 1 - abs(p * (resolution - 1) - a)) for p, a in zip(point, v, strict=True))
            stored = values[rows[v]].tolist() if v in rows else [empty, empty]
            total = [t + weight * s for t, s in zip(total, stored, strict=True)]
        assert found == pytest.approx(total, abs=1e-5)


def test_derivatives_by_finite_differences():
    index = random_index(5)
    values = torch.randn(index.n_rows, 2, dtype=torch.float64, requires_grad=True)
    x = (positions(5).clamp(0.01, 0.99)).double().requires_grad_()
    corners = sparse_corners_reference(x, index)
    assert torch.autograd.gradcheck(lambda p, v: sparse_grid_reference(p, corners, v, 5, -1.0), (x, values))


def test_an_empty_grid():
    index = SparseIndex.of_mask(torch.zeros(9, 9, 9, dtype=torch.bool))
    values = torch.zeros(0, 3, requires_grad=True)
    x = positions(20)
    out = sparse_grid(x, sparse_corners(x, index), values, 9, -4.0)
    assert torch.allclose(out, torch.full((20, 3), -4.0))
    out.sum().backward()
    assert values.grad.to_dense().shape == (0, 3)


def test_gradient_does_not_depend_on_threads(device):
    index = shell(33).to(device)
    values = torch.randn(index.n_rows, 27, device=device, requires_grad=True)
    x = positions(5000).to(device)
    corners, found, before = sparse_corners(x, index), [], torch.get_num_threads()
    if device.type == "cuda":
        pytest.skip("atomic additions come in any order")
    for threads in (1, 3):
        torch.set_num_threads(threads)
        values.grad = None
        sparse_grid(x, corners, values, 33).square().sum().backward()
        found.append(values.grad.to_dense())
    torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize("channels", [1, 27])
def test_variation(device, channels):
    index = random_index(17, 0.7).to(device)
    values = torch.randn(index.n_rows, channels, device=device, requires_grad=True)
    x = positions(60).to(device)
    sparse_grid(x, sparse_corners(x, index), values, 17).sum().backward()
    before = values.grad.to_dense()
    add_variation(values, index, 0.3, 1e-2)
    touched = values.grad.indices()[0]
    expected = before.clone()
    expected[touched] += 0.3 * variation_reference(values.detach(), index, 1e-2)[touched]
    assert torch.allclose(values.grad.to_dense(), expected, atol=1e-5)


def test_variation_is_a_derivative():
    index = random_index(4)
    values = torch.randn(index.n_rows, 2, dtype=torch.float64, requires_grad=True)
    vertices, total = index.vertices, torch.zeros((), dtype=torch.float64)
    for axis in range(3):
        other = index.find(vertices + torch.eye(3, dtype=torch.int64)[axis])
        d = values[other >= 0] - values[other[other >= 0]]
        total = total + (d * d + 0.1**2).sqrt().sum()
    total.backward()
    assert torch.allclose(variation_reference(values.detach(), index, 0.1), values.grad)


@pytest.mark.parametrize("width", [1, 27])
def test_adam_of_some_rows(device, width):
    """The same as with a dense gradient, whose other rows are zero."""
    rows = torch.tensor([0, 1, 2, 7, 8, 30], device=device)
    part = torch.randn(len(rows), width, device=device)
    grad = torch.sparse_coo_tensor(rows[None], part, (31, width), is_coalesced=True, check_invariants=True)
    start = [torch.randn(31, width, device=device), torch.randn(31, width, device=device),
             torch.rand(31, width, device=device)]  # fmt: skip
    found, expected, plain = ([t.clone() for t in start] for _ in range(3))
    adam_step(found[0], grad, *found[1:], step=3, lr=0.1, sparse=True)
    adam_step(expected[0], grad.to_dense(), *expected[1:], step=3, lr=0.1, sparse=True)
    with native.use_backend("reference"):
        adam_step(plain[0], grad, *plain[1:], step=3, lr=0.1, sparse=True)
    for a, b, c in zip(found, expected, plain, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
        assert torch.allclose(a, c, atol=1e-6)


@pytest.mark.parametrize("reach", [0, 1, 2])
@pytest.mark.parametrize(("resolution", "onto"), [(9, 9), (9, 17), (9, 14), (17, 9), (5, 21)])
def test_vertices_near_others(reach, resolution, onto):
    vertices = random_index(resolution, 0.02).vertices
    axis = torch.arange(onto)
    everywhere = torch.cartesian_prod(axis, axis, axis)
    apart = (everywhere[:, None] * (resolution - 1) - vertices * (onto - 1)).abs().amax(-1)
    expected = SparseIndex.of_vertices(everywhere[(apart < (1 + reach) * (onto - 1)).any(1)], onto)
    found = near(vertices, resolution, onto, reach)
    assert torch.equal(found.keys, expected.keys)


@pytest.mark.slow
def test_memory_grows_with_the_surface():
    sizes = [shell(r).n_bytes + 112 * shell(r).n_rows for r in (64, 128, 256)]
    assert all(3.2 < b / a < 4.8 for a, b in itertools.pairwise(sizes))
    assert shell(256).n_bytes < 0.05 * 4 * 256**3


@pytest.mark.parametrize(
    ("resolution", "bricks", "words"),
    [
        (1, [0], [[1] * 8]),
        (5000, [0], [[1] * 8]),
        (9, [3, 1], [[1] * 8] * 2),
        (9, [0, 0], [[1] * 8] * 2),
        (9, [-1], [[1] * 8]),
        (9, [8], [[1] * 8]),
        (9, [0, 1], [[1] * 8]),
        (9, [1], [[-1] * 8]),
    ],
)
def test_hostile_arrays_are_refused(resolution, bricks, words):
    with pytest.raises(ConfigError):
        SparseIndex.checked(resolution, torch.tensor(bricks, dtype=torch.int32), torch.tensor(words))


def test_sound_arrays_are_taken():
    index = random_index(21)
    assert torch.equal(SparseIndex.checked(21, index.bricks, index.words).keys, index.keys)


def test_wrong_arguments():
    index = random_index(5)
    with pytest.raises(ConfigError, match="number"):
        sparse_grid(torch.rand(3, 3), sparse_corners(torch.rand(2, 3), index), torch.zeros(index.n_rows, 1), 5)
    with pytest.raises(ConfigError, match="outside"):
        SparseIndex.of_vertices(torch.tensor([[0, 0, 9]]), 9)
