"""Where the interesting part of a scene is: the box, whether there is more outside it, and how near content comes.

Nothing here needs tuning by hand. Objects alone in the pictures (alpha channels, masks of the object, a plain white or
black background) get the box of their visual hull. Photographs get
a region of interest and contraction for the rest: around the point the cameras look at when they look inward, the
front of the view when they all look the same way, and the neighborhood of the cameras otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from fieldlab.data.cameras import CameraModel
from fieldlab.data.cutouts import Cutout, dark_surroundings, find_cutout
from fieldlab.data.frames import Reading
from fieldlab.data.hull import Votes, hull_box
from fieldlab.data.options import SceneOptions
from fieldlab.data.views import Views
from fieldlab.errors import ConfigError

INWARD_SPREAD = 0.03  # smallest eigenvalue of mean(I - d d^T): below it the axes are too parallel to meet anywhere
FORWARD_AGREEMENT = 0.85  # length of the mean viewing direction above which cameras look the same way
HULL_PAD = 1.03
# Masks and colors may be wrong in a few views, and what they show is in the middle of nearly all pictures.
VOTES = Votes(against=0.05, seen=0.5)
COMPACT = 0.6  # of the distance to the cameras: what is larger is not an object they look at
NEAR_SHARE = 1 / 16  # of the distance to the center, where nothing else tells how near content comes
CONTENT_SHARE = 1 / 2  # the same of where most content begins, before cameras that look inward
NEAREST = 0.1  # percentile of the distances of sparse points that says where content begins
NEAR_OF_POINTS = 0.85  # marching begins before it by so much: what is nearer is fog
LOOK_AHEAD = 5.0  # depth in units of the camera spread, where nothing else tells


@dataclass
class Bounds:
    """The decision.

    Args:
        aabb: float64 [2,3], world units.
        unbounded: content outside the box too.
        near: nearest distance worth marching.
        content: distance from the cameras at which content begins; 0 where nobody knows.
        background: color of the plain or dark background of opaque photographs: 'white', 'black' or '#rrggbb'; None
            without.
    """

    aabb: np.ndarray
    unbounded: bool
    near: float
    content: float = 0.0
    background: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class _Rig:
    """The training cameras as arrays, and what they have in common."""

    origins: np.ndarray  # [N,3]
    forward: np.ndarray  # [N,3]
    focus: np.ndarray  # [3]
    spread: float  # largest distance of a camera from the middle of all

    @property
    def kind(self) -> str:
        """'inward', 'forward' or 'free'."""
        normal = np.eye(3) - self.forward[:, :, None] * self.forward[:, None, :]
        ahead = ((self.focus - self.origins) * self.forward).sum(1) > 0
        if np.linalg.eigvalsh(normal.mean(0))[0] > INWARD_SPREAD and ahead.mean() > 0.9:
            return "inward"
        return "forward" if np.linalg.norm(self.forward.mean(0)) > FORWARD_AGREEMENT else "free"


def find_bounds(views: Views, reading: Reading, options: SceneOptions) -> Bounds:
    """Decide on box, contraction and near distance from the training views and what the files say.

    Raises:
        ConfigError: the box of the options is empty or not finite.
    """
    rig, cutout = _rig(views), find_cutout(views)
    alone = None if cutout is None else _object(views, rig, reading, cutout)
    if options.aabb is not None:
        bounds = Bounds(given_box(options.aabb), alone is None, 0.0, notes=["the box was given"])
        if alone is not None:
            bounds.background = alone.background
        elif reading.unbounded is not None:
            bounds.unbounded = reading.unbounded
    elif alone is not None:
        bounds = alone
    elif reading.aabb is not None:
        bounds = Bounds(reading.aabb, False, 0.0, notes=["the box is the one in the file (aabb_scale)"])
    else:
        bounds = _photographs(views, rig, reading, options)
    if options.unbounded is not None:
        if options.unbounded and not bounds.unbounded:  # then something is behind the object
            bounds.background = None
        bounds.unbounded = options.unbounded
    if options.cube and options.aabb is None:
        bounds.aabb = _cube(bounds.aabb)
    near, content = _near(views, rig, reading, bounds)
    bounds.near, bounds.content = bounds.near or near, bounds.content or content
    return bounds


def focus_point(origins: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """The point [3] nearest to the viewing axes of N cameras, in least squares with robust weights.

    Axes that pass far from the others count less (three rounds of weights 1/(1 + d^2/m^2), m the median distance).
    A small pull towards the middle of the cameras keeps parallel axes from sending it to infinity.
    """
    normal = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    weights = np.ones(len(origins))
    middle = origins.mean(0)
    point: np.ndarray = middle
    for _ in range(4):
        matrix = (weights[:, None, None] * normal).sum(0) / weights.sum() + 1e-6 * np.eye(3)
        vector = (weights[:, None] * np.einsum("nij,nj->ni", normal, origins)).sum(0) / weights.sum() + 1e-6 * middle
        point = np.linalg.solve(matrix, vector)
        distance = np.linalg.norm(np.einsum("nij,nj->ni", normal, point - origins), axis=1)
        weights = 1 / (1 + (distance / max(np.median(distance), 1e-12)) ** 2)
    return point


def given_box(values: tuple[float, ...]) -> np.ndarray:
    """The box float64 [2,3] of six numbers x0 y0 z0 x1 y1 z1.

    Raises:
        ConfigError: it is empty or not finite.
    """
    aabb = np.array(values, dtype=np.float64)
    if aabb.size == 6:
        aabb = aabb.reshape(2, 3)
    if aabb.shape != (2, 3) or not np.isfinite(aabb).all() or not (aabb[0] < aabb[1]).all():
        raise ConfigError(
            "the box is empty", field="aabb", found=list(values), expected="x0 y0 z0 x1 y1 z1 with x0 < x1 and so on"
        )
    return aabb


def _rig(views: Views) -> _Rig:
    poses = views.cameras.camera_to_world.detach().double().cpu().numpy()
    origins, forward = poses[:, :, 3], poses[:, :, 2]
    spread = float(np.linalg.norm(origins - origins.mean(0), axis=1).max())
    return _Rig(origins, forward, focus_point(origins, forward), spread)


def _cube(aabb: np.ndarray) -> np.ndarray:
    center, half = aabb.mean(0), float(np.ptp(aabb, axis=0).max()) / 2
    return np.stack((center - half, center + half))


def _about(center: np.ndarray, half: float) -> np.ndarray:
    return np.stack((center - half, center + half))


def _object(views: Views, rig: _Rig, reading: Reading, cutout: Cutout) -> Bounds | None:
    """An object alone: the box of its visual hull; None when masks or colors turn out to be of something else."""
    if reading.aabb is not None:
        start = reading.aabb
    else:
        reach = float(np.abs(rig.origins - rig.focus).max())
        start = _about(rig.focus, max(reach, 1e-6))
    sure = cutout.kind == "alpha"
    box = hull_box(views, torch.from_numpy(start).float(), shown=cutout.shown, votes=Votes() if sure else VOTES)
    if box is None:
        return _contradicted(rig, reading) if sure else None
    aabb = box.double().numpy()
    center, half = aabb.mean(0), HULL_PAD * np.ptp(aabb, axis=0) / 2
    if not sure and half.max() > COMPACT * np.median(np.linalg.norm(rig.origins - center, axis=1)):
        return None
    note = {
        "alpha": "the box was carved from the alpha channels of the training views",
        "masks": "the masks show an object alone: the box was carved from them, and nothing is taken to be outside it",
    }.get(
        cutout.kind, f"an object on plain {cutout.kind}, which is the background: the box was carved from what differs"
    )
    return Bounds(np.stack((center - half, center + half)), False, 0.0, background=cutout.background, notes=[note])


def _contradicted(rig: _Rig, reading: Reading) -> Bounds:
    note = "the silhouettes rule everything out; the box is a guess from the cameras"
    distance = float(np.median(np.linalg.norm(rig.origins - rig.focus, axis=1)))
    box = reading.aabb if reading.aabb is not None else _about(rig.focus, 0.5 * distance)
    return Bounds(box, False, 0.0, notes=[note])


def _photographs(views: Views, rig: _Rig, reading: Reading, options: SceneOptions) -> Bounds:
    kind = rig.kind
    points, weights = _trusted_points(reading)
    if options.unbounded is False:
        return _everything(views, rig, points, weights)
    if kind == "inward":
        found = _inward(rig, points, weights)
        if views.channels == 3 and (color := dark_surroundings(views)) is not None:
            found.background = color
            found.notes.append(f"the surroundings are dark: their color, {color}, is the background")
        return found
    depths = _depths(views, points) if points is not None else None
    if kind == "forward":
        return _forward(views, rig, reading, depths)
    half = 1.2 * rig.spread
    if depths is not None and len(depths):
        half = max(half, float(np.median(depths)))
    notes = ["the cameras look in different directions: the box surrounds them, the rest is contracted"]
    return Bounds(_about(rig.origins.mean(0), half or 1.0), True, 0.0, notes=notes)


def _inward(rig: _Rig, points: np.ndarray | None, weights: np.ndarray | None) -> Bounds:
    """Cameras around something: a cube about what they look at that reaches about as far as the cameras."""
    distance = float(np.median(np.linalg.norm(rig.origins - rig.focus, axis=1)))
    half, source = distance, "the viewing axes"
    if points is not None and weights is not None:
        offset = np.abs(points - rig.focus).max(1)
        near = offset < 1.5 * distance
        if near.sum() >= 50:
            # Small when the points are gathered at the center, but never so small that the surroundings, which
            # fill much of every picture, get next to no cells.
            reach = _percentile(offset[near], weights[near], 0.9)
            half, source = float(np.clip(1.1 * reach, 0.5 * distance, distance)), "the viewing axes and sparse points"
    notes = [f"the cameras look inward: the box is centered by {source}, what lies outside is contracted"]
    return Bounds(_about(rig.focus, half), True, 0.0, notes=notes)


def _forward(views: Views, rig: _Rig, reading: Reading, depths: np.ndarray | None) -> Bounds:
    """Cameras that look one way: a cube that starts at the nearest content and is as wide as the view half-way in.

    Half-way is meant in disparity, the harmonic mean of the near and far depth.
    """
    ahead = rig.forward.mean(0)
    ahead /= np.linalg.norm(ahead)
    bounds = np.array([frame.near_far for frame in reading.frames if frame.near_far is not None])
    if len(bounds):
        near, far, source = 0.9 * float(bounds[:, 0].min()), float(np.median(bounds[:, 1])), "the depths in the file"
    elif depths is not None and len(depths):
        near, far, source = float(np.percentile(depths, 1)), float(np.percentile(depths, 98)), "sparse points"
    else:
        near, far, source = 0.5 * LOOK_AHEAD * (rig.spread or 1.0), 4 * LOOK_AHEAD * (rig.spread or 1.0), "a guess"
    middle = 2 / (1 / near + 1 / far)
    width = 2 * middle * _half_view(views)
    half = 0.5 * width + rig.spread
    center = rig.origins.mean(0) + (near + half) * ahead
    notes = [f"the cameras look one way: the box begins at depth {near:.4g} from {source}, the rest is contracted"]
    return Bounds(_about(center, half), True, 0.9 * near, near, notes=notes)


def _everything(views: Views, rig: _Rig, points: np.ndarray | None, weights: np.ndarray | None) -> Bounds:
    """A box that holds all there is, for photographs that must not be contracted."""
    notes = ["photographs without contraction: what lies outside the box is lost"]
    corners = [rig.origins]
    if points is not None and weights is not None and len(points) >= 10:
        corners.append(np.stack([[_percentile(p, weights, q) for p in points.T] for q in (0.01, 0.99)]))
        notes.append("the box holds the cameras and 98 % of the sparse points")
    else:
        distance = float(np.median(np.linalg.norm(rig.origins - rig.focus, axis=1))) if rig.kind == "inward" else 0.0
        reach = 2 * max(distance, LOOK_AHEAD * rig.spread if not distance else 0.0, 1e-6)
        corners.append((rig.focus if distance else rig.origins.mean(0)) + reach * np.array([[-1.0] * 3, [1.0] * 3]))
        notes.append("the box is twice as far as the cameras reach")
    stacked = np.concatenate(corners)
    return Bounds(np.stack((stacked.min(0), stacked.max(0))), False, 0.0, notes=notes)


def _trusted_points(reading: Reading) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Sparse points and weights: those that three or more views saw, unless that leaves too few."""
    points, weights = reading.points, reading.point_weights
    if points is None or len(points) < 10:
        return None, None
    weights = np.ones(len(points)) if weights is None else weights
    trusted = weights >= 3
    return (points[trusted], weights[trusted]) if trusted.sum() >= 50 else (points, weights)


