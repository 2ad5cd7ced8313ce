"""Where a camera flies: around the box, or smoothly through the cameras of the photographs.

Paths are ordinary :class:`Cameras`, so that everything that renders a photograph renders a path too. Up, distance and
height come from the photographs' cameras, since a capture's world frame may point anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.data.look_at import look_at, perpendicular
from fieldlab.errors import ConfigError

MAX_FRAMES = 100_000
SWAY_BELOW = math.radians(240)  # captures that cover less than this angle are swung across, not circled
ELEVATION_RANGE = (math.radians(-20), math.radians(50))
MAX_TURN = math.radians(45)  # between neighboring cameras of an interpolated path
DEFAULT_ANGLE = math.radians(50)


@dataclass(frozen=True)
class View:
    """Size and vertical field of view (radians) of the pictures of a path."""

    width: int
    height: int
    angle: float

    def cameras(self, camera_to_world: Tensor) -> Cameras:
        """Pinhole cameras of this view at the poses [N,3,4]."""
        focal = 0.5 * self.height / math.tan(0.5 * self.angle)
        return Cameras.pinhole(camera_to_world.cpu(), focal, self.width, self.height)


def default_view(cameras: Cameras, size: tuple[int, int] | None = None) -> View:
    """The view of the photographs' middle lens, for pictures of ``size`` (width, height) or of the photographs' size.

    In a picture of another shape the shorter side keeps its field of view. Lenses without a focal length in the
    pinhole sense (equirectangular) give 50 degrees.
    """
    width, height = size if size is not None else (int(v) for v in cameras.size.median(dim=0).values)
    _check_size(width, height)
    perspective = cameras.model != CameraModel.EQUIRECTANGULAR
    if not bool(perspective.any()):
        return View(width, height, DEFAULT_ANGLE)
    focal = cameras.intrinsics[perspective, 1]
    shorter = cameras.size[perspective].min(dim=1).values
    half = float((0.5 * shorter / focal).median()) / min(width, height) * height
    return View(width, height, min(2 * math.atan(half), math.radians(140)))


def up_direction(cameras: Cameras) -> Tensor:
    """The direction [3] the photographers held to be up.

    People level their cameras: up is perpendicular to most cameras' right axes. A small pull to the mean of the
    cameras' own up axes decides the sign and what remains free when all cameras look the same way.
    """
    pose = cameras.camera_to_world.double().cpu()
    right, own_up = pose[:, :, 0], -pose[:, :, 1].mean(dim=0)
    scatter = right.T @ right / len(right) + 1e-2 * torch.eye(3, dtype=torch.float64)
    up = torch.linalg.solve(scatter, own_up)
    if float(up.norm()) < 1e-9:  # cameras that are turned all ways have no common up
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return (up / up.norm()).float()


def focus_point(cameras: Cameras, aabb: Tensor) -> Tensor:
    """The point [3] within the box [2,3] that is nearest to all optical axes, in the sense of least squares.

    The middle of the box is mixed in with the weight of one camera in twenty, which decides where axes are parallel.
    """
    pose = cameras.camera_to_world.double().cpu()
    box = aabb.double().cpu()
    origin, forward = pose[:, :, 3], pose[:, :, 2]
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]
    middle = box.mean(dim=0)
    weight = 0.05 * len(origin)
    matrix = across.sum(dim=0) + weight * torch.eye(3, dtype=torch.float64)
    target = (across @ origin[:, :, None]).sum(dim=0)[:, 0] + weight * middle
    point = torch.linalg.solve(matrix, target)
    return torch.minimum(torch.maximum(point, box[0]), box[1]).float()


def orbit(cameras: Cameras, aabb: Tensor, frames: int, view: View, center: Tensor | None = None) -> Cameras:
    """A path around what the photographs look at, at their middle distance and height.

    Where the photographs cover less than about two thirds of a circle, the path swings to and fro across what they
    cover, since nothing is known of the other side. The last frame leads back to the first.

    Args:
        cameras: of the photographs.
        aabb: float [2,3] box of the scene.
        frames: number of cameras to make.
        view: picture size and field of view.
        center: where to look [3]; :func:`focus_point` when absent.

    Raises:
        ConfigError: the number of frames is not positive or absurd.
    """
    _check_frames(frames)
    up = up_direction(cameras)
    center = focus_point(cameras, aabb) if center is None else center.float().cpu()
    x_axis, y_axis = perpendicular(up), torch.linalg.cross(up, perpendicular(up))
    offsets = cameras.origins.float().cpu() - center
    distance = offsets.norm(dim=-1)
    radius = float(distance.median())
    if radius < 1e-6 * float((aabb[1] - aabb[0]).norm()):
        radius = float((aabb[1] - aabb[0]).norm())
    elevation = float(torch.asin(((offsets @ up) / distance.clamp_min(1e-12)).clamp(-1, 1)).median())
    elevation = min(max(elevation, ELEVATION_RANGE[0]), ELEVATION_RANGE[1])
    start, span = _covered_arc(torch.atan2(offsets @ y_axis, offsets @ x_axis))
    phase = torch.arange(frames) / frames * (2 * math.pi)
    if span >= SWAY_BELOW:
        azimuth, lift = start + phase, torch.zeros(frames)
    else:  # swing: out and back, with a little rise so that the way back is another one
        azimuth = start + span / 2 + 0.45 * span * phase.sin()
        lift = min(math.radians(8), 0.25 * span) * phase.cos()
    height = elevation + lift
    ring = azimuth.cos().unsqueeze(-1) * x_axis + azimuth.sin().unsqueeze(-1) * y_axis
    positions = center + radius * (height.cos().unsqueeze(-1) * ring + height.sin().unsqueeze(-1) * up)
    return view.cameras(look_at(positions, center, up))


def interpolate(cameras: Cameras, frames: int, view: View, keys: int | None = None) -> Cameras:
    """A smooth path through the photographs' own cameras, in their order if that is a walk, else along a short tour.

    Positions and unit quaternions follow Catmull-Rom splines (the quaternions brought to one hemisphere and
    normalized), so the path goes through the key cameras and its speed is continuous.

    Args:
        keys: how many of the cameras to pass through. When absent about 15 frames lie between two, or fewer where the
            cameras look so differently that the way from one to the next would lead through the scene.

    Raises:
        ConfigError: there is no camera, or the number of frames is not positive or absurd.
    """
    _check_frames(frames)
    if len(cameras) == 0:
        raise ConfigError("there are no cameras to interpolate", expected="one at least")
    pose = cameras.camera_to_world.double().cpu().numpy()
    pose = pose[_short_tour(pose[:, :, 3])]
    pose = pose[_choose_keys(pose[:, :, 2], frames) if keys is None else _evenly(len(pose), keys)]
    count = len(pose)
    at = np.linspace(0, count - 1, frames) if frames > 1 else np.zeros(1)
    quaternions = Rotation.from_matrix(pose[:, :, :3]).as_quat()
    for i in range(1, count):  # q and -q are the same rotation: take the nearer one
        if quaternions[i] @ quaternions[i - 1] < 0:
            quaternions[i] *= -1
    rotations = Rotation.from_quat(_catmull_rom(quaternions, at)).as_matrix()
    positions = _catmull_rom(pose[:, :, 3], at)
    made = np.concatenate((rotations, positions[:, :, None]), axis=2)
    return view.cameras(torch.from_numpy(made).float())


def _catmull_rom(keys: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The uniform Catmull-Rom spline through ``keys`` [K,D] at parameters ``at`` [N] in [0, K-1]; ends reflected."""
    if len(keys) == 1:
        return np.repeat(keys, len(at), axis=0)
    padded = np.concatenate((2 * keys[:1] - keys[1:2], keys, 2 * keys[-1:] - keys[-2:-1]))
    i = np.clip(np.floor(at).astype(int), 0, len(keys) - 2)
    t = (at - i)[:, None]
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    slope1, slope2 = (p2 - p0) / 2, (p3 - p1) / 2
    return (
        (2 * t**3 - 3 * t**2 + 1) * p1
        + (t**3 - 2 * t**2 + t) * slope1
        + (-2 * t**3 + 3 * t**2) * p2
        + (t**3 - t**2) * slope2
    )


