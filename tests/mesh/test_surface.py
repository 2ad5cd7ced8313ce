"""Surfaces of fields whose shape is known: where they are, that they are closed, and what is taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.errors import ConfigError
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.surface import blocks
from fieldlab.mesh.surface.blocks import BLOCK, Grid, sample_blocks
from fieldlab.mesh.surface.contour import contour
from fieldlab.mesh.surface.depth_views import HIDDEN, DepthViews, finer, reached, see_depth
from fieldlab.mesh.surface.extract import extract_mesh, extract_surface
from fieldlab.mesh.surface.implicit import FusedDepth
from fieldlab.mesh.surface.refine import decimated, smoothed
from fieldlab.ops.samples import Samples
from fieldlab.render.occupancy import NEVER, OccupancyGrid
from tests.mesh.formula_model import CENTER, RADIUS, FormulaModel, ball_color, ball_density
from tests.mesh.solid_field import cameras_around, solid_model


def edge_counts(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(np.concatenate((faces[:, :2], faces[:, 1:], faces[:, [2, 0]])), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


class Formula:
    """An implicit function given by a formula; what it is near of is a cloud of points all over the box."""

    def __init__(self, box: torch.Tensor, function, reach: float = 0.0, points: torch.Tensor | None = None) -> None:
        self.box, self.function, self._reach, self.points, self.evaluated = box, function, reach, points, 0

    def values(self, points: torch.Tensor) -> torch.Tensor:
        self.evaluated += len(points)
        return self.function(points).clamp(-1, 1)

    def near(self):
        if self.points is not None:
            yield self.points
            return
        steps = torch.linspace(0, 1, 33)
        yield self.box[0] + torch.cartesian_prod(steps, steps, steps) * (self.box[1] - self.box[0])

    def reach(self) -> float:
        return self._reach


BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [24, 64])
def test_ball_has_its_radius_is_closed_and_faces_outward(ball, resolution):
    mesh, report = extract_mesh(ball, resolution=resolution)
    assert report.automatic
    assert report.method == "density"
    assert report.cell == pytest.approx(2 / resolution)
    radius = np.linalg.norm(mesh.vertices - CENTER.double().numpy(), axis=1)
    assert np.abs(radius - RADIUS).max() < 0.3 * report.cell
    assert np.abs(radius - RADIUS).mean() < 0.1 * report.cell
    assert (edge_counts(mesh.faces) == 2).all()
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert made.is_watertight
    assert made.is_winding_consistent
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.03)
    outward = (mesh.normals() * (mesh.vertices - CENTER.numpy())).sum(1) / radius
    assert outward.min() > 0.99  # normals are the gradient's


@pytest.mark.slow
def test_colors_are_those_of_the_field(ball):
    mesh, _ = extract_mesh(ball, resolution=48)
    expected = ball_color(torch.from_numpy(mesh.vertices).float()).numpy() * 255
    assert np.abs(mesh.colors - expected).max() < 12


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(4, 21))
@settings(max_examples=15, deadline=None)
def test_any_function_gives_a_closed_mesh_within_the_box(seed, resolution):
    """Noise: every configuration of marching cubes, across the borders of blocks and windows and the box itself."""
    noise = torch.rand(40, 40, 40, generator=torch.Generator().manual_seed(seed)) - 0.4

    def function(points):
        at = ((points - BOX[0]) / 2 * 39).round().long().clamp(0, 39)
        return noise[at[:, 0], at[:, 1], at[:, 2]]

    values = sample_blocks(Formula(BOX, function), Grid.over(BOX, resolution))
    mesh = contour(values)
    assert (edge_counts(mesh.faces) % 2 == 0).all()
    assert np.abs(mesh.vertices).max() <= 1
    assert volume(mesh) > 0


@pytest.mark.slow
def test_windows_leave_no_seam_and_find_the_same_surface_as_one_grid():
    """A torus over many blocks and windows, against marching cubes on the whole grid at once."""
    from skimage.measure import marching_cubes

    def torus(p):
        return ((p[:, :2].norm(dim=-1) - 0.6).square() + p[:, 2].square()).sqrt() - 0.25

    grid = Grid.over(BOX, 80)
    values = sample_blocks(Formula(BOX, torus), grid)
    mesh = contour(values)
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert made.is_watertight
    assert made.body_count == 1
    assert made.euler_number == 0
    axis = torch.linspace(-1, 1, 81)
    whole = torus(torch.cartesian_prod(axis, axis, axis)).view(81, 81, 81)
    vertices, _, _, _ = marching_cubes(whole.numpy(), 0.0)
    assert abs(len(vertices) - len(mesh.vertices)) < 0.01 * len(vertices)  # but for values that are moved off zero
    assert volume(mesh) == pytest.approx(2 * np.pi**2 * 0.6 * 0.25**2, rel=0.01)


def test_the_surface_is_followed_from_wherever_it_begins():
    """Known near one point only, the whole ball is found, and little besides is evaluated."""
    start = Formula(BOX, lambda p: p.norm(dim=-1) - 0.7, points=torch.tensor([[0.7, 0.0, 0.0]]))
    mesh = contour(sample_blocks(start, Grid.over(BOX, 96)))
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=0.01)
    assert start.evaluated < 0.4 * 97**3


def test_keys_and_blocks_are_inverse():
    grid = Grid.over(torch.tensor([[0.0, 0, 0], [2, 1, 0.5]]), 40)
    assert grid.cells.tolist() == [40, 20, 10]
    assert torch.allclose(grid.spacing, torch.full((3,), 0.05, dtype=torch.float64))
    every = torch.cartesian_prod(*[torch.arange(int(n)) for n in grid.blocks])
    assert torch.equal(grid.of(grid.keys(every)), every)
    assert len(torch.unique(grid.keys(every))) == len(every)
    assert bool((grid.blocks * BLOCK >= grid.cells + 3).all())  # the vertices and a layer around them


@pytest.mark.slow
def test_a_thing_cut_by_the_box_is_closed_on_the_box_and_the_face_is_named():
    aabb = torch.stack((CENTER - 1, CENTER + torch.tensor([0.0, 1, 1])))
    mesh, report = extract_mesh(FormulaModel(aabb, ball_density, ball_color), resolution=40)
    assert (edge_counts(mesh.faces) == 2).all()
    assert mesh.vertices[:, 0].max() == pytest.approx(float(CENTER[0]), abs=1e-6)
    assert volume(mesh) == pytest.approx(2 / 3 * np.pi * RADIUS**3, rel=0.05)
    assert report.cut == ("+x",)


def two_balls(small: float, strength: float = 1.0) -> FormulaModel:
    other = CENTER + torch.tensor([0.8, 0.8, 0.8])

    def density(points):
        floater = strength * 88.7 * torch.exp(((small - (points - other).norm(dim=-1)) / 0.02).clamp(-20, 3))
        return torch.maximum(ball_density(points), floater)

    return FormulaModel(torch.stack((CENTER - 1, CENTER + 1)), density, ball_color)


@pytest.mark.slow
def test_floaters_go_and_second_things_stay():
    _, report = extract_mesh(two_balls(0.02), resolution=128)
    assert report.cleaning.parts_removed == 1
    assert report.cleaning.faces_removed > 0
    mesh, report = extract_mesh(two_balls(0.1), resolution=64)
    assert report.cleaning.parts_removed == 0
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).body_count == 2


@pytest.mark.slow
def test_haze_goes_too():
    level = 88.7
    hazy = two_balls(0.1, strength=np.exp(-3) * 1.3)  # its inside is 1.3 times as dense as the level
    mesh, report = extract_mesh(hazy, resolution=64, level=level)
    assert report.cleaning.parts_removed == 1
    assert np.linalg.norm(mesh.vertices - CENTER.numpy(), axis=1).max() < RADIUS + 0.05


@pytest.mark.slow
def test_decimation_keeps_shape_and_gets_colors(ball):
    full, _ = extract_mesh(ball, resolution=48)
    mesh, report = extract_mesh(ball, resolution=48, faces=1000)
    assert report.faces_before_decimation == len(full.faces)
    assert 900 <= len(mesh.faces) <= 1100
    radius = np.linalg.norm(mesh.vertices - CENTER.double().numpy(), axis=1)
    assert np.abs(radius - RADIUS).max() < 0.01  # vertices are brought back onto the surface
    expected = ball_color(torch.from_numpy(mesh.vertices).float()).numpy() * 255
    assert np.abs(mesh.colors - expected).max() < 16
    assert len(decimated(full, 500).faces) < 600


@pytest.mark.slow
def test_decimation_far_from_the_origin_keeps_its_precision(ball):
    mesh, _ = extract_mesh(ball, resolution=32)
    near, far = decimated(mesh, 800), decimated(Mesh(mesh.vertices + 1e5, mesh.faces), 800)
    assert len(near.faces) == len(far.faces)
    assert np.abs(near.vertices + 1e5 - far.vertices).max() < 1e-3


@pytest.mark.slow
def test_level_beyond_the_field_tells_the_range(ball):
    with pytest.raises(ConfigError, match="no surface") as error:
        extract_mesh(ball, resolution=16, level=1e9)
    assert "to" in str(error.value.expected)
    suggested = float(str(error.value.hint).split("--level ")[1])
    extract_mesh(ball, resolution=16, level=suggested)
    empty = FormulaModel(ball.aabb, lambda p: torch.zeros(len(p)), ball_color)
    with pytest.raises(ConfigError, match="field is empty"):
        extract_mesh(empty, resolution=16)


@pytest.mark.slow
def test_impossible_requests(ball, monkeypatch):
    for bad in ({"resolution": 2}, {"resolution": 10**6}, {"level": -1.0}, {"level": float("nan")}, {"faces": 1}):
        with pytest.raises(ConfigError, match="impossible"):
            extract_mesh(ball, **bad)
    with pytest.raises(ConfigError, match="no such way"):
        extract_mesh(ball, method="poisson")
    with pytest.raises(ConfigError, match="no cameras"):
        extract_mesh(ball, method="depth")
    with pytest.raises(ConfigError, match="no density level"):
        extract_mesh(ball, method="depth", level=3.0, cameras=cameras_around(4, 16))
    monkeypatch.setattr(blocks, "available_memory", lambda: 4_000_000)
    with pytest.raises(ConfigError, match="memory") as error:
        extract_mesh(ball, resolution=256)
    suggested = int("".join(c for c in str(error.value.hint) if c.isdigit()))
    extract_mesh(ball, resolution=suggested)


def test_only_what_is_drawn_is_surface(ball):
    grid = OccupancyGrid(ball.aabb, 16, 1, 0.01)
    middle = (torch.stack(torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij"), -1) + 0.5) / 16
    grid.values[0] = torch.where(middle[..., 0] > 0.5, 1.0, NEVER)
    grid.changed()
    ball.occupancy = grid
    ball.to_unit = lambda points: (points - ball.aabb[0]) / (ball.aabb[1] - ball.aabb[0])
    ball.occupied = lambda x: x[:, 0] > 0.5
    mesh, _ = extract_mesh(ball, resolution=32)
    assert mesh.vertices[:, 0].min() > float(CENTER[0]) - 0.07
    assert volume(mesh) == pytest.approx(2 / 3 * np.pi * RADIUS**3, rel=0.15)


# Fused depth.


def test_the_distance_where_a_share_of_the_light_is_stopped():
    """Against a sum in a loop."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([3, 0, 5, 1])
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))
    rays = torch.repeat_interleave(torch.arange(4), counts)
    starts = torch.rand(9, generator=generator).sort().values + rays
    samples = Samples(offsets, starts, starts + 0.05, rays)
    weights = torch.rand(9, generator=generator) * 0.2
    wanted = torch.tensor([0.1, 0.1, 0.3, 5.0])
    found = reached(weights, wanted, samples)
    for ray in range(4):
        total, expected = 0.0, float("inf")
        for k in (rays == ray).nonzero()[:, 0].tolist():
            weight = float(weights[k])
            if expected == float("inf") and total + weight >= float(wanted[ray]):
                expected = float(starts[k]) + 0.05 * (float(wanted[ray]) - total) / weight
            total += weight
        assert float(found[ray]) == pytest.approx(expected, abs=1e-5)


