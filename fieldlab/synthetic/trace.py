"""Sphere tracing of a scene: nearest hits, soft shadows and ambient occlusion for batches of rays.

Groups are traced one by one, each only by the rays that cross its box, within the part of the ray inside the box and
in front of what was hit before. Most rays thus meet a handful of primitives. Rays leave the working set as soon as they
are decided. Rays are component tuples, as points are (see `shapes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.synthetic.model import Group, Light, SceneModel
from fieldlab.synthetic.shapes import Points, Vector, box_distance

MAX_STEPS = 128
TOLERANCE = 5e-5
SHADOW_STEPS = 48
_COMPACT_EVERY = 4


@dataclass
class Hits:
    """Nearest surfaces along N rays: distance ``t`` (inf: none), ``group`` and ``part`` index (-1: none)."""

    t: Tensor
    group: Tensor
    part: Tensor


def along(origins: Points, directions: Points, t: Tensor) -> Points:
    """Points at distance ``t`` on rays."""
    return tuple(torch.addcmul(o, d, t) for o, d in zip(origins, directions, strict=True))  # type: ignore[return-value]


def pick(points: Points, index: Tensor) -> Points:
    """The points at ``index``."""
    x, y, z = (c.index_select(0, index) for c in points)
    return x, y, z


def box_interval(origins: Points, directions: Points, lower: Vector, upper: Vector) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a box; entry >= exit when they miss it or it lies behind."""
    enter = torch.zeros_like(origins[0])
    leave = torch.full_like(origins[0], torch.inf)
    for o, d, low, high in zip(origins, directions, lower, upper, strict=True):
        inverse = 1.0 / torch.where(d.abs() < 1e-12, torch.full_like(d, 1e-12), d)
        a, b = (low - o) * inverse, (high - o) * inverse
        enter = torch.maximum(enter, torch.minimum(a, b))
        leave = torch.minimum(leave, torch.maximum(a, b))
    return enter, leave


def trace(scene: SceneModel, origins: Points, directions: Points) -> Hits:
    """The nearest surface on each ray."""
    count = origins[0].shape[0]
    t = torch.full((count,), torch.inf, device=origins[0].device)
    group_index = torch.full((count,), -1, dtype=torch.int64, device=t.device)
    part_index = group_index.clone()
    for g, group in enumerate(scene.groups):
        enter, leave = box_interval(origins, directions, _grow(group.lower, -1e-4), _grow(group.upper, 1e-4))
        leave = torch.minimum(leave, t)
        index = torch.nonzero(enter < leave).squeeze(1)
        if index.numel() == 0:
            continue
        found, distance = _march(group, pick(origins, index), pick(directions, index), enter[index], leave[index])
        if found.numel() == 0:
            continue
        index = index[found]
        distance = _polish(group, pick(origins, index), pick(directions, index), distance)
        t[index] = distance
        group_index[index] = g
        part_index[index] = (
            group.nearest_part(along(pick(origins, index), pick(directions, index), distance)) + (scene.first_part[g])
        )
    return Hits(t, group_index, part_index)


def _grow(v: Vector, by: float) -> Vector:
    return v[0] + by, v[1] + by, v[2] + by


