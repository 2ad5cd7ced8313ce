"""Signed distance functions: exact where they claim to be, never too long a step, and within their boxes."""

from __future__ import annotations

import math

import pytest
import torch

from fieldlab.synthetic import shapes as s
from fieldlab.synthetic.textures import fractal_noise, linear_rgb, value_noise, wood

EXACT = {
    "sphere": s.sphere(0.7),
    "box": s.box(0.5, 0.3, 0.8),
    "rounded box": s.box(0.5, 0.3, 0.8, 0.1),
    "cylinder": s.cylinder(0.4, 0.6),
    "rounded cylinder": s.cylinder(0.4, 0.6, 0.1),
    "prism": s.prism(6, 0.5, 0.4),
    "cone": s.cone(0.6, 0.2, 0.5),
    "capsule": s.capsule((-0.3, 0.1, 0.0), (0.5, 0.2, 0.4), 0.2),
    "torus": s.torus(0.6, 0.15),
    "arc": s.arc(0.6, 0.1, 70),
    "wide arc": s.arc(0.6, 0.1, 130),
    "turned": s.box(0.5, 0.3, 0.8).turned("x", 30).turned("z", 200).at(0.2, -0.1, 0.3),
    "scaled": s.cylinder(0.4, 0.6).scaled(1.7),
    "grown": s.box(0.4, 0.3, 0.2).grown(0.1),
}
BOUNDS_ONLY = {
    "ellipsoid": s.ellipsoid(0.8, 0.4, 0.3),
    "tapered capsule": s.capsule((0, 0, -0.4), (0, 0, 0.5), 0.1, 0.3),
    "shell": s.sphere(0.6).shell(0.1),
    "union": s.sphere(0.5) | s.box(0.2, 0.7, 0.2),
    "difference": s.box(0.5, 0.5, 0.5) - s.sphere(0.6),
    "intersection": s.box(0.5, 0.5, 0.5) & s.sphere(0.6),
    "smooth union": s.smooth_union(0.2, s.sphere(0.4), s.box(0.2, 0.2, 0.7)),
    "mirrored": s.mirrored(s.sphere(0.2).at(0.5, 0, 0)),
    "around": s.around(s.sphere(0.15).at(0.6, 0, 0), 7),
    "repeated": s.repeated(s.box(0.1, 0.2, 0.3), "x", 0.4, 4),
    "bent": s.bent(s.box(0.7, 0.1, 0.08, 0.02), 0.9),
}
ALL = {**EXACT, **BOUNDS_ONLY}


def scatter(shape: s.Shape, count: int = 20_000, spread: float = 0.5) -> torch.Tensor:
    low, high = torch.tensor(shape.lower).double(), torch.tensor(shape.upper).double()
    random = torch.rand((count, 3), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return low - spread + random * (high - low + 2 * spread)


def distance(shape: s.Shape, points: torch.Tensor) -> torch.Tensor:
    return shape.distance(tuple(points.unbind(1)))


@pytest.mark.parametrize("name", EXACT)
def test_distance_is_the_distance_to_the_nearest_surface_point(name: str) -> None:
    shape = EXACT[name]
    points = scatter(shape).requires_grad_()
    value = distance(shape, points)
    (gradient,) = torch.autograd.grad(value.sum(), points)
    outside = value.detach() > 0.01
    assert outside.sum() > 1000
    assert torch.allclose(gradient[outside].norm(dim=1), torch.ones(int(outside.sum())).double(), atol=1e-4)
    foot = (points - value[:, None] * gradient).detach()[outside]
    assert distance(shape, foot).abs().max() < 1e-4


@pytest.mark.parametrize("name", sorted(set(ALL) - {"bent"}))
def test_distance_changes_no_faster_than_position(name: str) -> None:
    points = scatter(ALL[name])
    # Neighbors at many scales, so that seams of folded space are crossed too.
    scale = 10 ** (-3 + 3 * torch.rand((len(points), 1), generator=torch.Generator().manual_seed(4)).double())
    other = points + scale * torch.randn(points.shape, generator=torch.Generator().manual_seed(5)).double()
    change = (distance(ALL[name], points) - distance(ALL[name], other)).abs()
    assert (change <= (points - other).norm(dim=1) * 1.02 + 1e-9).all()


def surface_points(shape: s.Shape) -> torch.Tensor:
    """Points on the surface, found by bisection between random points inside and outside."""
    points = scatter(shape, 40_000, 0.1)
    value = distance(shape, points)
    inside, outside = points[value < 0], points[value > 0]
    inside = inside[torch.arange(4000) % len(inside)]
    outside = outside[torch.arange(4000) % len(outside)]
    for _ in range(50):
        middle = (inside + outside) / 2
        below = (distance(shape, middle) < 0)[:, None]
        inside, outside = torch.where(below, middle, inside), torch.where(below, outside, middle)
    return middle


BUMPY = s.displaced(s.sphere(0.5), lambda p: torch.sin(9 * p[0]), 0.05, 0.45)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ALL, "displaced"])
def test_distance_is_never_longer_than_the_way_to_the_surface(name: str) -> None:
    shape = ALL.get(name, BUMPY)
    points = scatter(shape, 3000)
    value = distance(shape, points)
    nearest = torch.cdist(points, surface_points(shape)).amin(1)
    assert (value <= nearest * 1.001 + 1e-9).all()