def test_finer_depth_pictures_draw_planes_exactly_and_outlines_between_pixels():
    cameras = cameras_around(1, 24)
    distance = 3.0

    def plane(cameras):  # through CENTER, a little turned from the camera's view
        rays = cameras.image_rays(0)
        normal = torch.nn.functional.normalize(-cameras.forward[0] + 0.2 * cameras.camera_to_world[0, :, 0], dim=0)
        depth = ((CENTER - rays.origins) @ normal) / (rays.directions @ normal)
        width, height = cameras.size[0].tolist()
        return depth.view(height, width)

    focal = float(cameras.intrinsics[0, 0])
    opacity = torch.zeros(24, 24)
    opacity[:, :10], opacity[:, 10] = 1.0, 0.75  # an outline three quarters across a pixel
    coarse = torch.where(opacity > 0, plane(cameras), torch.inf)
    found = finer(coarse, opacity, 6 / focal)
    assert found.shape == (48, 48)
    seen = found.isfinite()
    exact = plane(cameras.scaled(2))
    assert float((found - exact)[:, 2:18].abs()[2:-2].max()) < 2e-3 * distance
    assert bool(seen[:, :21].all())
    assert not bool(seen[:, 23:].any())
    # Across an edge no depth lies between the two sides.
    steps = torch.full((8, 8), 2.0)
    steps[:, 4:] = 5.0
    found = finer(steps, torch.ones(8, 8), 6 / 100)
    assert bool(((found - 2).abs().minimum((found - 5).abs()) < 1e-5).all())
    assert not bool(finer(steps, torch.zeros(8, 8), 0.1).isfinite().any())


