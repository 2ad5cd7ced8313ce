"""Pose corrections."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fieldlab.data.pose import PoseCorrections, rotation_from_6d
from tests.scenes import ring_cameras


@given(st.integers(0, 10_000))
def test_rotations_are_rotations(seed):
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    r = rotation_from_6d(values)
    assert torch.allclose(r @ r.transpose(1, 2), torch.eye(3).expand(4, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(r), torch.ones(4), atol=1e-5)
    first = torch.nn.functional.normalize(values[:, :3], dim=-1)
    assert torch.allclose(r[:, :, 0], first, atol=1e-5)


def test_no_correction_at_the_start():
    poses = ring_cameras(3).camera_to_world
    assert torch.allclose(PoseCorrections(3, 2.0)(poses), poses, atol=1e-6)


def test_translation_is_in_units_of_the_box():
    corrections = PoseCorrections(2, 5.0)
    corrections.translation.data[1] = torch.tensor([0.1, 0, 0])
    poses = ring_cameras(2).camera_to_world
    moved = (corrections(poses) - poses).detach()
    assert torch.allclose(moved[1, :, 3], torch.tensor([0.5, 0, 0]), atol=1e-6)
    assert float(moved[0].abs().max()) < 1e-6


@pytest.mark.slow
def test_six_numbers_reach_any_small_rotation():
    """Gradient descent on the correction undoes a known turn."""
    poses = ring_cameras(1).camera_to_world
    turn = rotation_from_6d(torch.tensor([[1.0, 0.05, -0.03, -0.05, 1.0, 0.08]]))
    turned = torch.cat((turn @ poses[:, :, :3], poses[:, :, 3:]), 2)
    corrections = PoseCorrections(1, 1.0)
    optimizer = torch.optim.Adam(corrections.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        (corrections(turned) - poses).square().sum().backward()
        optimizer.step()
    assert torch.allclose(corrections(turned), poses, atol=1e-3)
