"""Edits of a scene in words: what is selected, and what becomes of it.

An edit is one line: ``remove``, ``keep``, ``move``, ``duplicate`` or ``recolor``; a selection (``box x0 y0 z0 x1 y1
z1``, ``sphere x y z radius``, both in world units, or ``part id x0 y0 z0 x1 y1 z1``: a segment, and the box around it,
inside which a region says what belongs to it); and for the last three what to do: ``by x y z``, ``turn x
y z degrees`` (about an axis), ``scale s``, all about the selection's center; ``to r g b`` with values from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from fieldlab.errors import ConfigError

VERBS = ("remove", "keep", "move", "duplicate", "recolor")
SHAPES = {"box": 6, "sphere": 4, "part": 7}
CHANGES = {"by": 3, "turn": 4, "scale": 1, "to": 3}
MOVES = ("by", "turn", "scale")
MOVING = ("move", "duplicate")
ALLOWED = {"move": MOVES, "duplicate": MOVES, "recolor": ("to",)}


@dataclass(frozen=True)
class Selection:
    """Some of the world: a box (low and high corner), a sphere (center and radius), or a segment, which edits call part
    (its id, and low and high corner of the box around it)."""

    shape: str
    numbers: tuple[float, ...]

    @property
    def center(self) -> Tensor:
        """[3]."""
        low, high = self.bounds()
        return (low + high) / 2

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Low and high corner [3] of the box around it."""
        values = torch.tensor(self.numbers)
        if self.shape == "sphere":
            return values[:3] - values[3], values[:3] + values[3]
        return values[-6:-3], values[-3:]

    def contains(self, points: Tensor, region: Tensor | None = None) -> Tensor:
        """bool [P] of world points [P,3]; faces belong to it. Of a segment, ``region`` [D,H,W] has values at the
        corners of cells that fill its box, x last; what is above zero between them belongs to it.

        Raises:
            ConfigError: it is a segment, and there is no region.
        """
        if self.shape == "sphere":
            values = points.new_tensor(self.numbers)
            return (points - values[:3]).square().sum(1) <= values[3] ** 2
        low, high = (bound.to(points) for bound in self.bounds())
        inside = ((points >= low) & (points <= high)).all(1)
        if self.shape == "box":
            return inside
        if region is None:
            raise ConfigError("a segment is selected, but not where it is", found=f"part {self.numbers[0]:.0f}")
        at = ((points[inside] - low) / (high - low) * 2 - 1).view(1, -1, 1, 1, 3)
        near = grid_sample(region.to(points)[None, None], at, align_corners=True).flatten()
        return inside.index_put((inside,), near > 0)


@dataclass(frozen=True)
class Edit:
    """One edit.

    Args:
        verb: of ``VERBS``.
        selection: what it is about.
        rotation: [3][3] rows, about the selection's center; the unit matrix where nothing turns.
        shift: [3], world units.
        scale: above zero.
        color: [3], None unless it recolors.
    """

    verb: str
    selection: Selection
    rotation: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    shift: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    color: tuple[float, ...] | None = None

    @property
    def moves(self) -> bool:
        """Whether anything is afterwards somewhere else."""
        return self.verb in MOVING

    def source(self, points: Tensor) -> Tensor:
        """Where what is at world points [P,3] after a move was before it."""
        center, shift = self.selection.center.to(points), points.new_tensor(self.shift)
        rotation = points.new_tensor(self.rotation)
        return (points - center - shift) @ rotation / self.scale + center

    def target(self, points: Tensor) -> Tensor:
        """Where what is at world points [P,3] is after the move: the inverse of ``source``."""
        center, shift = self.selection.center.to(points), points.new_tensor(self.shift)
        return (points - center) @ points.new_tensor(self.rotation).t() * self.scale + center + shift


@dataclass(frozen=True)
class PartPoints:
    """Points on the surface of a scene before all edits: a segment's ``own`` [P,3], all ``others`` [Q,3], its id."""

    id: int
    own: Tensor
    others: Tensor


