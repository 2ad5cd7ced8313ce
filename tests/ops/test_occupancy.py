"""Occupancy bits: packing and unpacking, queries, running maxima, points in cells."""

from __future__ import annotations

import pytest
import torch
from ray_cases import CUBE, random_mask

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.occupancy import (
    cell_points,
    cell_points_reference,
    occupancy_from_density,
    pack_occupancy,
    pack_reference,
    query_mask,
    query_occupancy,
    unpack_occupancy,
    update_occupancy,
    update_reference,
)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("resolution", [4, 12, 32, 64])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 1.0])
def test_packing(device, levels, resolution, fraction):
    mask = random_mask(levels, resolution, fraction, 3).to(device)
    grid = pack_occupancy(mask, CUBE)
    assert torch.equal(unpack_occupancy(grid), mask)
    bits, coarse = pack_reference(mask.float().reshape(-1), 0.5, resolution, levels)
    assert torch.equal(grid.bits, bits)
    assert torch.equal(grid.coarse, coarse)


def test_where_the_bits_are(device):
    mask = torch.zeros(2, 32, 32, 32, dtype=torch.bool)
    mask[1, 21, 6, 31] = True
    grid = pack_occupancy(mask.to(device), CUBE)
    word = (31 // 4) * 64 + (6 // 4) * 8 + 21 // 4
    expected = 1 << (21 % 4 + 4 * (6 % 4) + 16 * (31 % 4))
    assert grid.bits.nonzero().tolist() == [[1, word]]
    assert int(grid.bits[1, word]) % 2**64 == expected
    coarse_word = (7 // 4) * 4 + (1 // 4) * 2 + 5 // 4
    assert grid.coarse.nonzero().tolist() == [[1, coarse_word]]
    assert int(grid.coarse[1, coarse_word]) % 2**64 == 1 << (5 % 4 + 4 * (1 % 4) + 16 * (7 % 4))


def test_threshold_is_strict(device):
    values = torch.zeros(64)
    values[5], values[6] = 0.25, 0.2500001
    grid = occupancy_from_density(values.to(device), 0.25, CUBE, 1)
    assert unpack_occupancy(grid).reshape(-1).nonzero().tolist() == [[6]]


@pytest.mark.parametrize("shape", [(1, 6, 6, 6), (1, 8, 8, 4), (17, 4, 4, 4), (8, 8, 8)])
def test_shapes_are_checked(shape):
    with pytest.raises(ConfigError):
        pack_occupancy(torch.zeros(shape, dtype=torch.bool), CUBE)


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("resolution", [4, 36, 64])
def test_query(device, levels, resolution):
    mask = random_mask(levels, resolution, 0.4, 5)
    aabb = torch.tensor([[-1.0, 0.0, 2.0], [1.0, 3.0, 2.5]])
    grid = pack_occupancy(mask.to(device), aabb)
    torch.manual_seed(0)
    size = (aabb[1] - aabb[0]) * 2**levels
    points = (aabb[0] + aabb[1]) / 2 + (torch.rand(20000, 3) - 0.5) * size
    found = query_occupancy(grid, points.to(device)).cpu()
    expected = query_mask(mask, aabb.double(), points.double())
    assert int((found != expected).sum()) <= 3  # points that rounding takes across a cell's side
    assert 0.01 < expected.float().mean() < 0.4
    with native.use_backend("reference"):
        assert int((query_occupancy(grid, points.to(device)).cpu() != expected).sum()) <= 3


def test_query_at_the_edges(device):
    """Level by level full or empty, which shows the level that decides: sides belong to the next one out."""
    mask = torch.zeros(3, 4, 4, 4, dtype=torch.bool)
    mask[1] = True
    grid = pack_occupancy(mask.to(device), CUBE)
    x = torch.tensor([0.0, 0.999, 1.0, -1.0, 1.999, 2.0, 3.9, 4.0, 100.0, torch.nan, torch.inf])
    points = torch.stack([x, 0 * x.nan_to_num(0, 0, 0), 0 * x.nan_to_num(0, 0, 0)], 1)
    expected = [False, False, True, True, True, False, False, False, False, False, False]
    assert query_occupancy(grid, points.to(device)).tolist() == expected
    assert query_mask(mask, CUBE, points).tolist() == expected


def test_update(device):
    torch.manual_seed(2)
    values = torch.rand(2 * 16**3)
    cells = torch.randperm(len(values))[:5000]
    new = torch.rand(5000) * 2 - 0.5
    expected = values.clone()
    for cell, value in zip(cells.tolist(), new.tolist(), strict=True):
        expected[cell] = max(0.95 * expected[cell].item(), value)
    found, reference = values.clone().to(device), values.clone()
    update_occupancy(found, cells.to(device), new.to(device), 0.95)
    update_reference(reference, cells, new, 0.95)
    assert torch.allclose(found.cpu(), expected, atol=1e-6)
    assert torch.allclose(reference, expected, atol=1e-6)
    again = values.clone().to(device)
    update_occupancy(again, cells.flip(0).to(device), new.flip(0).to(device), 0.95)
    assert torch.equal(again, found)


def test_update_ignores_nan_and_raises_marked_cells(device):
    values = torch.tensor([-1.0, 0.5] + [0.0] * 62, device=device)
    cells = torch.tensor([0, 1], device=device)
    for update in (update_occupancy, update_reference):
        found = values.clone()
        update(found, cells, torch.tensor([0.25, torch.nan], device=device), 0.5)
        assert found[:2].tolist() == [0.25, 0.25]


@pytest.mark.parametrize("cells", [[-1], [64]])
def test_update_checks_indices(device, cells):
    with pytest.raises(ConfigError, match="outside"):
        update_occupancy(
            torch.zeros(64, device=device), torch.tensor(cells, device=device), torch.ones(1).to(device), 1.0
        )


@pytest.mark.parametrize("jittered", [False, True])
def test_cell_points_lie_in_their_cells(device, jittered):
    """Each cell's point is occupied in a grid where only that cell is, wherever its own level decides."""
    levels, resolution = 3, 8
    aabb = torch.tensor([[0.0, -1.0, 2.0], [1.0, 4.0, 3.0]])
    cells = torch.arange(levels * resolution**3)
    torch.manual_seed(4)
    jitter = torch.rand(len(cells), 3) * 0.98 + 0.01 if jittered else None
    found = cell_points(cells.to(device), resolution, aabb.to(device), None if jitter is None else jitter.to(device))
    assert torch.allclose(found.cpu(), cell_points_reference(cells, resolution, aabb, jitter), atol=1e-5)
    inner = torch.zeros(levels, resolution, resolution, resolution, dtype=torch.bool)
    inner[1:, 2:6, 2:6, 2:6] = True  # where an inner level decides
    outer = (~inner).reshape(-1)
    for cell in cells[outer][::37].tolist():
        mask = torch.zeros(levels * resolution**3, dtype=torch.bool)
        mask[cell] = True
        grid = pack_occupancy(mask.view(levels, resolution, resolution, resolution).to(device), aabb.to(device))
        hits = query_occupancy(grid, found[outer.to(device)]).cpu()
        assert cells[outer][hits].tolist() == [cell]