def _depths(views: Views, points: np.ndarray, limit: int = 20000) -> np.ndarray:
    """Distances [K] of sparse points from the cameras that have them in the picture."""
    some = torch.from_numpy(points[:: max(1, len(points) // limit)]).float()
    cameras = views.cameras.to("cpu")
    step = max(1, len(cameras) // 50)
    found = []
    for i in range(0, len(cameras), step):
        _, _, valid = cameras.project(i, some)
        found.append((some[valid] - cameras.origins[i]).norm(dim=1))
    return torch.cat(found).numpy()


def _half_view(views: Views) -> float:
    """Median over the cameras of the larger half width of the picture at depth 1."""
    cameras = views.cameras.to("cpu")
    flat = cameras.model == CameraModel.PERSPECTIVE
    if not bool(flat.any()):
        return 1.0
    return float((0.5 * cameras.size / cameras.intrinsics[:, :2])[flat].amax(1).median())


def _near(views: Views, rig: _Rig, reading: Reading, bounds: Bounds) -> tuple[float, float]:
    """Where marching begins, and where content does, 0 if nobody knows: by the nearest sparse points, or the box, or
    the distance to the center."""
    center, size = bounds.aabb.mean(0), float(np.ptp(bounds.aabb, axis=0).max())
    if not bounds.unbounded:
        gap = np.linalg.norm(
            np.maximum(np.maximum(bounds.aabb[0] - rig.origins, rig.origins - bounds.aabb[1]), 0), axis=1
        )
        return max(0.5 * float(gap.min()), 1e-3 * size), 0.0
    points, _ = _trusted_points(reading)
    if points is not None and len(depths := _depths(views, points)):
        content = float(np.percentile(depths, NEAREST))
        return max(NEAR_OF_POINTS * content, 1e-3 * size), content
    distance = float(np.median(np.linalg.norm(rig.origins - center, axis=1)))
    return NEAR_SHARE * (distance or size), CONTENT_SHARE * distance if rig.kind == "inward" else 0.0


def _percentile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """Weighted percentile: the smallest value with a share ``q`` of the weight at or below it."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][min(np.searchsorted(cumulative, q * cumulative[-1]), len(values) - 1)])
