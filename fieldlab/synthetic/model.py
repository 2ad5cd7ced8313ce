"""What a procedural scene is made of: parts with materials in a three-level tree, lights, and where cameras stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from fieldlab.synthetic.shapes import Points, Shape, Vector, smooth_minimum
from fieldlab.synthetic.textures import Texture, plain

LEVELS = ("object", "group", "part")


@dataclass(frozen=True)
class Material:
    """How a part looks.

    ``reflectance`` is the mirror reflectance at normal incidence (0.04: plastic, varnish; 0.5 and up: metal, where the
    mirrored light takes the color of the texture and ``metallic`` should be one). ``roughness`` in (0,1].
    """

    texture: Texture
    roughness: float = 0.5
    reflectance: float = 0.04
    metallic: float = 0.0
    glow: float = 0.0


def paint(color: str, roughness: float = 0.4, reflectance: float = 0.04) -> Material:
    """A plain painted surface."""
    return Material(plain(color), roughness, reflectance)


@dataclass(frozen=True)
class Part:
    """The finest label: one solid of one material."""

    name: str
    shape: Shape
    material: Material


@dataclass(frozen=True)
class Group:
    """Parts that belong together; with ``blend`` their surfaces flow into each other over that distance."""

    name: str
    parts: Sequence[Part]
    blend: float = 0.0

    @cached_property
    def lower(self) -> Vector:
        x, y, z = (min(p.shape.lower[k] for p in self.parts) - 0.25 * self.blend for k in range(3))
        return x, y, z

    @cached_property
    def upper(self) -> Vector:
        x, y, z = (max(p.shape.upper[k] for p in self.parts) + 0.25 * self.blend for k in range(3))
        return x, y, z

    def distance(self, points: Points) -> Tensor:
        """Signed distance [N] to the surface of the group."""
        nearest = self.parts[0].shape.distance(points)
        for part in self.parts[1:]:
            d = part.shape.distance(points)
            nearest = smooth_minimum(nearest, d, self.blend) if self.blend else torch.minimum(nearest, d)
        return nearest

    def nearest_part(self, points: Points) -> Tensor:
        """Index [N] into ``parts`` of the part each point is nearest to."""
        return torch.stack([part.shape.distance(points) for part in self.parts]).argmin(0)


@dataclass(frozen=True)
class Object:
    """The coarsest label."""

    name: str
    groups: Sequence[Group]


@dataclass(frozen=True)
class Light:
    """Light from a far, softly bounded source in ``direction``; ``width`` is its angular radius in radians."""

    direction: Vector
    color: Vector
    width: float = 0.08
    shadow: bool = True

    def __post_init__(self) -> None:
        length = math.sqrt(sum(c * c for c in self.direction))
        object.__setattr__(self, "direction", tuple(c / length for c in self.direction))


@dataclass(frozen=True)
class Surroundings:
    """Light that comes from everywhere: linear RGB overhead, at the horizon and from below."""

    zenith: Vector
    horizon: Vector
    ground: Vector


@dataclass(frozen=True)
class Orbit:
    """Where the cameras stand: around ``target`` at ``radius``, between two elevations (degrees)."""

    target: Vector
    radius: float
    low: float
    high: float
    field_of_view: float = 45.0
    radius_change: float = 0.0


@dataclass(frozen=True)
class SceneModel:
    """A whole scene. ``haze``, if given, maps points to the fraction [N] of the horizon's color that hides them."""

    name: str
    objects: Sequence[Object]
    lights: Sequence[Light]
    surroundings: Surroundings
    orbit: Orbit
    aabb: tuple[Vector, Vector]
    unbounded: bool = False
    exposure: float = 1.0
    sky: Callable[[Points], Tensor] | None = None
    haze: Callable[[Points], Tensor] | None = None
    near: float = 0.05
    groups: list[Group] = field(init=False)
    parts: list[Part] = field(init=False)
    first_part: list[int] = field(init=False)
    lineage: list[tuple[int, int, int]] = field(init=False)

    def __post_init__(self) -> None:
        groups: list[Group] = []
        parts: list[Part] = []
        first: list[int] = []
        lineage: list[tuple[int, int, int]] = []
        for o, thing in enumerate(self.objects):
            for group in thing.groups:
                first.append(len(parts))
                for part in group.parts:
                    lineage.append((o, len(groups), len(parts)))
                    parts.append(part)
                groups.append(group)
        for name, value in (("groups", groups), ("parts", parts), ("first_part", first), ("lineage", lineage)):
            object.__setattr__(self, name, value)

    def distance(self, points: Points) -> Tensor:
        """Signed distance [N] to the surface of the scene."""
        nearest = self.groups[0].distance(points)
        for group in self.groups[1:]:
            nearest = torch.minimum(nearest, group.distance(points))
        return nearest


@dataclass(frozen=True)
class PartTree:
    """Names and parents of all labels: one tree.

    ``names[l]`` maps an id of level l (0 object, 1 group, 2 part) to its path, ``parents[l]`` to the id of its
    parent on level l - 1 (empty for level 0).
    """

    levels: tuple[str, ...]
    names: tuple[dict[int, str], ...]
    parents: tuple[dict[int, int], ...]


def part_tree(scene: SceneModel) -> PartTree:
    """The label tree of a scene; ids count objects, groups and parts in the order of the description."""
    names: tuple[dict[int, str], ...] = ({}, {}, {})
    parents: tuple[dict[int, int], ...] = ({}, {}, {})
    for part, (o, g, p) in zip(scene.parts, scene.lineage, strict=True):
        thing, group = scene.objects[o], scene.groups[g]
        names[0][o] = thing.name
        names[1][g] = f"{thing.name}/{group.name}"
        names[2][p] = f"{thing.name}/{group.name}/{part.name}"
        parents[1][g], parents[2][p] = o, g
    return PartTree(LEVELS, names, parents)
