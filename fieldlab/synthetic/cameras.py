"""Where the cameras of a procedural scene stand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.data.look_at import look_at
from fieldlab.synthetic.model import Orbit

_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def orbit_cameras(orbit: Orbit, count: int, size: int, seed: int, phase: float = 0.0) -> Cameras:
    """``count`` pinhole cameras of ``size`` x ``size`` pixels spread over the orbit's zone by a golden-angle spiral.

    Equal areas of the zone get equal numbers of cameras; ``seed`` jitters them, ``phase`` (0 to 1) shifts the spiral so
    that another set of cameras falls between the first.
    """
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.rand((count, 3), generator=generator, dtype=torch.float64)
    k = torch.arange(count, dtype=torch.float64)
    low, high = (math.sin(math.radians(e)) for e in (orbit.low, orbit.high))
    height = low + (high - low) * (k + 0.5 + 0.6 * (jitter[:, 0] - 0.5)) / max(count, 1)
    azimuth = _GOLDEN_ANGLE * (k + phase) + 2 * math.pi * phase + 0.25 * (jitter[:, 1] - 0.5)
    radius = orbit.radius + orbit.radius_change * (2 * jitter[:, 2] - 1)
    return _pinholes(orbit, azimuth, torch.asin(height), radius, size)


def ring_cameras(orbit: Orbit, count: int, size: int, elevation: float) -> Cameras:
    """``count`` cameras evenly around the scene at one elevation (degrees), the first in front (toward -y)."""
    azimuth = torch.arange(count, dtype=torch.float64) * (2 * math.pi / max(count, 1)) - math.pi / 2
    level = torch.full_like(azimuth, math.radians(elevation))
    return _pinholes(orbit, azimuth, level, torch.full_like(azimuth, orbit.radius), size)


def _pinholes(orbit: Orbit, azimuth: Tensor, elevation: Tensor, radius: Tensor, size: int) -> Cameras:
    flat = elevation.cos()
    outward = torch.stack([azimuth.cos() * flat, azimuth.sin() * flat, elevation.sin()], dim=1)
    target = torch.tensor(orbit.target, dtype=torch.float64).expand_as(outward)
    poses = look_at(target + radius[:, None] * outward, target)
    focal = 0.5 * size / math.tan(math.radians(orbit.field_of_view) / 2)
    return Cameras.pinhole(poses.float(), focal, size, size)