@pytest.mark.parametrize("name", ALL)
def test_the_box_holds_the_solid_and_is_not_vast(name: str) -> None:
    shape = ALL[name]
    points = scatter(shape, 60_000)
    low, high = torch.tensor(shape.lower).double(), torch.tensor(shape.upper).double()
    inside_box = ((points >= low) & (points <= high)).all(1)
    value = distance(shape, points)
    assert value[~inside_box].min() >= 0
    solid = points[value < 0.02]
    assert len(solid) > 10
    slack = torch.maximum(solid.amin(0) - low, high - solid.amax(0))
    assert (slack < 0.25 * (high - low)).all()


def test_turns_are_counter_clockwise_seen_from_the_tip_of_the_axis() -> None:
    for axis, start, end in (("x", (0, 1, 0), (0, 0, 1)), ("y", (0, 0, 1), (1, 0, 0)), ("z", (1, 0, 0), (0, 1, 0))):
        ball = s.sphere(0.1).at(*start).turned(axis, 90)
        center = tuple(torch.tensor([float(c)]) for c in end)
        assert ball.distance(center).item() == pytest.approx(-0.1, abs=1e-6)
        assert torch.stack(ball.local(center)).norm() < 1e-6


def test_copies_are_where_a_plain_union_would_put_them() -> None:
    row = s.repeated(s.box(0.1, 0.2, 0.3), "y", 0.7, 3)
    plain = s.union(*(s.box(0.1, 0.2, 0.3).at(0, 0.7 * k, 0) for k in (-1, 0, 1)))
    ring = s.around(s.cylinder(0.1, 0.2).at(0.8, 0, 0), 5)
    spread = s.union(*(s.cylinder(0.1, 0.2).at(0.8, 0, 0).turned("z", 72 * k) for k in range(5)))
    pair = s.mirrored(s.sphere(0.2).at(0, 0.4, 0), "y")
    both = s.sphere(0.2).at(0, 0.4, 0) | s.sphere(0.2).at(0, -0.4, 0)
    for copies, explicit in ((row, plain), (ring, spread), (pair, both)):
        points = scatter(explicit)
        assert torch.allclose(distance(copies, points), distance(explicit, points), atol=1e-9)


def test_bending_keeps_the_middle_line_on_its_arc() -> None:
    curvature = 0.9
    rod = s.bent(s.box(0.7, 0.1, 0.08), curvature)
    for k in torch.linspace(-0.65, 0.65, 9).tolist():
        angle = k * curvature
        on_arc = (math.sin(angle) / curvature, 0.0, (1 - math.cos(angle)) / curvature)
        point = tuple(torch.tensor([c], dtype=torch.float64) for c in on_arc)
        assert rod.distance(point).item() < -0.03
        assert rod.local(point)[0].item() == pytest.approx(k, abs=1e-6)


def test_displacement_moves_the_surface_by_the_height() -> None:
    bumpy = s.displaced(s.sphere(1.0), lambda p: torch.sin(4 * p[2]), 0.05, 0.2)
    z = torch.linspace(-0.9, 0.9, 50, dtype=torch.float64)
    radius = 1 + 0.05 * torch.sin(4 * z)
    for _ in range(50):  # the height is read at the surface point itself: z there is what is asked for
        flat = (radius**2 - z**2).sqrt()
        radius = 1 + 0.05 * torch.sin(4 * z)
    assert bumpy.distance((flat, torch.zeros_like(z), z)).abs().max() < 1e-9


def test_noise_is_in_range_continuous_and_the_same_everywhere() -> None:
    random = torch.rand((3, 50_000), generator=torch.Generator().manual_seed(1)) * 40 - 20
    value = value_noise(*random)
    assert value.min() >= 0
    assert value.max() <= 1
    assert value.std() > 0.1
    assert (value_noise(*(random + 1e-3)) - value).abs().max() < 0.01
    assert torch.allclose(value_noise(*(random + 32)), value, atol=1e-3)
    fixed = fractal_noise(tuple(torch.tensor([0.3, 5.7, -2.2]) for _ in range(3)), 1.0)
    assert fixed.tolist() == pytest.approx(FIXED_NOISE, abs=1e-5)


FIXED_NOISE = [0.4438098, 0.6521575, 0.4804454]


def test_textures_give_linear_colors_between_their_two() -> None:
    points = tuple(torch.rand((3, 5000), generator=torch.Generator().manual_seed(2)).unbind(0))
    color = wood("#e8c48f", "#7d4f26")(points)
    light, dark = torch.tensor(linear_rgb("#e8c48f")), torch.tensor(linear_rgb("#7d4f26"))
    assert color.shape == (3, 5000)
    assert (color <= light[:, None] + 1e-6).all()
    assert (color >= dark[:, None] - 1e-6).all()
    assert color.std(dim=1).min() > 0.02
    assert linear_rgb("#ffffff") == pytest.approx((1, 1, 1))
    assert linear_rgb("#808080")[0] == pytest.approx(0.2158605, abs=1e-6)
