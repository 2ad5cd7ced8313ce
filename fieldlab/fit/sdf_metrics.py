"""How well a fitted distance and its surface meet a mesh, in the normalized cube [-1,1]^3."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldlab.fit.sdf import sdf_values
from fieldlab.fit.signal import Signal
from fieldlab.fit.solid import Solid
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.queries import face_normals, nearest_on, sample_surface

F_SCORE_DISTANCE = 0.002  # a thousandth of the cube's side
CHUNK = 1 << 18


@dataclass(frozen=True)
class SdfScore:
    """How well a solid is met.

    Args:
        iou: intersection over union of what is inside.
        nae_degrees: mean angle between normals at nearest points, the mean of both directions.
        chamfer: mean distance to the other surface, the mean of both directions, in units of the normalized cube.
        f_score: harmonic mean of the shares of both surfaces that are within 0.002 of the other one.
    """

    iou: float
    nae_degrees: float
    chamfer: float
    f_score: float


def measure(
    signal: Signal, made: Mesh, solid: Solid, iou_points: int, surface_points: int,
    on_share: Callable[[float], object] | None = None,
) -> SdfScore:  # fmt: skip
    """Compare a fitted distance and the mesh ``made`` of it, both in the normalized cube, with a solid.

    Args:
        iou_points: points in the cube.
        surface_points: points on each surface.
        on_share: called with the share of the points in the cube that is done.
    """
    rng = np.random.default_rng(0)
    iou = intersection_over_union(lambda p: sdf_values(signal, p) < 0, solid.inside, iou_points, rng, on_share)
    return SdfScore(iou, *compare_surfaces(made, solid.mesh, surface_points, rng))


Inside = Callable[[np.ndarray], np.ndarray]


def intersection_over_union(
    made: Inside, true: Inside, count: int, rng: np.random.Generator, on_share: Callable[[float], object] | None = None
) -> float:
    """Of two solids (points [P,3] -> bool [P]), on points spread evenly over [-1,1]^3.

    Returns:
        0 to 1; 1 when both are empty.
    """
    both = either = 0
    for start in range(0, count, CHUNK):
        points = rng.uniform(-1, 1, (min(CHUNK, count - start), 3))
        a, b = made(points), true(points)
        both += int((a & b).sum())
        either += int((a | b).sum())
        if on_share is not None:
            on_share(min(1.0, (start + CHUNK) / count))
    return both / either if either else 1.0


@dataclass(frozen=True)
class _OneWay:
    angle: float
    distance: float
    close: float


def compare_surfaces(made: Mesh, true: Mesh, count: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Normal angular error in degrees (Chen et al. 2023, eq. 12), Chamfer distance and F-score of two surfaces.

    Args:
        count: points on each of them.
    """
    there, back = _one_way(made, true, count, rng), _one_way(true, made, count, rng)
    total = there.close + back.close
    f_score = 2 * there.close * back.close / total if total else 0.0
    return (there.angle + back.angle) / 2, (there.distance + back.distance) / 2, f_score


def _one_way(source: Mesh, target: Mesh, count: int, rng: np.random.Generator) -> _OneWay:
    points, face = sample_surface(source, count, rng)
    distance, other = nearest_on(target, points)
    cosine = (face_normals(source)[face] * face_normals(target)[other]).sum(1).clip(-1, 1)
    angle = math.degrees(float(np.arccos(cosine).mean()))
    return _OneWay(angle, float(distance.mean()), float((distance < F_SCORE_DISTANCE).mean()))