def _choose_keys(forward: np.ndarray, frames: int) -> np.ndarray:
    """Which of the cameras with directions ``forward`` [N,3] to pass through: few, but without turning far at once."""
    for count in range(max(2, round(frames / 15)), len(forward)):
        chosen = _evenly(len(forward), count)
        turns = (forward[chosen[1:]] * forward[chosen[:-1]]).sum(axis=1)
        if turns.min() >= math.cos(MAX_TURN):
            return chosen
    return np.arange(len(forward))


def _evenly(n: int, count: int) -> np.ndarray:
    """``count`` positions evenly spread over n, or all of them."""
    return np.round(np.linspace(0, n - 1, min(n, max(count, 1)))).astype(int)


def _short_tour(positions: np.ndarray) -> np.ndarray:
    """An order of positions [N,3]: as given when that is a walk, else always on to the nearest one not yet seen."""
    n = len(positions)
    if n < 4:
        return np.arange(n)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    given = distance[np.arange(n - 1), np.arange(1, n)].sum()
    tour, left = [0], np.ones(n, dtype=bool)
    left[0] = False
    for _ in range(n - 1):
        tour.append(int(np.where(left, distance[tour[-1]], np.inf).argmin()))
        left[tour[-1]] = False
    length = distance[tour[:-1], tour[1:]].sum()
    return np.arange(n) if given <= 2 * length else np.array(tour)


def _covered_arc(azimuth: Tensor) -> tuple[float, float]:
    """Where the arc that holds all azimuths begins, and its length: the circle without the largest gap."""
    ordered = azimuth.sort().values
    gaps = torch.cat((ordered[1:] - ordered[:-1], ordered[:1] + 2 * math.pi - ordered[-1:]))
    widest = int(gaps.argmax())
    return float(ordered[(widest + 1) % len(ordered)]), 2 * math.pi - float(gaps[widest])


def _check_frames(frames: int) -> None:
    if not 1 <= frames <= MAX_FRAMES:
        raise ConfigError("the number of frames is impossible", found=frames, expected=f"1 to {MAX_FRAMES}")


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= 16384 and 1 <= height <= 16384):
        raise ConfigError("the picture size is impossible", found=f"{width}x{height}", expected="1x1 to 16384x16384")
