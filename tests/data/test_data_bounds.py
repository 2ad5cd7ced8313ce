"""Bounds: boxes hold what they must and not much more, found from silhouettes, points, files or cameras alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.data.bounds import find_bounds, focus_point
from fieldlab.data.cameras import Cameras
from fieldlab.data.frames import Frame, Lens, Reading
from fieldlab.data.hull import has_transparency, hull_box, silhouettes
from fieldlab.data.options import SceneOptions
from fieldlab.data.views import Views
from fieldlab.sources.load import load_scene
from tests.data.data_builders import look_at, ring, visual_hull


def reading(**known) -> Reading:
    return Reading("transforms", Path("transforms.json"), [], **known)


def cameras_of(poses, focal=40.0, width=48, height=36) -> Cameras:
    return Cameras.pinhole(torch.from_numpy(np.stack(poses)).float(), focal, width, height)


def photographs(poses, **lens) -> Views:
    cameras = cameras_of(poses, **lens)
    return Views(cameras, [str(i) for i in range(len(poses))], torch.zeros(int(cameras.pixel_counts().sum()), 3).byte())


def silhouettes_of(poses, spheres, **lens) -> Views:
    """RGBA views of opaque spheres (center, radius): a ray hits when it passes the center closer than the radius."""
    cameras = cameras_of(poses, **lens)
    pixels = []
    for i in range(len(poses)):
        rays = cameras.image_rays(i)
        hit = torch.zeros(len(rays), dtype=torch.bool)
        for center, radius in spheres:
            offset = torch.tensor(center, dtype=torch.float32) - rays.origins
            along = (offset * rays.directions).sum(1, keepdim=True)
            hit |= ((offset - along * rays.directions).norm(dim=1) < radius) & (along[:, 0] > 0)
        pixels.append(torch.cat((torch.full((len(hit), 3), 99), 255 * hit[:, None]), dim=1).byte())
    return Views(cameras, [str(i) for i in range(len(poses))], torch.cat(pixels))


def around(count, radius=4.0):
    """Cameras on two rings, one above the other."""
    return ring(count, radius, 2.5) + ring(count, radius, -0.7)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.integers(3, 12), st.integers(0, 1000))
def test_focus_is_where_axes_meet(target, count, seed):
    target = np.array(target)
    origins = target + 5 * np.random.default_rng(seed).normal(size=(count, 3)) + [0, 0, 1.0]
    forward = target - origins
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    assert np.allclose(focus_point(origins, forward), target, atol=1e-2)


def test_focus_ignores_a_stray_camera():
    poses = np.stack(ring(12))
    origins, forward = poses[:, :, 3], poses[:, :, 2]
    forward[0] = [0.0, 0.0, 1.0]
    plain = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    unweighted = np.linalg.solve(plain.sum(0), np.einsum("nij,nj->i", plain, origins))
    robust = focus_point(origins, forward)
    assert np.linalg.norm(robust) < 0.3 * np.linalg.norm(unweighted)


@pytest.mark.slow
@pytest.mark.parametrize("spheres", [[((0.0, 0.0, 0.0), 0.8)], [((0.5, -0.3, 0.2), 0.3), ((-0.6, 0.4, -0.1), 0.25)]])
def test_hull_box_is_tight_and_holds_the_object(spheres):
    views = silhouettes_of(around(12), spheres, focal=80.0, width=96, height=72)
    assert has_transparency(views)
    bounds = find_bounds(views, reading(), SceneOptions(cube=False))
    low = np.min([np.array(center) - radius for center, radius in spheres], axis=0)
    high = np.max([np.array(center) + radius for center, radius in spheres], axis=0)
    assert (bounds.aabb[0] <= low).all()
    assert (bounds.aabb[1] >= high).all()
    assert (np.ptp(bounds.aabb, axis=0) <= 1.35 * (high - low)).all()
    assert not bounds.unbounded
    cube = find_bounds(views, reading(), SceneOptions()).aabb
    assert np.ptp(np.ptp(cube, axis=0)) < 1e-9
    assert (cube[0] <= bounds.aabb[0] + 1e-9).all()
    assert (cube[1] >= bounds.aabb[1] - 1e-9).all()
    gap = np.linalg.norm(np.stack(around(12))[:, :, 3], axis=1).min() - np.linalg.norm(high).max()
    assert 0 < bounds.near < gap


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [32, 48, 50])
def test_hull_holds_every_point_of_the_object(resolution):
    spheres = [((0.3, 0.0, 0.1), 0.5), ((-0.5, 0.2, 0.0), 0.2)]
    views = silhouettes_of(around(10), spheres)
    aabb = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    hull = visual_hull(views, aabb, resolution)
    assert hull.shape == (resolution,) * 3
    axis = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    centers = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    inside = torch.zeros_like(hull)
    for center, radius in spheres:
        inside |= (centers - torch.tensor(center)).norm(dim=-1) < radius
    assert hull[inside].all()
    assert hull.float().mean() < 4 * inside.float().mean()  # and most of the empty space is gone


@pytest.mark.slow
def test_hull_with_large_pictures_and_few_views_in_the_picture():
    """Pooled silhouettes stay conservative, and parts that only some views show are kept."""
    spheres = [((0.0, 0.0, 0.0), 0.6)]
    poses = [*around(5), look_at(np.array([1.2, 0.0, 0.1]))]
    views = silhouettes_of(poses, spheres, focal=600.0, width=700, height=500)
    hull = visual_hull(views, torch.tensor([[-0.7, -0.7, -0.7], [0.7, 0.7, 0.7]]), 32)
    axis = (torch.arange(32) + 0.5) / 32 * 1.4 - 0.7
    centers = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    assert hull[centers.norm(dim=-1) < 0.6].all()


def test_masked_pixels_do_not_carve():
    spheres = [((0.0, 0.0, 0.0), 0.6)]
    views = silhouettes_of(around(6), spheres)
    views.image(0)[..., 3] = 0  # a view whose object was painted over ...
    aabb = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    assert not visual_hull(views, aabb, 32).any()
    views.masks = torch.ones(len(views.pixels), dtype=torch.bool)
    views.mask(0)[:] = False  # ... and says that its pixels do not count
    assert visual_hull(views, aabb, 32)[15:17, 15:17, 15:17].all()


def test_silhouettes_that_contradict_each_other():
    views = silhouettes_of(around(6), [((0.0, 0.0, 0.0), 0.6)])
    views.pixels[:, 3] = 0
    bounds = find_bounds(views, reading(), SceneOptions())
    assert np.isfinite(bounds.aabb).all()
    assert any("rule everything out" in note for note in bounds.notes)


def test_no_hull_without_alpha():
    assert not has_transparency(photographs(ring(4)))


def test_a_ball_is_ruled_out_only_by_a_view_that_holds_all_of_it():
    """Against many points of its surface: none of them is in a pixel that shows something, nor outside the picture."""
    poses = [*around(4), look_at(np.array([1.4, 0.2, 0.6]))]
    views = silhouettes_of(poses, [((0.0, 0.0, 0.0), 0.5)], focal=70.0, width=96, height=72)
    g = torch.Generator().manual_seed(0)
    centers = (torch.rand(300, 3, generator=g) - 0.5) * 3
    radius = torch.rand(300, generator=g) * 0.25
    surface = torch.nn.functional.normalize(torch.randn(200, 3, generator=g), dim=1)
    carved = 0
    for outline in silhouettes(views):
        ruled_out, _, _, seen = outline.judge(centers, radius)
        assert torch.equal(seen, views.cameras.project(outline.i, centers)[2])
        points = (centers[:, None] + radius[:, None, None] * surface)[ruled_out].view(-1, 3)
        pixels, _, inside = views.cameras.project(outline.i, points)
        assert bool(inside.all())
        column, row = pixels.long().clamp_max(torch.tensor([95, 71])).unbind(1)
        assert not bool(views.image(outline.i)[row, column, 3].any())
        carved += int(ruled_out.sum())
    assert carved > 300


@pytest.mark.slow
def test_faint_pixels_are_empty():
    views = silhouettes_of(around(8), [((0.0, 0.0, 0.0), 0.6)], focal=80.0, width=96, height=72)
    start = torch.tensor([[-1.5] * 3, [1.5] * 3])
    box = hull_box(views, start)
    empty = views.pixels[:, 3] == 0
    views.pixels[empty, 3] = 4
    assert torch.equal(hull_box(views, start), box)
    views.pixels[empty, 3] = 5
    assert float((hull_box(views, start) - start).abs().max()) < 0.5


@pytest.mark.slow
def test_the_box_leaves_out_what_few_views_see():
    """One view in twelve looks at a second ball, which the others do not have in their pictures."""
    far = (0.0, 0.0, 9.0)
    poses = [*around(6)[:11], look_at(np.array([4.0, 0.0, 9.0]), np.array(far))]
    views = silhouettes_of(poses, [((0.0, 0.0, 0.0), 0.6), (far, 0.6)], focal=80.0, width=96, height=72)
    start = torch.tensor([[-2.0, -2, -2], [2, 2, 10]])
    assert float(hull_box(views, start)[1, 2]) > 8.0  # a tenth of twelve is one
    more = silhouettes_of([*around(12)[:23], poses[-1]], [((0.0, 0.0, 0.0), 0.6), (far, 0.6)], focal=80.0, width=96,
                          height=72)  # fmt: skip
    assert float(hull_box(more, start)[1, 2]) < 4.0  # of twenty-four it is two


def test_inward_photographs():
    bounds = find_bounds(photographs(ring(20, 4.0, 1.5)), reading(), SceneOptions())
    distance = np.hypot(4.0, 1.5)
    assert bounds.unbounded
    assert np.allclose(bounds.aabb.mean(0), 0, atol=1e-2)
    assert 0.5 * distance <= np.ptp(bounds.aabb[:, 0]) / 2 <= 1.2 * distance
    assert 0 < bounds.near < 0.2 * distance


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100), st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_bounds_follow_the_units_of_the_data(scale, shift):
    """The same capture in other units has the same box in other units."""
    generator = np.random.default_rng(0)
    points = np.concatenate((generator.normal(size=(300, 3)) * 0.6, 9 * generator.normal(size=(60, 3))))
    moved = scale * points + shift
    poses = np.stack(ring(14))
    other = poses.copy()
    other[:, :, 3] = scale * poses[:, :, 3] + shift
    one = find_bounds(photographs(poses), reading(points=points), SceneOptions())
    two = find_bounds(photographs(other), reading(points=moved), SceneOptions())
    tolerance = 2e-3 * (scale + np.abs(shift).max())  # poses are float32
    assert np.allclose(two.aabb, scale * one.aabb + shift, atol=tolerance)
    assert two.near == pytest.approx(scale * one.near, rel=0.1, abs=tolerance)


def test_points_shrink_the_box_and_set_the_near_distance():
    points = np.random.default_rng(0).normal(size=(1000, 3)) * 0.2
    with_points = find_bounds(
        photographs(ring(20)), reading(points=points, point_weights=np.full(1000, 5.0)), SceneOptions()
    )
    without = find_bounds(photographs(ring(20)), reading(), SceneOptions())
    assert np.ptp(with_points.aabb[:, 0]) < np.ptp(without.aabb[:, 0])
    assert ((points > with_points.aabb[0]) & (points < with_points.aabb[1])).all()
    nearest = min(np.linalg.norm(points - pose[:, 3], axis=1).min() for pose in ring(20))
    assert 0.75 * nearest < with_points.near < nearest  # fog would gather in what is left free
    assert 0.95 * nearest < with_points.content < 1.2 * nearest
    assert without.content == pytest.approx(0.5 * 4.0, rel=0.1)


def facing_x(count=8):
    return [look_at(np.array([-5.0, 0.3 * i, 0.2 * (i % 2)]), np.array([50.0, 0.3 * i, 0.0])) for i in range(count)]


def test_forward_facing_with_depths_from_the_file():
    frames = [
        Frame(str(i), Path("a.png"), pose, Lens(0), Path("poses_bounds.npy"), "row", near_far=(4.0, 40.0))
        for i, pose in enumerate(facing_x())
    ]
    bounds = find_bounds(photographs(facing_x()), Reading("llff", Path("x"), frames), SceneOptions())
    assert bounds.unbounded
    assert bounds.aabb[0, 0] == pytest.approx(-5 + 0.9 * 4.0, abs=0.1)  # begins just before the nearest content
    assert bounds.aabb[0, 1] < 0 < bounds.aabb[1, 1]
    assert 0 < bounds.near < 4.0
    assert bounds.near < bounds.content < 4.1


def test_forward_facing_with_points_and_with_nothing():
    generator = np.random.default_rng(0)
    points = np.stack(
        (generator.uniform(0, 30, 2000), generator.normal(size=2000), generator.normal(size=2000)), axis=1
    )
    bounds = find_bounds(photographs(facing_x()), reading(points=points), SceneOptions())
    assert bounds.aabb[0, 0] == pytest.approx(0, abs=1.0)
    assert bounds.unbounded
    guess = find_bounds(photographs(facing_x()), reading(), SceneOptions())
    assert np.isfinite(guess.aabb).all()
    assert guess.aabb[0, 0] > -5
    single = find_bounds(photographs(facing_x(1)), reading(), SceneOptions())
    assert (np.ptp(single.aabb, axis=0) > 0).all()
    assert single.near > 0


def test_cameras_that_look_around():
    angles = 2 * np.pi * np.arange(12) / 12
    poses = [
        look_at(np.array([0.1 * np.cos(a), 0.1 * np.sin(a), 0]), np.array([5 * np.cos(a), 5 * np.sin(a), 0]))
        for a in angles
    ]
    bounds = find_bounds(photographs(poses), reading(), SceneOptions())
    assert bounds.unbounded
    assert (bounds.aabb[0] < -0.1).all()
    assert (bounds.aabb[1] > 0.1).all()


def test_without_contraction_the_box_holds_cameras_and_points():
    points = np.random.default_rng(0).uniform(-9, 9, (500, 3))
    bounds = find_bounds(photographs(ring(10)), reading(points=points), SceneOptions(unbounded=False))
    assert not bounds.unbounded
    assert ((points > bounds.aabb[0]) & (points < bounds.aabb[1])).all(1).mean() > 0.9
    origins = np.stack(ring(10))[:, :, 3]
    assert ((origins >= bounds.aabb[0]) & (origins <= bounds.aabb[1])).all()
    alone = find_bounds(photographs(ring(10)), reading(), SceneOptions(unbounded=False))
    assert (np.ptp(alone.aabb, axis=0) > 2 * 4.0).all()


def test_given_box_goes_first():
    options = SceneOptions(aabb=(-1, -2, -3, 1, 2, 4))
    bounds = find_bounds(
        photographs(ring(10)), reading(aabb=np.array([[0, 0, 0], [9, 9, 9.0]]), unbounded=False), options
    )
    assert bounds.aabb.tolist() == [[-1, -2, -3], [1, 2, 4]]
    assert not bounds.unbounded
    assert find_bounds(photographs(ring(10)), reading(), SceneOptions(aabb=options.aabb, unbounded=True)).unbounded


def test_instant_ngp_cube(capture):
    made = capture(8)
    made.data["aabb_scale"] = 1
    scene = load_scene(made.save())
    half = 0.5 / 0.33
    assert not scene.unbounded
    assert torch.allclose(scene.aabb, torch.tensor([[-half] * 3, [half] * 3]))
    made.data |= {"scale": 0.5, "offset": [0.5, 0.0, 1.0]}
    scene = load_scene(made.save())
    assert torch.allclose(scene.aabb, torch.tensor([[-1.0, 0, -2], [1, 2, 0]]))
    made.data["aabb_scale"] = 16
    assert load_scene(made.save()).unbounded