def _march(group: Group, o: Points, d: Points, t: Tensor, leave: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the rays that hit, and their distances.

    Steps are lengthened as if the surface ahead were flat, and taken back when the balls of free space around the two
    ends do not overlap (Keinert et al., "Enhanced sphere tracing", 2014; Balint and Valasek, "Accelerating sphere
    tracing", 2018), so nothing is skipped. Rays
    that have crept along a surface for long take steps that grow slowly; they can pass only slivers thinner than that.
    """
    alive = torch.arange(t.shape[0], device=t.device)
    hit_index, hit_t = [], []
    last, step = torch.zeros_like(t), torch.zeros_like(t)
    for k in range(MAX_STEPS):
        gap = group.distance(along(o, d, t))
        tolerance = TOLERANCE * (1 + t)
        least = tolerance * (k / 16) ** 2
        beyond = (gap + last < step) & (step > torch.maximum(1.001 * last, least))
        hit = (gap < tolerance) & ~beyond
        slope = ((gap - last) / step.clamp_min(1e-9)).clamp(-1, 0.2)
        longer = torch.maximum(gap * (2 / (1 - slope)), least) if k else gap
        longer = torch.where(hit, torch.zeros_like(gap), longer)
        t, last, step = (
            torch.where(beyond, t - step + last, t + longer),
            torch.where(beyond, last, gap),
            torch.where(beyond, last, longer),
        )
        if k % _COMPACT_EVERY == _COMPACT_EVERY - 1 or k == MAX_STEPS - 1:
            inside = t - step + last < leave  # a lengthened step may yet be taken back
            found = torch.nonzero(hit & inside).squeeze(1)
            hit_index.append(alive.index_select(0, found))
            hit_t.append(t.index_select(0, found))
            keep = torch.nonzero(~hit & inside).squeeze(1)
            if keep.numel() == 0:
                break
            alive, t, leave, last, step = (v.index_select(0, keep) for v in (alive, t, leave, last, step))
            o, d = pick(o, keep), pick(d, keep)
    return torch.cat(hit_index), torch.cat(hit_t)


def _polish(group: Group, o: Points, d: Points, t: Tensor) -> Tensor:
    """Secant steps onto the surface: sphere tracing stops short of it by tolerance / cosine, most at grazing angles."""
    scale = 1 + t
    before, at = t - 4e-4 * scale, t
    value_before = group.distance(along(o, d, before))
    for _ in range(3):
        value = group.distance(along(o, d, at))
        slope = (value_before - value) / (at - before)
        move = torch.where(slope > 5e-3, value / slope.clamp_min(5e-3), torch.zeros_like(value))
        after = at + torch.minimum(torch.maximum(move, -1e-3 * scale), 1e-3 * scale)
        moved = (after - at).abs() > 1e-5 * scale
        before, value_before = torch.where(moved, at, before), torch.where(moved, value, value_before)
        at = after
    return at


def normals(scene: SceneModel, hits: Hits, points: Points, spread: float = 5e-4) -> Points:
    """Unit outward normals by differences over the corners of a small tetrahedron."""
    result = tuple(torch.zeros_like(c) for c in points)
    for g, group in enumerate(scene.groups):
        index = torch.nonzero(hits.group == g).squeeze(1)
        if index.numel() == 0:
            continue
        at = pick(points, index)
        gradient = [torch.zeros_like(c) for c in at]
        for sign in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
            x, y, z = (c + s * spread for c, s in zip(at, sign, strict=True))
            value = group.distance((x, y, z))
            for total, s in zip(gradient, sign, strict=True):
                total += s * value
        length = (gradient[0] ** 2 + gradient[1] ** 2 + gradient[2] ** 2).sqrt().clamp_min(1e-12)
        for target, component in zip(result, gradient, strict=True):
            target[index] = component / length
    return result  # type: ignore[return-value]


def shadow(scene: SceneModel, points: Points, light: Light) -> Tensor:
    """How much of a light [N] in [0,1] reaches each point.

    The light is a disc of angular radius ``width``; the least clearance over distance along the ray to its center
    estimates the visible share, also where that ray is blocked.
    """
    count = points[0].shape[0]
    clearance = torch.ones(count, device=points[0].device)
    d = tuple(torch.full_like(c, v) for c, v in zip(points, light.direction, strict=True))
    for group in scene.groups:
        margin = 0.02 + light.width * max(*_extent(group), group.upper[2] - scene.aabb[0][2])  # the half-shadow
        enter, leave = box_interval(points, d, _grow(group.lower, -margin), _grow(group.upper, margin))  # type: ignore[arg-type]
        index = torch.nonzero((enter < leave) & (clearance > -0.99)).squeeze(1)
        if index.numel() == 0:
            continue
        found = _clearance(group, pick(points, index), pick(d, index), enter[index], leave[index], light.width)  # type: ignore[arg-type]
        clearance[index] = torch.minimum(clearance[index], found)
    return 0.25 * (1 + clearance) ** 2 * (2 - clearance)


def _extent(group: Group) -> Vector:
    x, y, z = (u - v for u, v in zip(group.upper, group.lower, strict=True))
    return x, y, z


def _clearance(group: Group, o: Points, d: Points, enter: Tensor, leave: Tensor, width: float) -> Tensor:
    result = torch.ones_like(enter)
    alive = torch.arange(enter.shape[0], device=enter.device)
    t, least = enter + 1e-3, result.clone()
    size = max(_extent(group))
    for step in range(SHADOW_STEPS):
        gap = group.distance(along(o, d, t))
        least = torch.minimum(least, gap / (width * t))
        t = t + gap.clamp(0.006 * size, 0.35 * size)
        if step % _COMPACT_EVERY == _COMPACT_EVERY - 1:
            result[alive] = least
            keep = torch.nonzero((t < leave) & (least > -1)).squeeze(1)
            if keep.numel() == 0:
                break
            alive, t, leave, least = (v.index_select(0, keep) for v in (alive, t, leave, least))
            o, d = pick(o, keep), pick(d, keep)
    result[alive] = least
    return result.clamp_min(-1)


def occlusion(scene: SceneModel, points: Points, normal: Points, reach: float = 0.25) -> Tensor:
    """Share [N] of the surroundings that is open to each point, from the clearance along its normal."""
    blocked = torch.zeros_like(points[0])
    weight = 1.0
    for k in (1, 2, 4):
        height = reach * k / 4
        at = along(points, normal, torch.full_like(blocked, height))
        gap = torch.full_like(blocked, height)
        for group in scene.groups:
            index = torch.nonzero(box_distance(at, group.lower, group.upper) < height).squeeze(1)
            if index.numel():
                gap[index] = torch.minimum(gap[index], group.distance(pick(at, index)))
        blocked += weight * (height - gap) / height
        weight *= 0.75
    return (1 - 0.42 * blocked).clamp(0.08, 1)
