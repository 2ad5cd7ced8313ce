"""Signed distance functions: primitives and the operations that combine them.

A point batch is a tuple of three tensors ``(x, y, z)``, each [N], rather than one [N,3] array: every primitive then
reads contiguous memory, and every constant is a Python number, so nothing depends on the device. Distances are negative
inside and outside never larger than the true distance, which is what sphere tracing needs (Hart, "Sphere tracing", The
Visual Computer 1996). Formulas of the primitives follow from elementary geometry; the polynomial smooth minimum is
Quilez' quadratic one. The z axis points up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Points = tuple[Tensor, Tensor, Tensor]
Vector = tuple[float, float, float]


def _identity(p: Points) -> Points:
    return p


@dataclass(frozen=True)
class Shape:
    """A solid: its signed distance, a box that holds it, and the frame its texture lives in.

    ``distance`` maps points to [N] distances; ``lower`` and ``upper`` are opposite corners of an axis-aligned box
    around the surface; ``local`` maps world points to the frame the shape was made in.
    """

    distance: Callable[[Points], Tensor]
    lower: Vector
    upper: Vector
    local: Callable[[Points], Points] = _identity

    def at(self, x: float, y: float, z: float) -> Shape:
        """The shape moved by (x, y, z)."""

        def back(p: Points) -> Points:
            return p[0] - x, p[1] - y, p[2] - z

        lower = (self.lower[0] + x, self.lower[1] + y, self.lower[2] + z)
        upper = (self.upper[0] + x, self.upper[1] + y, self.upper[2] + z)
        return self._moved(back, lower, upper)

    def turned(self, axis: str, degrees: float) -> Shape:
        """The shape turned about a coordinate axis through the origin, counter-clockwise seen from its tip."""
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

        def back(p: Points) -> Points:
            q = list(p)
            q[i] = c * p[i] + s * p[j]
            q[j] = c * p[j] - s * p[i]
            return q[0], q[1], q[2]

        corners = []
        for corner in _corners(self.lower, self.upper):
            q = list(corner)
            q[i] = c * corner[i] - s * corner[j]
            q[j] = c * corner[j] + s * corner[i]
            corners.append(q)
        lower, upper = _corner_box(corners)
        return self._moved(back, lower, upper)

    def _moved(self, back: Callable[[Points], Points], lower: Vector, upper: Vector) -> Shape:
        distance, local = self.distance, self.local
        return Shape(lambda p: distance(back(p)), lower, upper, lambda p: local(back(p)))

    def scaled(self, factor: float) -> Shape:
        """The shape scaled about the origin."""
        distance, local = self.distance, self.local

        def shrink(p: Points) -> Points:
            return p[0] / factor, p[1] / factor, p[2] / factor

        lower, upper = _scale(self.lower, factor), _scale(self.upper, factor)
        return Shape(lambda p: distance(shrink(p)) * factor, lower, upper, lambda p: local(shrink(p)))

    def grown(self, radius: float) -> Shape:
        """The shape with ``radius`` added on all sides, its convex edges rounded."""
        distance = self.distance
        return Shape(lambda p: distance(p) - radius, *_pad(self.lower, self.upper, radius), self.local)

    def shell(self, thickness: float) -> Shape:
        """The skin of the shape, ``thickness`` thick, centered on its surface."""
        distance = self.distance
        half = 0.5 * thickness
        return Shape(lambda p: distance(p).abs() - half, *_pad(self.lower, self.upper, half), self.local)

    def __or__(self, other: Shape) -> Shape:
        return union(self, other)

    def __sub__(self, other: Shape) -> Shape:
        a, b = self.distance, other.distance
        return Shape(lambda p: torch.maximum(a(p), -b(p)), self.lower, self.upper, self.local)

    def __and__(self, other: Shape) -> Shape:
        a, b = self.distance, other.distance
        lower = _vector([max(u, v) for u, v in zip(self.lower, other.lower, strict=True)])
        upper = _vector([min(u, v) for u, v in zip(self.upper, other.upper, strict=True)])
        return Shape(lambda p: torch.maximum(a(p), b(p)), lower, upper, self.local)


# --- primitives, centered on the origin unless said ---


def sphere(radius: float) -> Shape:
    """A ball."""
    return Shape(lambda p: _length3(*p) - radius, (-radius,) * 3, (radius,) * 3)


def ellipsoid(rx: float, ry: float, rz: float) -> Shape:
    """An ellipsoid with the given semi-axes; a lower bound of the distance, exact along the shortest axis."""
    least = min(rx, ry, rz)

    def distance(p: Points) -> Tensor:
        return (_length3(p[0] / rx, p[1] / ry, p[2] / rz) - 1.0) * least

    return Shape(distance, (-rx, -ry, -rz), (rx, ry, rz))


def box(hx: float, hy: float, hz: float, radius: float = 0.0) -> Shape:
    """A box with half sizes hx, hy, hz, its edges rounded by ``radius`` (within the given size)."""

    def distance(p: Points) -> Tensor:
        x, y, z = (c.abs() - (h - radius) for c, h in zip(p, (hx, hy, hz), strict=True))
        outside = _length3(x.clamp_min(0), y.clamp_min(0), z.clamp_min(0))
        return outside + torch.maximum(torch.maximum(x, y), z).clamp_max(0) - radius

    return Shape(distance, (-hx, -hy, -hz), (hx, hy, hz))


def cylinder(radius: float, half_height: float, rounding: float = 0.0) -> Shape:
    """An upright cylinder, its rims rounded by ``rounding``."""

    def distance(p: Points) -> Tensor:
        radial = _length2(p[0], p[1]) - (radius - rounding)
        axial = p[2].abs() - (half_height - rounding)
        return _join2(radial, axial) - rounding

    return Shape(distance, (-radius, -radius, -half_height), (radius, radius, half_height))


def prism(sides: int, radius: float, half_height: float, rounding: float = 0.0) -> Shape:
    """An upright prism over a regular polygon whose inscribed circle has ``radius``."""
    sector = 2 * math.pi / sides
    outer = radius / math.cos(sector / 2)

    def distance(p: Points) -> Tensor:
        angle = torch.atan2(p[1], p[0])
        angle = angle - sector * torch.round(angle / sector)
        radial = _length2(p[0], p[1])
        across, along = radial * torch.cos(angle) - (radius - rounding), (radial * torch.sin(angle)).abs()
        beyond = (along - (radius - rounding) * math.tan(sector / 2)).clamp_min(0)
        flat = torch.where(across > 0, _length2(across, beyond), across)
        return _join2(flat, p[2].abs() - (half_height - rounding)) - rounding

    return Shape(distance, (-outer, -outer, -half_height), (outer, outer, half_height))


def cone(bottom: float, top: float, half_height: float, rounding: float = 0.0) -> Shape:
    """An upright truncated cone with the given radii at its bottom and top (grown by ``rounding`` when positive)."""
    slope_r, slope_z = top - bottom, 2 * half_height
    squared = slope_r * slope_r + slope_z * slope_z

    def distance(p: Points) -> Tensor:
        radial, z = _length2(p[0], p[1]), p[2]
        cap = torch.where(z < 0, bottom, top).to(radial)
        cap_r, cap_z = (radial - cap).clamp_min(0), z.abs() - half_height
        along = ((top - radial) * slope_r + (half_height - z) * slope_z).div(squared).clamp(0, 1)
        side_r, side_z = radial - top + slope_r * along, z - half_height + slope_z * along
        inside = (side_r < 0) & (cap_z < 0)
        nearest = torch.minimum(cap_r * cap_r + cap_z * cap_z, side_r * side_r + side_z * side_z).sqrt()
        return torch.where(inside, -nearest, nearest) - rounding

    widest = max(bottom, top) + rounding
    height = half_height + rounding
    return Shape(distance, (-widest, -widest, -height), (widest, widest, height))


def capsule(a: Vector, b: Vector, radius: float, end_radius: float | None = None) -> Shape:
    """A rod with round ends from ``a`` to ``b``; with ``end_radius`` the radius changes linearly along it."""
    end = radius if end_radius is None else end_radius
    direction = [v - u for u, v in zip(a, b, strict=True)]
    length = math.sqrt(sum(c * c for c in direction))
    squared, change = length * length, end - radius
    lipschitz = math.hypot(1.0, change / length)

    def distance(p: Points) -> Tensor:
        x, y, z = (c - o for c, o in zip(p, a, strict=True))
        along = ((x * direction[0] + y * direction[1] + z * direction[2]) / squared).clamp(0, 1)
        reach = _length3(x - along * direction[0], y - along * direction[1], z - along * direction[2])
        return (reach - radius - change * along) / lipschitz

    widest = max(radius, end)
    lower = _vector([min(u, v) - widest for u, v in zip(a, b, strict=True)])
    upper = _vector([max(u, v) + widest for u, v in zip(a, b, strict=True)])
    return Shape(distance, lower, upper)


def torus(major: float, minor: float) -> Shape:
    """A ring lying in the xy plane."""
    reach = major + minor
    return Shape(
        lambda p: _length2(_length2(p[0], p[1]) - major, p[2]) - minor, (-reach, -reach, -minor), (reach, reach, minor)
    )


def arc(major: float, minor: float, half_angle: float) -> Shape:
    """A piece of a ring in the xy plane with round ends, ``half_angle`` degrees to either side of +x."""
    c, s = math.cos(math.radians(half_angle)), math.sin(math.radians(half_angle))

    def distance(p: Points) -> Tensor:
        x, y = p[0], p[1].abs()
        within = s * x > c * y if half_angle <= 180 else torch.ones_like(x, dtype=torch.bool)
        ring = _length2(_length2(x, y) - major, p[2])
        tip = _length3(x - major * c, y - major * s, p[2])
        return torch.where(within, ring, tip) - minor

    reach = major + minor
    lower_x = major * c - minor if half_angle < 90 else -reach
    return Shape(distance, (lower_x, -reach, -minor), (reach, reach, minor))


# --- operations ---


def union(*shapes: Shape) -> Shape:
    """All of the shapes."""

    def distance(p: Points) -> Tensor:
        nearest = shapes[0].distance(p)
        for shape in shapes[1:]:
            nearest = torch.minimum(nearest, shape.distance(p))
        return nearest

    return Shape(distance, *_joint_box(shapes))


def smooth_union(radius: float, *shapes: Shape) -> Shape:
    """All of the shapes, with fillets of about ``radius`` where they meet."""

    def distance(p: Points) -> Tensor:
        nearest = shapes[0].distance(p)
        for shape in shapes[1:]:
            nearest = smooth_minimum(nearest, shape.distance(p), radius)
        return nearest

    return Shape(distance, *_pad(*_joint_box(shapes), 0.25 * radius))


def smooth_minimum(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """min(a, b) with the crease rounded off where |a - b| < radius."""
    overlap = (radius - (a - b).abs()).clamp_min(0) / radius
    return torch.minimum(a, b) - overlap * overlap * (0.25 * radius)


def mirrored(shape: Shape, axis: str = "x") -> Shape:
    """The shape and its mirror image through the plane ``axis`` = 0; the shape must lie on the positive side."""
    i = "xyz".index(axis)
    distance, local = shape.distance, shape.local

    def fold(p: Points) -> Points:
        q = list(p)
        q[i] = p[i].abs()
        return q[0], q[1], q[2]

    lower = _vector([-shape.upper[k] if k == i else shape.lower[k] for k in range(3)])
    return Shape(lambda p: distance(fold(p)), lower, shape.upper, lambda p: local(fold(p)))


def around(shape: Shape, count: int) -> Shape:
    """``count`` copies about the z axis; the shape must be symmetric about the xz plane and stay within its sector."""
    sector = 2 * math.pi / count
    distance, local = shape.distance, shape.local

    def fold(p: Points) -> Points:
        angle, radial = torch.atan2(p[1], p[0]), _length2(p[0], p[1])
        angle = angle - sector * torch.round(angle / sector)
        return radial * torch.cos(angle), radial * torch.sin(angle), p[2]

    corners = _corners(shape.lower, shape.upper)
    reach = max(math.hypot(c[0], c[1]) for c in corners)
    lower, upper = (-reach, -reach, shape.lower[2]), (reach, reach, shape.upper[2])
    return Shape(lambda p: distance(fold(p)), lower, upper, lambda p: local(fold(p)))


def repeated(shape: Shape, axis: str, spacing: float, count: int) -> Shape:
    """``count`` copies in a row along ``axis``, centered; each copy must fit its cell and be symmetric in it."""
    i = "xyz".index(axis)
    half = 0.5 * (count - 1)
    distance, local = shape.distance, shape.local

    def fold(p: Points) -> Points:
        q = list(p)
        cell = torch.round(p[i] / spacing + half).clamp(0, count - 1) - half
        q[i] = p[i] - spacing * cell
        return q[0], q[1], q[2]

    lower = _vector([v - half * spacing if k == i else v for k, v in enumerate(shape.lower)])
    upper = _vector([v + half * spacing if k == i else v for k, v in enumerate(shape.upper)])
    return Shape(lambda p: distance(fold(p)), lower, upper, lambda p: local(fold(p)))


def bent(shape: Shape, curvature: float) -> Shape:
    """The shape bent in the xz plane: x runs along an arc of ``1 / curvature`` that curls toward +z.

    The shape's box, once bent, must not reach the center of the arc. Distances shrink by the largest stretch there.
    """
    distance, local = shape.distance, shape.local
    radius = 1.0 / curvature

    def unbend(p: Points) -> Points:
        down = radius - p[2]
        angle = torch.atan2(p[0] * math.copysign(1, curvature), down * math.copysign(1, curvature))
        return angle * radius, p[1], radius - math.copysign(1, curvature) * _length2(p[0], down)

    def bounded(p: Points) -> Tensor:
        # Far from the shape the map is stretched without limit, so the bounding box takes over there.
        outside = box_distance(p, lower, upper)
        return torch.where(outside > margin, outside, distance(unbend(p)) / stretch)

    corners = []
    steps = 32
    for k in range(steps + 1):
        angle = curvature * (shape.lower[0] + (shape.upper[0] - shape.lower[0]) * k / steps)
        for z in (shape.lower[2], shape.upper[2]):
            for y in (shape.lower[1], shape.upper[1]):
                corners.append([(radius - z) * math.sin(angle), y, radius - (radius - z) * math.cos(angle)])
    lower, upper = _pad(*_corner_box(corners), 0.01 * (shape.upper[2] - shape.lower[2]))
    margin = 0.05 * (shape.upper[2] - shape.lower[2])
    stretch = 1.0 / (1.0 - margin * abs(curvature) - max(upper[2] * curvature, lower[2] * curvature, 0.0))
    return Shape(bounded, lower, upper, lambda p: local(unbend(p)))


def displaced(shape: Shape, height: Callable[[Points], Tensor], amplitude: float, slope: float) -> Shape:
    """The shape pushed outward by ``height`` (in [-1,1], of world points) times ``amplitude``.

    ``slope`` bounds the gradient of amplitude * height; distances shrink by 1 / (1 + slope) to stay safe.
    """
    distance, reach = shape.distance, 1.5 * amplitude

    def moved(p: Points) -> Tensor:
        smooth = distance(p)
        # Heights are costly and matter only nearby; farther out the widest skin they can make is bound enough.
        near = torch.nonzero(smooth < reach).squeeze(1)
        result = smooth - amplitude
        if near.numel():
            exact = smooth.index_select(0, near) - amplitude * height(tuple(c.index_select(0, near) for c in p))  # type: ignore[arg-type]
            result[near] = exact / (1.0 + slope)
        return result

    return Shape(moved, *_pad(shape.lower, shape.upper, amplitude), shape.local)


def box_distance(p: Points, lower: Vector, upper: Vector) -> Tensor:
    """Distance [N] from points to a box, zero inside it."""
    x, y, z = (torch.maximum(low - c, c - high).clamp_min(0) for c, low, high in zip(p, lower, upper, strict=True))
    return _length3(x, y, z)


# --- small helpers ---

# Keeps the derivative of the root finite where a length is zero, as inside boxes.
_TINY = 1e-20


def _length2(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).clamp_min(_TINY).sqrt()


def _length3(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return (x * x + y * y + z * z).clamp_min(_TINY).sqrt()


def _join2(a: Tensor, b: Tensor) -> Tensor:
    """Distance to the intersection of two orthogonal slabs, from the distances to each."""
    return _length2(a.clamp_min(0), b.clamp_min(0)) + torch.maximum(a, b).clamp_max(0)


def _vector(values: list[float]) -> Vector:
    return values[0], values[1], values[2]


def _scale(v: Vector, factor: float) -> Vector:
    return v[0] * factor, v[1] * factor, v[2] * factor


def _pad(lower: Vector, upper: Vector, by: float) -> tuple[Vector, Vector]:
    return (lower[0] - by, lower[1] - by, lower[2] - by), (upper[0] + by, upper[1] + by, upper[2] + by)


def _corners(lower: Vector, upper: Vector) -> list[Vector]:
    return [(x, y, z) for x in (lower[0], upper[0]) for y in (lower[1], upper[1]) for z in (lower[2], upper[2])]


def _corner_box(corners: list[list[float]]) -> tuple[Vector, Vector]:
    columns = list(zip(*corners, strict=True))
    return _vector([min(c) for c in columns]), _vector([max(c) for c in columns])


def _joint_box(shapes: tuple[Shape, ...]) -> tuple[Vector, Vector]:
    lower = _vector([min(s.lower[k] for s in shapes) for k in range(3)])
    upper = _vector([max(s.upper[k] for s in shapes) for k in range(3)])
    return lower, upper