def ball_views(cameras) -> DepthViews:
    """Exact depth pictures of the ball."""
    depth = []
    for i in range(len(cameras)):
        rays = cameras.image_rays(i)
        offset = rays.origins - CENTER
        b = (offset * rays.directions).sum(-1)
        root = b * b - (offset.square().sum(-1) - RADIUS**2)
        hit = torch.where(root > 0, -b - root.clamp_min(0).sqrt(), torch.inf)
        width, height = cameras.size[i].tolist()
        depth.append(hit.view(height, width))
    return DepthViews(cameras, depth, 0.0)


def test_views_say_how_far_points_lie_in_front():
    """Against the camera's own projection, point by point."""
    cameras = cameras_around(3, 24)
    views = ball_views(cameras)
    points = CENTER + 2.4 * (torch.rand(400, 3, generator=torch.Generator().manual_seed(1)) - 0.5)
    for i in range(3):
        found = views.ahead(i, points.T.contiguous())
        pixels, _, valid = cameras.project(i, points)
        for k in range(len(points)):
            u, v = int(pixels[k, 0]), int(pixels[k, 1])
            if not valid[k] or not (0 <= u < 24 and 0 <= v < 24):
                assert found[k] < 0.5 * HIDDEN
                continue
            distance = float((points[k] - cameras.origins[i]).norm())
            expected = float(views.depth[i][v, u]) - distance
            assert float(found[k]) == pytest.approx(expected, abs=0.02 * (1 + abs(expected)))


