"""Cameras: projection and rays undo each other for every lens model, and agree with COLMAP's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.data.cameras import CameraModel, Cameras, pixel_centers
from fieldlab.data.distortion import distort, radius_limit


def make(model=CameraModel.PERSPECTIVE, distortion=(0.0,) * 6, intrinsics=(50.0, 55.0, 31.0, 25.0), size=(64, 48), n=1):
    torch.manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(n, 3, 3)).Q
    rotation = rotation * torch.linalg.det(rotation).sign()[:, None, None]
    return Cameras(
        camera_to_world=torch.cat((rotation, torch.randn(n, 3, 1)), dim=2),
        intrinsics=torch.tensor(intrinsics).expand(n, 4).contiguous(),
        size=torch.tensor(size).expand(n, 2).contiguous(),
        model=torch.full((n,), int(model)),
        distortion=torch.tensor(distortion, dtype=torch.float32).expand(n, 6).contiguous(),
    )


def small(limit):
    return st.floats(-limit, limit, allow_nan=False)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.tuples(small(0.4), small(0.2), small(0.02), small(0.02), small(0.1), small(0.05)))
def test_perspective_round_trip(distortion):
    check_round_trip(make(CameraModel.PERSPECTIVE, distortion))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.tuples(small(0.3), small(0.1), small(0.05), small(0.02), st.just(0.0), st.just(0.0)))
def test_fisheye_round_trip(distortion):
    check_round_trip(make(CameraModel.FISHEYE, distortion, intrinsics=(22.0, 23.0, 31.0, 25.0)))


def check_round_trip(cameras):
    pixels = pixel_centers(64, 48)
    index = torch.zeros(len(pixels), dtype=torch.int64)
    directions, valid = cameras.unproject(index, pixels)
    assert directions.isfinite().all()
    assert torch.allclose(directions.norm(dim=1), torch.ones(len(pixels)), atol=1e-5)
    assert valid[(48 // 2) * 64 + 32]  # the middle of a picture can always be inverted
    rays = cameras.rays(index, pixels)
    for distance in (0.5, 30.0):
        # in float64, so that only what the rays lost in float32 is left
        points = rays.origins.double() + distance * rays.directions.double()
        back, _, seen = cameras.project(0, points)
        assert (back - pixels)[valid].abs().max() < 2e-3
        assert seen[valid].float().mean() > 0.99  # all but pixels at the very limit of the lens
        assert back.isfinite().all()


def test_equirectangular_round_trip_and_axes():
    cameras = make(
        CameraModel.EQUIRECTANGULAR, intrinsics=(64 / (2 * math.pi), 32 / math.pi, 32.0, 16.0), size=(64, 32)
    )
    pixels = pixel_centers(64, 32)
    rays = cameras.image_rays(0)
    back, _, seen = cameras.project(0, rays.origins + 3 * rays.directions)
    assert (back - pixels).abs().max() < 1e-3
    assert seen.all()
    local, _ = cameras.unproject(
        torch.zeros(4, dtype=torch.int64), torch.tensor([[32, 16], [48, 16], [32, 32], [16, 16.0]])
    )
    expected = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0], [-1, 0, 0.0]])
    assert torch.allclose(local, expected, atol=1e-6)


def test_pinhole_by_hand():
    cameras = Cameras.pinhole(torch.eye(4)[None, :3], 10.0, 8, 6)
    rays = cameras.image_rays(0)
    expected = torch.tensor([(0.5 - 4) / 10, (0.5 - 3) / 10, 1.0])
    assert torch.allclose(rays.directions[0], expected / expected.norm())
    assert torch.allclose(
        rays.directions[9], torch.tensor([-0.25, -0.15, 1.0]) / torch.tensor([-0.25, -0.15, 1.0]).norm()
    )
    pixels, depth, seen = cameras.project(0, torch.tensor([[0.0, 0, 2], [0, 0, -2], [100, 0, 2.0]]))
    assert pixels[0].tolist() == [4, 3]
    assert depth.tolist() == [2, -2, 2]
    assert seen.tolist() == [True, False, False]


def test_table_agrees_with_bisection():
    """Undistorted radii against a brute-force search on the polynomial."""
    k1, k2 = -0.25, 0.06
    cameras = make(distortion=(k1, k2, 0, 0, 0, 0), intrinsics=(50.0, 50.0, 32.0, 24.0))
    for radius in (0.01, 0.2, 0.45, 0.6):
        low, high = 0.0, 2.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if middle * (1 + k1 * middle**2 + k2 * middle**4) < radius else (low, middle)
        direction, valid = cameras.unproject(torch.tensor([0]), torch.tensor([[32 + 50 * radius, 24.0]]))
        assert valid.all()
        assert float(direction[0, 0] / direction[0, 2]) == pytest.approx(low, rel=1e-6)


def test_beyond_the_invertible_range():
    """A barrel polynomial that turns around at r = 1/sqrt(3): outer pixels have no ray, and no point lands twice."""
    cameras = make(distortion=(-1.0, 0, 0, 0, 0, 0), intrinsics=(50.0, 50.0, 32.0, 24.0))
    limit = radius_limit(np.array([-1.0, 0, 0, 0]))
    assert limit == pytest.approx(math.sqrt(0.98 / 3))
    pixels = pixel_centers(64, 48)
    directions, valid = cameras.unproject(torch.zeros(len(pixels), dtype=torch.int64), pixels)
    radius = ((pixels - torch.tensor([32.0, 24.0])) / 50).norm(dim=1)
    end = limit - limit**3
    assert valid[radius < 0.999 * end].all()
    assert not valid[radius > 1.001 * end].any()
    assert directions.isfinite().all()
    mask = cameras.valid_pixels(0)
    assert torch.equal(mask, valid)
    pose = cameras.camera_to_world[0]
    far_out = pose[:, :3] @ torch.tensor([0.99, 0.0, 1.0]) + pose[:, 3]  # folds back to the middle without a guard
    _, _, seen = cameras.project(0, far_out[None])
    assert not seen.any()
    assert make(distortion=(-0.1, 0, 0, 0, 0, 0)).valid_pixels(0) is None


def test_fisheye_covers_more_than_half_a_sphere():
    cameras = make(CameraModel.FISHEYE, intrinsics=(20.0, 20.0, 32.0, 24.0))
    direction, _ = cameras.unproject(torch.tensor([0]), torch.tensor([[32 + 20 * 2.0, 24.0]]))
    assert torch.allclose(direction[0], torch.tensor([math.sin(2.0), 0, math.cos(2.0)]), atol=1e-6)
    _, valid = cameras.unproject(torch.tensor([0]), torch.tensor([[32 + 20 * 3.5, 24.0]]))
    assert not valid.any()  # an angle above pi


@pytest.mark.slow
def test_rays_differentiate_in_poses():
    cameras = make(distortion=(0.05, -0.02, 0.001, 0.002, 0, 0), n=3)
    poses = cameras.camera_to_world.double().requires_grad_()
    index, pixels = torch.tensor([0, 2, 2]), torch.tensor([[3.5, 4.5], [60, 7], [30.2, 40]])

    def both(value):
        rays = cameras.rays(index, pixels, value)
        return torch.cat((rays.origins, rays.directions))

    assert torch.autograd.gradcheck(both, (poses,), fast_mode=True)
    grad = torch.autograd.grad(both(poses).sum(), poses)[0]
    assert (grad[1] == 0).all()
    assert (grad[2] != 0).any()


def test_mixed_models_match_separate_ones():
    parts = [
        make(CameraModel.PERSPECTIVE, (0.1, 0.02, 0.003, 0.001, 0, 0)),
        make(CameraModel.FISHEYE, (0.02, 0.01, 0, 0, 0, 0), intrinsics=(20.0, 20.0, 32.0, 24.0)),
        make(CameraModel.EQUIRECTANGULAR, intrinsics=(10.0, 15.0, 32.0, 24.0)),
        make(CameraModel.PERSPECTIVE),
    ]
    together = Cameras.concatenate(parts)
    for i, part in enumerate(parts):
        assert torch.allclose(together.image_rays(i).directions, part.image_rays(0).directions, atol=1e-6)
        pixels = pixel_centers(64, 48)
        mixed = together.rays(torch.full((len(pixels),), i), pixels)
        assert torch.allclose(mixed.directions, part.image_rays(0).directions, atol=1e-6)


def test_scaling_keeps_rays():
    """Corners of the picture keep their direction when it is resized."""
    cameras = make(distortion=(0.1, 0, 0.001, 0, 0, 0))
    half = cameras.scaled(0.5)
    assert half.size.tolist() == [[32, 24]]
    corners = torch.tensor([[0.0, 0.0], [64, 48], [10, 40]])
    index = torch.zeros(3, dtype=torch.int64)
    assert torch.allclose(cameras.rays(index, corners).directions, half.rays(index, corners / 2).directions, atol=1e-6)
    odd = make(size=(65, 47)).scaled(1 / 3)
    assert odd.size.tolist() == [[22, 16]]
    assert odd.intrinsics[0, 0] == pytest.approx(50 * 22 / 65)
    assert odd.intrinsics[0, 3] == pytest.approx(25 * 16 / 47)


def test_selection():
    cameras = make(n=5)
    assert len(cameras[1]) == 1
    assert torch.equal(cameras[-1].camera_to_world, cameras.camera_to_world[4:])
    assert len(cameras[1:4]) == 3
    assert torch.equal(cameras[torch.tensor([4, 0])].camera_to_world, cameras.camera_to_world[[4, 0]])
    with pytest.raises(IndexError):
        cameras[5]
    rays = cameras.image_rays(0)
    assert len(rays[3:7]) == 4
    assert len(rays[-1]) == 1
    assert torch.equal(rays[-1].directions, rays.directions[-1:])


def test_distortion_formula():
    """OpenCV's formula written out for one point."""
    x, y, (k1, k2, k3, k4), (p1, p2) = 0.3, -0.2, (0.1, -0.05, 0.02, 0.01), (0.003, -0.002)
    r2 = x * x + y * y
    g = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + k4 * r2**4
    expected = (x * g + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * g + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y)
    got = distort(*(torch.tensor(v, dtype=torch.float64) for v in ([[x, y]], (k1, k2, k3, k4), (p1, p2))))
    assert got[0].tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("SIMPLE_PINHOLE", [50, 31, 25]),
        ("PINHOLE", [50, 52, 31, 25]),
        ("SIMPLE_RADIAL", [50, 31, 25, -0.1]),
        ("RADIAL", [50, 31, 25, -0.1, 0.05]),
        ("OPENCV", [50, 52, 31, 25, -0.1, 0.05, 0.002, -0.003]),
        ("OPENCV_FISHEYE", [25, 26, 31, 25, 0.05, -0.02, 0.01, -0.003]),
        ("SIMPLE_FISHEYE", [25, 31, 25]),
        ("FISHEYE", [25, 26, 31, 25]),
        ("SIMPLE_RADIAL_FISHEYE", [25, 31, 25, 0.03]),
        ("RADIAL_FISHEYE", [25, 31, 25, 0.03, -0.01]),
        ("EQUIRECTANGULAR", [64, 32]),
    ],
)
def test_agrees_with_colmap(name, params):
    """Where COLMAP projects points in front of the camera, for every model the reader takes."""
    pycolmap = pytest.importorskip("pycolmap")
    from pathlib import Path

    from fieldlab.data.colmap import _lens

    width, height = 64, 32 if name == "EQUIRECTANGULAR" else 48
    theirs = pycolmap.Camera(camera_id=1, model=name, width=width, height=height, params=params)
    lens = _lens(theirs, Path("cameras.bin"))
    ours = make(lens.model, lens.distortion, lens.intrinsics(width, height), (width, height))
    ours.camera_to_world = torch.eye(4)[None, :3]
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)).double() * 0.4
    points[:, 2] = points[:, 2].abs() + 1
    pixels, _, _ = ours.project(0, points)
    expected = np.array([theirs.img_from_cam(point) for point in points.numpy()])
    assert np.abs(pixels.numpy() - expected).max() < 1e-4
