"""Real captures, where they are at hand: conventions are right when points land where they were seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fieldlab.data.colmap import find_model
from fieldlab.data.options import SceneOptions
from fieldlab.sources.load import load_scene
from tests.data.data_builders import visual_hull


@pytest.mark.slow
@pytest.mark.parametrize("name", ["colmap_cup", "colmap_txt_maupertuis"])
def test_observations_land_where_they_were_seen(real_data, name):
    """A wrong axis, transpose or half-pixel shift would show at once in the reprojection of the observations."""
    pycolmap = pytest.importorskip("pycolmap")
    scene = load_scene(real_data(name))
    model = pycolmap.Reconstruction(str(find_model(real_data(name))))
    assert scene.points.shape[0] == model.num_points3D()
    errors = []
    for views in scene.splits.values():
        for i, image_name in enumerate(views.names):
            seen = [point for point in model.find_image_with_name(image_name).points2D if point.has_point3D()]
            points = torch.from_numpy(np.array([model.point3D(point.point3D_id).xyz for point in seen])).double()
            pixels, depth, valid = views.cameras.project(i, points)
            assert (depth > 0).all()
            assert valid.float().mean() > 0.99
            errors.append(pixels.numpy() - np.array([point.xy for point in seen]))
    errors = np.concatenate(errors)
    assert np.linalg.norm(errors, axis=1).mean() == pytest.approx(model.compute_mean_reprojection_error(), rel=0.15)
    assert np.abs(np.median(errors, axis=0)).max() < 0.1
    inside = ((scene.points >= scene.aabb[0]) & (scene.points <= scene.aabb[1])).all(1)
    assert inside.float().mean() > 0.5
    assert scene.unbounded
    assert scene.near < (scene.points[:, None] - views.cameras.origins[None, :5]).norm(dim=-1).median()


@pytest.mark.slow
def test_fox(real_data):
    scene = load_scene(real_data("fox"), SceneOptions(downscale=4))
    assert {split: len(views) for split, views in scene.splits.items()} == {"train": 41, "test": 7, "val": 2}
    cameras = scene.splits["train"].cameras
    assert cameras.size[0].tolist() == [135, 240]
    assert cameras.intrinsics[0, 0] == pytest.approx(687.76 / 4)
    assert scene.unbounded
    center = scene.aabb.mean(0)
    _, _, seen = cameras.project(0, center[None])
    assert seen.all()  # the fox is what all cameras look at
    rays = cameras.image_rays(3)
    back, _, _ = cameras.project(3, rays.origins.double() + 2 * rays.directions.double())
    grid = torch.stack(torch.meshgrid(torch.arange(240), torch.arange(135), indexing="ij")[::-1], dim=-1).reshape(-1, 2)
    assert (back - grid - 0.5).abs().max() < 1e-3


@pytest.mark.slow
def test_lego(real_data):
    scene = load_scene(real_data("lego_200"))
    assert {split: len(views) for split, views in scene.splits.items()} == {"train": 100, "val": 10, "test": 25}
    assert not scene.unbounded
    assert scene.background == "white"
    # The bulldozer is known to lie within this box (the papers' own), and ours is not much larger.
    assert (scene.aabb[0] <= torch.tensor([-0.63, -1.13, -0.45])).all()
    assert (scene.aabb[1] >= torch.tensor([0.63, 1.13, 0.98])).all()
    assert (scene.aabb[1] - scene.aabb[0]).max() < 2.7
    hull = visual_hull(scene.splits["train"], scene.aabb, 32)
    assert 0.02 < hull.float().mean() < 0.3
    # Every opaque pixel of a view that was not used for carving has a hull cell in front of it.
    test = scene.splits["test"]
    for i in (0, 12):
        rays = test.cameras.image_rays(i)
        t = torch.linspace(2, 6, 200)
        points = rays.origins[:, None] + t[:, None] * rays.directions[:, None]
        cells = ((points - scene.aabb[0]) / (scene.aabb[1] - scene.aabb[0]) * 32).floor().long()
        inside = ((cells >= 0) & (cells < 32)).all(-1)
        cells = cells.clamp(0, 31)
        hit = (hull[cells[..., 0], cells[..., 1], cells[..., 2]] & inside).any(1)
        assert hit[test.image(i).reshape(-1, 4)[:, 3] > 250].all()


def test_fern(real_data):
    scene = load_scene(real_data("fern"))
    assert scene.format == "llff"
    assert len(scene.splits["test"]) == 3
    cameras = scene.splits["train"].cameras
    assert cameras.size[0].tolist() == [504, 378]
    assert cameras.intrinsics[0, 0] == pytest.approx(3260.526 * 504 / 4032, rel=1e-5)
    forward = torch.nn.functional.normalize(cameras.forward.mean(0), dim=0)
    depth = (scene.aabb.mean(0) - cameras.origins.mean(0)) @ forward
    assert 17 < depth < 80  # between the depths in the file
    assert scene.unbounded
    assert np.isfinite(scene.near)
    assert 0 < scene.near < 17