@pytest.mark.slow
def test_fused_depth_is_a_weighted_mean_of_what_views_say():
    cameras = cameras_around(5, 24)
    views = ball_views(cameras)
    fused = FusedDepth(views, 0.2, 0.1)
    points = CENTER + 1.6 * (torch.rand(200, 3, generator=torch.Generator().manual_seed(2)) - 0.5)
    found = fused.values(points)
    for k, point in enumerate(points):
        total = weights = 0.0
        for i in range(5):
            ahead = float(views.ahead(i, point[:, None])[0])
            weight = min(max(1 + ahead / 0.1, 0.0), 1.0)
            total += weight * max(min(ahead / 0.2, 1.0), -1.0)
            weights += weight
        expected = total / weights if weights > 1e-6 else -1.0
        assert float(found[k]) == pytest.approx(expected, abs=1e-5)
    assert float(fused.values(CENTER[None])) == -1  # hidden from everybody is inside


@pytest.mark.slow
def test_a_ball_seen_from_all_around_is_closed_without_being_asked():
    model = solid_model(lambda p: (p - CENTER).norm(dim=-1) - RADIUS)
    made = extract_surface(model, cameras=cameras_around(24, 64), resolution=64)
    mesh = made.mesh
    assert made.report.method == "depth"
    assert made.report.level is None
    assert made.report.cut == ()
    assert (edge_counts(mesh.faces) == 2).all()
    radius = np.linalg.norm(mesh.vertices - CENTER.double().numpy(), axis=1)
    assert np.abs(radius - RADIUS).mean() < 0.02
    outward = (mesh.normals() * (mesh.vertices - CENTER.numpy())).sum(1) / radius
    assert np.quantile(outward, 0.02) > 0.9
    # Cameras look at the surface from outside.
    assert ((made.directions * mesh.normals()).sum(1) < 0.01).all()
    assert np.allclose(np.linalg.norm(made.directions, axis=1), 1, atol=1e-4)