FindPart = Callable[[str], PartPoints]
"""From what a segment is called (its id or name) to its points; raises ConfigError where there is none."""


def part_named(text: str) -> str | None:
    """What a line calls the segment it is about, by id or name, where it does not say yet where that is."""
    words = text.split()
    if len(words) < 3 or words[0] not in VERBS or words[1] != "part":
        return None
    return None if len(words) > 3 and words[3] not in CHANGES else words[2]


def parse_edit(text: str) -> Edit:
    """An edit from its line.

    Raises:
        ConfigError: the line makes no sense.
    """
    words = text.split()
    verb = words[0] if words else ""
    if verb not in VERBS:
        raise _bad(text, "an edit begins with what to do", verb, " | ".join(VERBS))
    shape = words[1] if len(words) > 1 else ""
    if shape not in SHAPES:
        raise _bad(text, "an edit says what it is about", shape, " | ".join(SHAPES))
    numbers, rest = _numbers(text, words[2:], SHAPES[shape], shape)
    selection = Selection(shape, numbers)
    if shape != "sphere" and not all(a < b for a, b in zip(numbers[-6:-3], numbers[-3:], strict=True)):
        raise _bad(text, "a box has a low and a high corner", numbers, "x0 < x1, y0 < y1, z0 < z1")
    if shape == "sphere" and not numbers[3] > 0:
        raise _bad(text, "a sphere has a radius", numbers[3], "above 0")
    changes: dict[str, tuple[float, ...]] = {}
    while rest:
        name = rest[0]
        if name not in CHANGES or name in changes:
            raise _bad(text, "this is no change of a selection", name, " | ".join(CHANGES))
        changes[name], rest = _numbers(text, rest[1:], CHANGES[name], name)
    allowed = ALLOWED.get(verb, ())
    if set(changes) - set(allowed) or (allowed and not changes):
        raise _bad(text, f"{verb} takes other changes", ", ".join(changes) or "none", ", ".join(allowed) or "none")
    return _edit(text, verb, selection, changes)


def _edit(text: str, verb: str, selection: Selection, changes: dict[str, tuple[float, ...]]) -> Edit:
    color = changes.get("to")
    if color is not None and not all(0 <= c <= 1 for c in color):
        raise _bad(text, "a color has values from 0 to 1", color, "r g b from 0 to 1")
    scale = changes.get("scale", (1.0,))[0]
    if not scale > 0:
        raise _bad(text, "a scale is above zero", scale, "above 0")
    x, y, z, degrees = changes.get("turn", (0.0, 0.0, 1.0, 0.0))
    if x == y == z == 0:
        raise _bad(text, "a turn is about an axis", (x, y, z), "an axis that is not zero")
    axis = torch.nn.functional.normalize(torch.tensor([x, y, z], dtype=torch.float64), dim=0)
    a, b, c = (axis * math.radians(degrees)).tolist()
    skew = torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]], dtype=torch.float64)
    rotation = tuple(tuple(row) for row in torch.linalg.matrix_exp(skew).tolist())
    shift = changes.get("by", (0.0, 0.0, 0.0))
    if verb in MOVING and not any(shift) and degrees % 360 == 0 and scale == 1:
        raise _bad(text, f"{verb} to where it is already changes nothing", "no change", "by, turn or scale")
    return Edit(verb, selection, rotation, shift, scale, color)


def _numbers(text: str, words: Sequence[str], n: int, what: str) -> tuple[tuple[float, ...], Sequence[str]]:
    try:
        found = tuple(float(word) for word in words[:n])
    except ValueError as error:
        raise _bad(text, f"{what} takes {n} numbers", " ".join(words[:n]), f"{n} numbers") from error
    if len(found) < n or not all(map(math.isfinite, found)):
        raise _bad(text, f"{what} takes {n} numbers", " ".join(words[:n]), f"{n} finite numbers")
    return found, words[n:]


def _bad(text: str, what: str, found: object, expected: object) -> ConfigError:
    return ConfigError(what, field=text, found=found, expected=expected)
