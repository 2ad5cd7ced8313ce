"""Cameras where photographs could have been taken: drawn from where they were taken.

Around an object, from the training cameras' range of distances, elevations and azimuths; elsewhere (scenes seen from
one side, or from inside) between neighboring training cameras, so that nothing has to be set by hand.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fieldlab.data.cameras import Cameras
from fieldlab.data.look_at import look_at

TRIM = 0.02  # share of the cameras, at both ends, that do not widen a range
GAP = math.radians(60)  # azimuths without a camera over this much were not reachable
NEIGHBORS = 4
WOBBLE = 0.1  # of the distance to the nearest camera
TURN = math.radians(4)  # of the direction between neighboring cameras


class PoseSource(ABC):
    """Where new cameras may be.

    Args:
        cameras: the training cameras; new ones have their lenses.
    """

    def __init__(self, cameras: Cameras) -> None:
        self.cameras = cameras.to("cpu")

    def draw(self, n: int, generator: torch.Generator) -> Cameras:
        """n new cameras, each with the lens and size of a random training camera."""
        lens = self.cameras[torch.randint(len(self.cameras), (n,), generator=generator)]
        return replace(lens, camera_to_world=self.poses(n, generator))

    @abstractmethod
    def poses(self, n: int, generator: torch.Generator) -> Tensor:
        """New poses [n,3,4]."""

    @abstractmethod
    def jittered(self, poses: Tensor, angle: float, generator: torch.Generator) -> Tensor:
        """Poses [n,3,4] like given ones, turned by up to ``angle`` about what they look at or themselves."""


def pose_source(cameras: Cameras, aabb: Tensor, unbounded: bool) -> PoseSource:
    """The source that fits the training cameras [N] of a scene with box ``aabb`` [2,3]."""
    around = None if unbounded else Orbit.fitting(cameras, aabb)
    return around or Between(cameras)


@dataclass(frozen=True)
class Ranges:
    """Where cameras are around a point: sine of elevation, azimuth and distance, each from low to high."""

    sine: tuple[float, float]
    azimuth: tuple[float, float]
    distance: tuple[float, float]


class Orbit(PoseSource):
    """Cameras around a point that they look at.

    Args:
        cameras: the training cameras.
        center: [3], the point.
        up: [3], unit; elevation is measured from the plane across it.
    """

    def __init__(self, cameras: Cameras, center: Tensor, up: Tensor) -> None:
        super().__init__(cameras)
        self.center, self.up = center, up
        self.axes = _frame(up)
        offset = self.cameras.origins - center
        distance = offset.norm(dim=1)
        local = offset @ self.axes.t() / distance[:, None]
        azimuths = _covered(torch.atan2(local[:, 1], local[:, 0]))
        self.ranges = Ranges(_trimmed(local[:, 2]), azimuths, _trimmed(distance))
        # How far from the point the cameras' axes pass.
        miss = (-offset) - (-offset * self.cameras.forward).sum(1, keepdim=True) * self.cameras.forward
        self.miss = float(miss.norm(dim=1).median())

    @staticmethod
    def fitting(cameras: Cameras, aabb: Tensor) -> Orbit | None:
        """Around the point all training cameras look at, or None when there is none in the box."""
        cameras = cameras.to("cpu")
        box = aabb.cpu()
        center = nearest_to_axes(cameras.origins, cameras.forward)
        if center is None or not bool(((center > box[0]) & (center < box[1])).all()):
            return None
        to = normalize(center - cameras.origins, dim=1)
        looking = (to * cameras.forward).sum(1) > math.cos(math.radians(30))
        if float(looking.float().mean()) < 0.9 or float((-to).mean(0).norm()) > 0.85:
            return None  # the latter: all of them on one side
        return Orbit(cameras, center, upward(cameras))

    def poses(self, n: int, generator: torch.Generator) -> Tensor:
        u = torch.rand(4, n, generator=generator)
        sine = _between(self.ranges.sine, u[0])
        azimuth = _between(self.ranges.azimuth, u[1])
        distance = _between(self.ranges.distance, u[2])
        cosine = (1 - sine.square()).clamp_min(0).sqrt()
        local = torch.stack((cosine * azimuth.cos(), cosine * azimuth.sin(), sine), dim=1)
        origin = self.center + distance[:, None] * (local @ self.axes)
        aim = normalize(torch.randn(n, 3, generator=generator), dim=1) * (self.miss * u[3])[:, None]
        return look_at(origin, self.center + aim, self.up)

    def jittered(self, poses: Tensor, angle: float, generator: torch.Generator) -> Tensor:
        turn = _turns(len(poses), angle, generator)
        rotation = turn @ poses[:, :, :3]
        origin = self.center + (turn @ (poses[:, :, 3] - self.center)[:, :, None])[:, :, 0]
        return torch.cat((rotation, origin[:, :, None]), dim=2)


class Between(PoseSource):
    """Cameras between a training camera and one near it that looks the same way."""

    def __init__(self, cameras: Cameras) -> None:
        super().__init__(cameras)
        origins, forward = self.cameras.origins, self.cameras.forward
        distance = torch.cdist(origins, origins)
        nearest = distance + torch.diag(torch.full((len(origins),), math.inf))
        self.spacing = float(nearest.amin(1).median()) if len(origins) > 1 else 0.0
        apart = distance + 1e6 * ((forward @ forward.t()) < 0.5) * (1 + float(distance.max()))
        self.near = apart.argsort(dim=1)[:, : NEIGHBORS + 1]  # itself among them, which is allowed

    def poses(self, n: int, generator: torch.Generator) -> Tensor:
        first = torch.randint(len(self.cameras), (n,), generator=generator)
        which = torch.randint(self.near.shape[1], (n,), generator=generator)
        second = self.near[first, which]
        alike = (self.cameras.forward[first] * self.cameras.forward[second]).sum(1) > 0.5
        second = torch.where(alike, second, first)
        share = torch.rand(n, 1, 1, generator=generator)
        mixed = torch.lerp(self.cameras.camera_to_world[first], self.cameras.camera_to_world[second], share)
        wobble = torch.randn(n, 3, generator=generator) * WOBBLE * self.spacing
        mixed = torch.cat((nearest_rotations(mixed[:, :, :3]), (mixed[:, :, 3] + wobble)[:, :, None]), dim=2)
        return self.jittered(mixed, TURN, generator)

    def jittered(self, poses: Tensor, angle: float, generator: torch.Generator) -> Tensor:
        rotation = _turns(len(poses), angle, generator) @ poses[:, :, :3]
        return torch.cat((rotation, poses[:, :, 3:]), dim=2)


def nearest_to_axes(origins: Tensor, forward: Tensor) -> Tensor | None:
    """The point [3] nearest, in the least-squares sense, to lines from ``origins`` [N,3] along unit ``forward`` [N,3];
    None when they are parallel."""
    across = torch.eye(3, dtype=torch.float64) - forward.double()[:, :, None] * forward.double()[:, None, :]
    total = across.sum(0)
    if float(torch.linalg.eigvalsh(total)[0]) < 1e-3 * len(origins):
        return None
    return torch.linalg.solve(total, (across @ origins.double()[:, :, None]).sum(0))[:, 0].float()


def upward(cameras: Cameras) -> Tensor:
    """Unit [3]: up, to which the cameras' right sides are most perpendicular, since people hold cameras level."""
    right, up = cameras.camera_to_world[:, :, 0].double(), -cameras.camera_to_world[:, :, 1].double().mean(0)
    energy, axes = torch.linalg.eigh(right.t() @ right / len(right))
    level = axes[:, 0] * axes[:, 0].dot(up).sign()
    # Cameras side by side are level about more than one axis.
    return normalize(level if float(energy[1]) > 0.1 and float(level.dot(up)) > 0.1 else up, dim=0).float()


