"""New cameras lie where photographs could have been taken."""

from __future__ import annotations

import math

import pytest
import torch

from fieldlab.data.cameras import Cameras
from fieldlab.distill.poses import Between, Orbit, look_at, nearest_rotations, nearest_to_axes, pose_source
from tests.scenes import ring_cameras

BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def around(n: int, azimuths=(-math.pi, math.pi), elevations=(0.1, 0.8), center=(0.2, -0.1, 0.3)) -> Cameras:
    """Upright cameras looking at a point."""
    g = seeded()
    azimuth = azimuths[0] + torch.rand(n, generator=g) * (azimuths[1] - azimuths[0])
    elevation = elevations[0] + torch.rand(n, generator=g) * (elevations[1] - elevations[0])
    offset = torch.stack((elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()), dim=1) * (
        3 + torch.rand(n, 1, generator=g)
    )
    target = torch.tensor(center)
    return Cameras.pinhole(look_at(target + offset, target.expand(n, 3), torch.tensor([0.0, 0, 1])), 30.0, 24, 16)


def facing(n: int = 20) -> Cameras:
    """Cameras side by side that look the same way."""
    g = seeded()
    origins = torch.cat((torch.rand(n, 2, generator=g), torch.zeros(n, 1)), dim=1)
    targets = origins + torch.tensor([0.0, 0, 5]) + 0.3 * torch.randn(n, 3, generator=g)
    return Cameras.pinhole(look_at(origins, targets, torch.tensor([0.0, 1, 0])), 30.0, 24, 16)


def is_rotation(matrices: torch.Tensor) -> bool:
    eye = matrices @ matrices.transpose(1, 2)
    turns = bool((torch.linalg.det(matrices) > 0.99).all())
    return turns and torch.allclose(eye, torch.eye(3).expand_as(eye), atol=1e-4)


def test_look_at_is_upright_and_looks_there():
    poses = look_at(torch.tensor([[3.0, 1, 2], [0, 0, 4]]), torch.zeros(2, 3), torch.tensor([0.0, 0, 1]))
    assert is_rotation(poses[:, :, :3])
    forward = torch.nn.functional.normalize(-poses[:, :, 3], dim=1)
    assert torch.allclose(poses[:, :, 2], forward, atol=1e-6)
    assert float(poses[0, 2, 1]) < -0.5  # image rows go down in the world


def test_nearest_to_axes_is_a_least_squares_solution():
    g = seeded()
    origins = torch.randn(7, 3, generator=g)
    forward = torch.nn.functional.normalize(torch.randn(7, 3, generator=g), dim=1)
    found = nearest_to_axes(origins, forward)

    def squared(point: torch.Tensor) -> float:
        offset = point - origins
        return float((offset - (offset * forward).sum(1, keepdim=True) * forward).square().sum())

    assert all(squared(found) <= squared(found + 0.05 * torch.randn(3, generator=g)) for _ in range(50))
    assert nearest_to_axes(origins, forward[:1].expand(7, 3)) is None


def test_nearest_rotations():
    g = seeded()
    made = nearest_rotations(torch.randn(20, 3, 3, generator=g))
    assert is_rotation(made)
    assert torch.allclose(nearest_rotations(made), made, atol=1e-4)


def test_around_an_object_distance_and_elevation_are_the_photographs():
    cameras = around(200)
    source = pose_source(cameras, BOX, unbounded=False)
    assert isinstance(source, Orbit)
    assert torch.allclose(source.center, torch.tensor([0.2, -0.1, 0.3]), atol=1e-3)
    made = source.draw(500, seeded())
    assert is_rotation(made.camera_to_world[:, :, :3])
    for new, old in zip(places(made, source), places(cameras, source), strict=True):
        assert float(new.min()) >= float(old.min()) - 0.02
        assert float(new.max()) <= float(old.max()) + 0.02
        assert float(new.max() - new.min()) > 0.8 * float(old.max() - old.min())
    assert torch.equal(made.intrinsics[0], cameras.intrinsics[0])
    axis = torch.nn.functional.normalize(source.center - made.origins, dim=1)
    assert float((axis * made.forward).sum(1).min()) > 0.99


def places(cameras: Cameras, source: Orbit) -> tuple[torch.Tensor, torch.Tensor]:
    offset = cameras.origins - source.center
    return offset.norm(dim=1), (offset @ source.up / offset.norm(dim=1)).asin()


def test_what_no_camera_saw_is_not_visited():
    cameras = around(200, azimuths=(2.0, 4.5))  # across the seam at pi
    source = pose_source(cameras, BOX, unbounded=False)
    assert isinstance(source, Orbit)
    offset = source.poses(500, seeded())[:, :, 3] - source.center
    azimuth = torch.atan2(offset[:, 1], offset[:, 0]) % (2 * math.pi)
    assert float(azimuth.min()) > 1.95
    assert float(azimuth.max()) < 4.55


@pytest.mark.parametrize("unbounded", [False, True])
def test_scenes_seen_from_one_side_are_seen_from_between_their_cameras(unbounded):
    cameras = facing()
    source = pose_source(cameras, BOX, unbounded)
    assert isinstance(source, Between)
    poses = source.poses(300, seeded())
    assert is_rotation(poses[:, :, :3])
    reach = 4 * 0.1 * source.spacing + 1e-6
    assert float(poses[:, :2, 3].min()) > -reach
    assert float(poses[:, :2, 3].max()) < 1 + reach
    assert float(poses[:, 2, 2].min()) > 0.9


def test_inside_looking_out_is_between_too():
    inward = ring_cameras(12)
    poses = inward.camera_to_world.clone()
    poses[:, :, [0, 2]] *= -1
    outward = Cameras.pinhole(poses, 20.0, 16, 16)
    source = pose_source(outward, BOX, unbounded=False)
    assert isinstance(source, Between)
    made = source.poses(200, seeded())
    out = torch.nn.functional.normalize(made[:, :, 3], dim=1)
    assert float((out * made[:, :, 2]).sum(1).mean()) > 0.8  # never looking across at the others' side


def test_one_camera_is_enough():
    source = pose_source(facing(1), BOX, unbounded=True)
    assert torch.isfinite(source.poses(5, seeded())).all()


@pytest.mark.parametrize("cameras", [around(50), facing()], ids=["around", "facing"])
def test_jitter_is_small_and_keeps_the_distance(cameras):
    source = pose_source(cameras, BOX, unbounded=False)
    poses = source.poses(100, seeded())
    moved = source.jittered(poses, 0.1, seeded())
    assert is_rotation(moved[:, :, :3])
    angle = ((poses[:, :, :3] * moved[:, :, :3]).sum((1, 2)) / 2 - 0.5).clamp(-1, 1).acos()
    assert 0.02 < float(angle.max()) < 0.101
    center = source.center if isinstance(source, Orbit) else poses[:, :, 3]
    before, after = (p[:, :, 3] - center for p in (poses, moved))
    assert torch.allclose(before.norm(dim=1), after.norm(dim=1), atol=1e-4)
