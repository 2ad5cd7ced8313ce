"""Procedural scenes with objects taken away, moved or copied: the truth that edits of a field are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fieldlab.errors import ConfigError
from fieldlab.synthetic.model import Group, Object, SceneModel
from fieldlab.synthetic.shapes import Shape

Place = Callable[[Shape], Shape]


def without(scene: SceneModel, name: str) -> SceneModel:
    """The scene without one of its objects.

    Raises:
        ConfigError: there is no such object.
    """
    _named(scene, name)
    return _with_objects(scene, [thing for thing in scene.objects if thing.name != name])


def moved(scene: SceneModel, name: str, place: Place) -> SceneModel:
    """The scene with one of its objects, and its texture, put elsewhere: ``place`` moves each of its shapes.

    Raises:
        ConfigError: there is no such object.
    """
    _named(scene, name)
    return _with_objects(scene, [_placed(thing, place) if thing.name == name else thing for thing in scene.objects])


def copied(scene: SceneModel, name: str, place: Place) -> SceneModel:
    """The scene with a copy of one of its objects elsewhere.

    Raises:
        ConfigError: there is no such object.
    """
    copy = _placed(_named(scene, name), place)
    return _with_objects(scene, [*scene.objects, replace(copy, name=f"{name}_copy")])


def about(center: tuple[float, float, float], degrees: float = 0.0, scale: float = 1.0) -> Callable[..., Place]:
    """Placements that turn about z and scale, both about ``center``, then shift: ``about(c, 90)(0.1, 0, 0)``."""
    x, y, z = center

    def shifted(dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> Place:
        return lambda s: s.at(-x, -y, -z).turned("z", degrees).scaled(scale).at(x + dx, y + dy, z + dz)

    return shifted


def _named(scene: SceneModel, name: str) -> Object:
    found = {thing.name: thing for thing in scene.objects}
    if name not in found:
        raise ConfigError("the scene has no such object", field=scene.name, found=name, expected=", ".join(found))
    return found[name]


def _with_objects(scene: SceneModel, objects: Sequence[Object]) -> SceneModel:
    return replace(scene, objects=tuple(objects))


def _placed(thing: Object, place: Place) -> Object:
    def group(g: Group) -> Group:
        return replace(g, parts=tuple(replace(part, shape=place(part.shape)) for part in g.parts))

    return replace(thing, groups=tuple(group(g) for g in thing.groups))