def nearest_rotations(matrices: Tensor) -> Tensor:
    """The rotations nearest to matrices [N,3,3]."""
    u, _, vt = torch.linalg.svd(matrices)
    sign = torch.linalg.det(u @ vt)
    u = torch.cat((u[:, :, :2], u[:, :, 2:] * sign[:, None, None]), dim=2)
    return u @ vt


def _turns(n: int, angle: float, generator: torch.Generator) -> Tensor:
    """Rotations [n,3,3] by up to ``angle`` about random axes."""
    axis = normalize(torch.randn(n, 3, generator=generator), dim=1) * (torch.rand(n, 1, generator=generator) * angle)
    x, y, z = axis.unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=1).view(n, 3, 3)
    return torch.linalg.matrix_exp(skew)


def _frame(up: Tensor) -> Tensor:
    """Orthonormal rows [3,3] of which ``up`` is the last."""
    other = torch.eye(3)[int(up.abs().argmin())]
    first = normalize(torch.linalg.cross(other, up), dim=0)
    return torch.stack((first, torch.linalg.cross(up, first), up))


def _trimmed(values: Tensor) -> tuple[float, float]:
    low, high = values.quantile(torch.tensor([TRIM, 1 - TRIM])).tolist()
    return low, high


def _between(limits: tuple[float, float], share: Tensor) -> Tensor:
    return limits[0] + share * (limits[1] - limits[0])


def _covered(azimuths: Tensor) -> tuple[float, float]:
    """From where to where angles [N] reach, over all but their widest gap; all around when that is no wide one."""
    ordered = azimuths.sort().values
    following = torch.cat((ordered[1:], ordered[:1] + 2 * math.pi))
    widest = int((following - ordered).argmax())
    if float(following[widest] - ordered[widest]) < GAP:
        return -math.pi, math.pi
    start = float(following[widest])
    return start, float(ordered[widest]) + (2 * math.pi if float(ordered[widest]) < start else 0.0)
