"""Pictures of procedural scenes against brute force: marched rays, automatic derivatives, many samples per pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.synthetic import (
    ground_truth,
    ground_truth_sdf,
    look_at,
    part_names,
    procedural_cameras,
    render_procedural,
    ring_cameras,
    scene_model,
    scene_names,
)
from fieldlab.synthetic.model import Group, Light, Object, Orbit, Part, SceneModel, Surroundings, paint
from fieldlab.synthetic.scene_file import ProceduralOptions
from fieldlab.synthetic.shapes import box, sphere
from fieldlab.synthetic.trace import occlusion, shadow

pytestmark = pytest.mark.slow

SMALL = ProceduralOptions(n_train=6, n_test=2, size=40)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Arrays here are too small to be worth splitting, and threads that wait for each other crawl on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=scene_names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def cameras(name: str) -> Cameras:
    return procedural_cameras(name, SMALL)["train"]


@pytest.fixture(scope="module")
def picture(name: str, cameras: Cameras) -> dict[str, torch.Tensor]:
    return render_procedural(name, cameras, 2)


def hit_points(cameras: Cameras, i: int, depth: torch.Tensor) -> torch.Tensor:
    rays = cameras.image_rays(i)
    return rays.origins + depth.reshape(-1, 1) * rays.directions


def march(sdf, origin: torch.Tensor, direction: torch.Tensor, far: float, steps: int) -> torch.Tensor:
    """First sign change along rays [R,3] on an even lattice, bisected; inf where there is none."""
    t = torch.linspace(0.5, far, steps)
    # Pieces small enough that PyTorch runs each operation on one thread.
    outside = torch.stack([row for piece in t.split(100) for row in _outside(sdf, origin, direction, piece)])
    first = (~outside).float().argmax(0)
    low, high = t[(first - 1).clamp_min(0)], t[first]
    for _ in range(20):
        middle = (low + high) / 2
        above = sdf(origin + middle[:, None] * direction) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.where(outside.all(0), torch.full_like(low, math.inf), (low + high) / 2)


def _outside(sdf, origin: torch.Tensor, direction: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    points = origin + t[:, None, None] * direction
    return (sdf(points.reshape(-1, 3)) > 0).reshape(len(t), len(origin))


def test_depth_is_the_first_surface_along_each_ray(name: str, cameras: Cameras) -> None:
    rays = cameras.image_rays(0)
    pick = torch.arange(2, 1600, 5)
    far, steps = (7.0, 1500) if not scene_model(name).unbounded else (8.5, 1700)
    expected = march(ground_truth_sdf(name), rays.origins[pick], rays.directions[pick], far, steps)
    depth = ground_truth(name, cameras, 0).depth.reshape(-1)[pick]
    found = torch.where((depth > 0) & (depth < far), depth, torch.tensor(math.inf))
    both = expected.isfinite() & found.isfinite()
    assert both.sum() > 40
    # A lattice can step over a sliver that the tracer sees.
    assert (expected.isfinite() != found.isfinite()).float().mean() < 0.02
    error = (expected - found).abs()[both]
    assert error.median() < 1e-5
    assert (error > 1e-3).float().mean() < 0.02


def test_hits_lie_on_the_surface_and_project_to_their_pixels(name: str, cameras: Cameras, picture: dict) -> None:
    seen = picture["depth"].reshape(-1) > 0
    points = hit_points(cameras, 2, picture["depth"])[seen]
    residual = ground_truth_sdf(name)(points).abs() / (1 + picture["depth"].reshape(-1)[seen])
    assert residual.median() < 1e-6
    assert residual.quantile(0.99) < 2e-4
    pixels, z, valid = cameras.project(2, points)
    y, x = torch.nonzero(picture["depth"] > 0).unbind(1)
    assert valid.all()
    assert (z <= picture["depth"][picture["depth"] > 0] + 1e-3).all()
    assert torch.allclose(pixels, torch.stack([x, y], 1) + 0.5, atol=0.02)


def test_normals_are_unit_and_follow_the_gradient(name: str, cameras: Cameras, picture: dict) -> None:
    seen = picture["depth"].reshape(-1) > 0
    normal = picture["normal"].reshape(-1, 3)
    assert torch.allclose(normal[seen].norm(dim=1), torch.ones(int(seen.sum())), atol=1e-4)
    assert (normal[~seen] == 0).all()
    points = hit_points(cameras, 2, picture["depth"])[seen].double().requires_grad_()
    (gradient,) = torch.autograd.grad(ground_truth_sdf(name)(points).sum(), points)
    cosine = (torch.nn.functional.normalize(gradient, dim=1) * normal[seen]).sum(1)
    assert (cosine > 0.99).float().mean() > 0.9  # differences round off the edges
    facing = (cameras.image_rays(2).directions[seen] * normal[seen]).sum(1)
    assert (facing < 0.05).float().mean() > 0.99


def test_labels_nest_and_agree_with_depth(name: str, picture: dict) -> None:
    tree = part_names(name)
    ids = picture["ids"]
    assert ids.dtype == torch.int16
    assert ids.shape == (3, 40, 40)
    assert ((ids >= 0) == (picture["depth"] > 0)).all()
    for thing, group, part in ids[:, ids[0] >= 0].T.unique(dim=0).tolist():
        assert tree.parents[2][part] == group
        assert tree.parents[1][group] == thing
        assert tree.names[2][part].startswith(tree.names[1][group] + "/")
        assert tree.names[1][group].startswith(tree.names[0][thing] + "/")
    assert len(ids[0].unique()) > 3


def test_labels_name_the_part_whose_surface_is_there(name: str, cameras: Cameras, picture: dict) -> None:
    scene = scene_model(name)
    points = hit_points(cameras, 2, picture["depth"]).T.contiguous().unbind(0)
    part = picture["ids"][2].reshape(-1)
    near = []
    for p in part.unique().tolist():
        here = part == p
        if p >= 0 and not scene.groups[scene.lineage[p][1]].blend:
            distance = scene.parts[p].shape.distance(tuple(c[here] for c in points)).abs()
            near.append(distance / (1 + picture["depth"].reshape(-1)[here]))
    assert torch.cat(near).quantile(0.99) < 3e-4


def test_colors_and_alpha(name: str, picture: dict) -> None:
    for key in ("rgb", "alpha"):
        assert picture[key].min() >= 0
        assert picture[key].max() <= 1
    assert picture["rgb"][picture["alpha"] > 0].std() > 0.1
    if scene_model(name).unbounded:
        assert (picture["alpha"] == 1).all()
        assert (picture["depth"] == 0).any() or (picture["ids"][0] >= 0).all()
    else:
        assert (picture["alpha"] == 0).any()
        inner = torch.nn.functional.avg_pool2d((picture["depth"] > 0).float()[None], 3, 1, 1)[0] > 0.99
        assert (picture["alpha"][inner] > 0.7).all()


def test_rendering_again_gives_the_same(name: str, cameras: Cameras, picture: dict) -> None:
    again = render_procedural(name, cameras, 2)
    assert all(torch.equal(picture[key], again[key]) for key in picture)


def test_pieces_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = procedural_cameras("robot", SMALL)["train"]
    whole = render_procedural("robot", cameras, 0)
    monkeypatch.setattr("fieldlab.synthetic.parallel.MOST_PER_PIECE", 900)
    torch.set_num_threads(2)
    try:
        pieces = render_procedural("robot", cameras, 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(whole["ids"], pieces["ids"])
    for key in ("rgb", "alpha", "depth", "normal"):
        assert torch.allclose(whole[key], pieces[key], atol=1e-4)


def test_coverage_is_that_of_many_rays() -> None:
    orbit = scene_model("robot").orbit
    coarse, fine = ring_cameras(orbit, 3, 32, 20.0), ring_cameras(orbit, 3, 256, 20.0)
    alpha = render_procedural("robot", coarse, 1, samples=4)["alpha"]
    hit = (ground_truth("robot", fine, 1).depth > 0).float()
    truth = torch.nn.functional.avg_pool2d(hit[None, None], 8)[0, 0]
    assert (alpha - truth).abs().mean() < 0.01
    assert (alpha - truth).abs().max() < 0.45  # a rod thinner than a pixel may slip between the center rays
    assert alpha.mean().item() == pytest.approx(truth.mean().item(), abs=0.005)


def test_colors_approach_those_of_many_rays() -> None:
    orbit = scene_model("toys").orbit
    coarse, fine = ring_cameras(orbit, 3, 64, 35.0), ring_cameras(orbit, 3, 256, 35.0)
    shown, many = (render_procedural("toys", c, 0, samples=2) for c in (coarse, fine))
    premultiplied = (many["rgb"] * many["alpha"][..., None]).permute(2, 0, 1)[None]
    truth = torch.nn.functional.avg_pool2d(premultiplied, 4)[0].permute(1, 2, 0)
    error = (shown["rgb"] * shown["alpha"][..., None] - truth).abs()
    assert error.mean() < 0.012


def test_highlights_move_with_the_viewer() -> None:
    """One point of a glossy ball, seen from two sides, has two colors; its texture and shadow are the same."""
    scene = scene_model("toys")
    ball = next(p for p, part in enumerate(scene.parts) if part.name == "knob")
    low, high = scene.parts[ball].shape.lower, scene.parts[ball].shape.upper
    top = torch.tensor([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[2]])
    light = torch.tensor(scene.lights[0].direction)
    mirror = torch.stack([-light[0], -light[1], light[2]])  # the light's reflection in the level top of the ball
    colors = []
    for toward in (mirror, light):
        pose = look_at((top + 3 * toward)[None], top[None])
        picture = render_procedural("toys", Cameras.pinhole(pose, 4000.0, 5, 5), 0)
        assert picture["ids"][2, 2, 2] == ball
        colors.append(picture["rgb"][2, 2])
    assert (colors[0] - colors[1]).mean() > 0.1


def ball_above_floor(width: float) -> SceneModel:
    floor = Group("floor", (Part("slab", box(3, 3, 0.1).at(0, 0, -0.1), paint("#808080")),))
    ball = Group("ball", (Part("ball", sphere(0.4).at(0, 0, 1.0), paint("#808080")),))
    return SceneModel(
        name="test",
        objects=(Object("all", (floor, ball)),),
        lights=(Light((0.3, 0.0, 1.0), (1.0, 1.0, 1.0), width),),
        surroundings=Surroundings((0, 0, 0), (0, 0, 0), (0, 0, 0)),
        orbit=Orbit((0, 0, 0), 3, 0, 50),
        aabb=((-3, -3, -0.2), (3, 3, 1.5)),
    )


def test_shadows_match_a_light_of_many_points() -> None:
    width = 0.15
    scene = ball_above_floor(width)
    x = torch.linspace(-1.2, 0.8, 201)
    points = (x, torch.zeros_like(x), torch.full_like(x, 2e-3))
    found = shadow(scene, points, scene.lights[0])
    toward = torch.tensor(scene.lights[0].direction)
    side = torch.nn.functional.normalize(torch.linalg.cross(toward, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    other = torch.linalg.cross(toward, side)
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 41)] * 2, indexing="ij"), -1).reshape(-1, 2)
    disc = grid[grid.norm(dim=1) <= 1] * width
    rays = torch.nn.functional.normalize(toward + disc[:, :1] * side + disc[:, 1:] * other, dim=1)
    offset = torch.stack(points, 1) - torch.tensor([0.0, 0.0, 1.0])
    along = -(offset @ rays.T)
    clear = (offset[:, None] + along[..., None] * rays).norm(dim=2) > 0.4
    truth = clear.float().mean(1)
    assert (truth == 0).any()
    assert (truth == 1).any()
    assert (found - truth).abs().max() < 0.12
    assert (found - truth).abs().mean() < 0.02


def test_corners_are_darker_than_open_places() -> None:
    scene = ball_above_floor(0.1)
    under = tuple(torch.tensor([c]) for c in (0.0, 0.0, 0.0))
    away = tuple(torch.tensor([c]) for c in (2.0, 0.0, 0.0))
    up = tuple(torch.tensor([c]) for c in (0.0, 0.0, 1.0))
    assert occlusion(scene, away, up).item() == pytest.approx(1.0)
    assert occlusion(scene, under, up, reach=1.0).item() < 0.8


@pytest.mark.parametrize("model", [CameraModel.FISHEYE, CameraModel.EQUIRECTANGULAR])
def test_other_lenses(model: CameraModel) -> None:
    pose = look_at(torch.tensor([[1.5, -1.0, 1.2]]), torch.tensor([[0.0, 0.0, 0.8]]))
    cameras = Cameras.pinhole(pose, 14.0, 48, 32)
    cameras.model[:] = model
    if model == CameraModel.EQUIRECTANGULAR:
        cameras.intrinsics[:, :2] = 48 / (2 * math.pi)
    depth = ground_truth("garden", cameras, 0).depth
    assert depth.shape == (32, 48)
    seen = depth.reshape(-1) > 0
    assert seen.float().mean() > 0.3
    residual = ground_truth_sdf("garden")(hit_points(cameras, 0, depth)[seen]).abs()
    assert (residual / (1 + depth.reshape(-1)[seen])).quantile(0.99) < 3e-4


def test_far_away_nothing_is_hit_and_inside_a_solid_all_is() -> None:
    pose = look_at(torch.tensor([[0.0, -300.0, 0.0]]), torch.tensor([[0.0, -600.0, 0.0]]))
    picture = render_procedural("robot", Cameras.pinhole(pose, 20.0, 8, 8), 0)
    assert (picture["alpha"] == 0).all()
    assert (picture["ids"] == -1).all()
    assert torch.isfinite(picture["rgb"]).all()
    inside = look_at(torch.tensor([[0.0, 0.0, 0.95]]), torch.tensor([[0.0, -1.0, 0.95]]))
    picture = render_procedural("robot", Cameras.pinhole(inside, 20.0, 8, 8), 0)
    assert (picture["alpha"] == 1).all()
    assert torch.isfinite(picture["rgb"]).all()