@pytest.mark.slow
def test_what_nobody_saw_is_left_open_or_closed_when_asked():
    model = solid_model(lambda p: (p - CENTER).norm(dim=-1) - RADIUS)
    cameras = cameras_around(24, 64)
    front = cameras[(cameras.origins[:, 0] > CENTER[0] + 1.5).nonzero()[:, 0]]
    mesh, report = extract_mesh(model, cameras=front, resolution=48)
    assert report.cleaning.unseen_removed > 0
    assert mesh.vertices[:, 0].min() > CENTER[0] - 0.6 * RADIUS
    assert (edge_counts(mesh.faces) == 1).any()
    whole, report = extract_mesh(model, cameras=front, resolution=48, closed=True)
    assert report.cleaning.unseen_removed == 0
    assert (edge_counts(whole.faces) == 2).all()


def test_sightings_count_the_views_that_see_a_point():
    cameras = cameras_around(8, 48)
    views = ball_views(cameras)
    directions = torch.nn.functional.normalize(torch.randn(60, 3, generator=torch.Generator().manual_seed(3)), dim=-1)
    points = CENTER + RADIUS * directions
    count, total = views.sightings(points, 0.05)
    for k in range(60):
        toward = cameras.origins - points[k]
        faces = (toward * directions[k]).sum(-1) / toward.norm(dim=-1)
        assert int((faces > 0.6).sum()) <= int(count[k]) <= int((faces > -0.1).sum())
    assert float((total * directions).sum(-1)[count > 0].max()) < 0.5


def test_depth_pictures_find_the_surface_of_a_hard_field():
    model = solid_model(lambda p: (p - CENTER).norm(dim=-1) - RADIUS)
    cameras = cameras_around(2, 32)
    seen = []
    views = see_depth(model, cameras, seen.append)
    exact = ball_views(views.cameras)
    both = views.depth[0].isfinite() & exact.depth[0].isfinite()
    assert float((views.depth[0].isfinite() ^ exact.depth[0].isfinite()).float().mean()) < 0.03
    assert float((views.depth[0] - exact.depth[0])[both].abs().median()) < 0.02
    assert views.softness < 0.05
    assert seen[-1] == 1
    with pytest.raises(ConfigError, match="no cameras"):
        see_depth(model, cameras[:0])


def test_a_field_that_no_camera_sees_has_no_surface():
    model = solid_model(lambda p: (p - CENTER).norm(dim=-1) - RADIUS)
    turned = cameras_around(4, 16)
    turned.camera_to_world[:, :, 2] *= -1
    with pytest.raises(ConfigError, match="no camera sees"):
        extract_mesh(model, cameras=turned, resolution=16)


def test_smoothing_takes_noise_and_keeps_size():
    sphere = trimesh.creation.icosphere(4)
    rng = np.random.default_rng(0)
    noisy = np.asarray(sphere.vertices) * (1 + 0.01 * rng.normal(size=(len(sphere.vertices), 1)))
    before = Mesh(noisy, np.asarray(sphere.faces))
    after = smoothed(before, 5)
    spread = [np.linalg.norm(m.vertices, axis=1).std() for m in (before, after)]
    assert spread[1] < 0.5 * spread[0]
    assert volume(after) == pytest.approx(volume(before), rel=0.01)
    # The rim of a disk stays where it is.
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rim = np.stack((np.cos(angle), np.sin(angle), 0 * angle), 1)
    fan = np.array([[i, (i + 1) % 40, 40] for i in range(40)])
    disk = smoothed(Mesh(np.concatenate((rim, [[0, 0, 0.3]])), fan), 5)
    assert np.abs(np.linalg.norm(disk.vertices[:40], axis=1) - 1).max() < 0.02
    assert np.abs(disk.vertices[:40, 2]).max() < 1e-12
    alone = smoothed(Mesh(np.eye(3), np.zeros((0, 3), np.int64)), 2)
    assert np.array_equal(alone.vertices, np.eye(3))
