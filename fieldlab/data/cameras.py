"""Cameras and rays: the one camera model every reader fills in and every renderer reads.

World: right-handed, in the data set's own units. Cameras: camera-to-world, OpenCV axes (x right, y down, z forward).
Pixel centers lie at +0.5. Depth and ``t`` are distances along unit directions; z-depth is called z-depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import torch
from torch import Tensor

from fieldlab.data.distortion import LensTable, distort, lens_table


class CameraModel(IntEnum):
    """How pixels become directions.

    PERSPECTIVE: OpenCV's pinhole with radial k1, k2, k3, k4 (of r^2, r^4, r^6, r^8) and tangential p1, p2; all of
    SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, RADIAL and OPENCV. FISHEYE: OpenCV's equidistant fisheye with k1..k4.
    EQUIRECTANGULAR: longitude and latitude; fx and fy are pixels per radian, forward is at (cx, cy).
    """

    PERSPECTIVE = 0
    FISHEYE = 1
    EQUIRECTANGULAR = 2


@dataclass
class Rays:
    """Rays in the world: origins float32 [R,3] and unit directions float32 [R,3]."""

    origins: Tensor
    directions: Tensor

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> Rays:
        index = slice(index, index + 1 or None) if isinstance(index, int) else index
        return Rays(self.origins[index], self.directions[index])

    def to(self, device: torch.device | str) -> Rays:
        return Rays(self.origins.to(device), self.directions.to(device))


@dataclass
class Cameras:
    """A batch of N cameras whose tensors live on one device. Treat the tensors as constant once made.

    Args:
        camera_to_world: float32 [N,3,4], OpenCV axes.
        intrinsics: float32 [N,4] fx, fy, cx, cy in pixels.
        size: int64 [N,2] width, height.
        model: int64 [N], values of :class:`CameraModel`.
        distortion: float32 [N,6] k1,k2,p1,p2,k3,k4 (perspective) or k1,k2,k3,k4,0,0 (fisheye).
    """

    camera_to_world: Tensor
    intrinsics: Tensor
    size: Tensor
    model: Tensor
    distortion: Tensor
    _table: LensTable | None = field(default=None, init=False, repr=False, compare=False)
    _models: frozenset[int] | None = field(default=None, init=False, repr=False, compare=False)

    @staticmethod
    def pinhole(
        camera_to_world: Tensor,
        focal: float | Tensor,
        width: int,
        height: int,
    ) -> Cameras:
        """N equal pinhole cameras [N,3,4] of one size with the principal point in the middle; focal in pixels."""
        n, device = camera_to_world.shape[0], camera_to_world.device
        focal_value = float(focal)
        one = torch.tensor([focal_value, focal_value, width / 2, height / 2], device=device)
        return Cameras(
            camera_to_world=camera_to_world.float(),
            intrinsics=one.expand(n, 4).contiguous(),
            size=torch.tensor([width, height], device=device).expand(n, 2).contiguous(),
            model=torch.zeros(n, dtype=torch.int64, device=device),
            distortion=torch.zeros(n, 6, device=device),
        )

    @staticmethod
    def concatenate(parts: Sequence[Cameras]) -> Cameras:
        """All cameras of ``parts`` one after another."""
        return Cameras(
            *(
                torch.cat([getattr(part, name) for part in parts])
                for name in ("camera_to_world", "intrinsics", "size", "model", "distortion")
            )
        )

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    def __getitem__(self, i: int | slice | Tensor) -> Cameras:
        if isinstance(i, int):
            i = range(len(self))[i]  # raises IndexError, resolves negative positions
            i = slice(i, i + 1)
        return Cameras(self.camera_to_world[i], self.intrinsics[i], self.size[i], self.model[i], self.distortion[i])

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras with their tensors on ``device``."""
        return Cameras(
            self.camera_to_world.to(device),
            self.intrinsics.to(device),
            self.size.to(device),
            self.model.to(device),
            self.distortion.to(device),
        )

    @property
    def device(self) -> torch.device:
        return self.camera_to_world.device

    @property
    def origins(self) -> Tensor:
        """Camera centers [N,3] in the world."""
        return self.camera_to_world[:, :, 3]

    @property
    def forward(self) -> Tensor:
        """Viewing directions [N,3] in the world."""
        return self.camera_to_world[:, :, 2]

    def pixel_counts(self) -> Tensor:
        """int64 [N], width times height."""
        return self.size.prod(dim=1)

    def resized(self, size: Tensor) -> Cameras:
        """The cameras of the same pictures resized to ``size`` int64 [N,2]."""
        size = size.to(self.size)
        ratio = size.double() / self.size.double()
        intrinsics = (self.intrinsics.double() * torch.cat((ratio, ratio), dim=1)).float()
        return replace(self, intrinsics=intrinsics, size=size)

    def scaled(self, factor: float) -> Cameras:
        """The cameras of the same pictures made ``factor`` times as wide and high (sizes are rounded)."""
        size = torch.floor(self.size.double() * factor + 0.5).long().clamp_min(1)
        return self.resized(size)

    def models(self) -> frozenset[int]:
        """The camera models that occur."""
        if self._models is None:
            self._models = frozenset(self.model.tolist())
        return self._models

    def unproject(self, index: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Directions in camera axes through pixel positions.

        Args:
            index: int64 [R] which camera.
            pixels: [R,2] positions (x, y) in pixels, centers at +0.5.

        Returns:
            Unit directions float32 [R,3], and bool [R]: whether the lens model is invertible there. Where it is not,
            the direction is that of the edge of the invertible range, so it is always finite.
        """
        fx, fy, cx, cy = self.intrinsics[index].unbind(-1)
        plane = torch.stack(((pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy), dim=-1)
        valid = torch.ones(plane.shape[0], dtype=torch.bool, device=plane.device)
        models, directions = self.models(), None
        for value in sorted(models):
            if value == CameraModel.EQUIRECTANGULAR:
                one = _sphere(plane)
                good = valid
            else:
                undistorted, good = self._undistort(index, plane)
                one = _perspective(undistorted) if value == CameraModel.PERSPECTIVE else _fisheye(undistorted)
            if directions is None or len(models) == 1:
                directions, valid = one, good
            else:
                mine = self.model[index] == value
                directions = torch.where(mine.unsqueeze(-1), one, directions)
                valid = torch.where(mine, good, valid)
        assert directions is not None  # an empty batch has no rays to make
        return directions.float(), valid

    def rays(self, index: Tensor, pixels: Tensor, camera_to_world: Tensor | None = None) -> Rays:
        """World rays through pixel positions; differentiable in ``camera_to_world``.

        Args:
            index: int64 [R] which camera.
            pixels: [R,2] positions (x, y) in pixels, centers at +0.5.
            camera_to_world: [N,3,4] poses to use instead of the stored ones.
        """
        poses = self.camera_to_world if camera_to_world is None else camera_to_world
        pose = poses[index]
        with torch.no_grad():
            directions, _ = self.unproject(index, pixels)
        rotated = (pose[:, :, :3] * directions.unsqueeze(1)).sum(-1)
        return Rays(origins=pose[:, :, 3], directions=rotated)

    def image_rays(self, i: int) -> Rays:
        """The H*W rays of picture ``i``, row-major."""
        width, height = self.size[i].tolist()
        pixels = pixel_centers(width, height, device=self.device)
        one = self[i]
        return one.rays(torch.zeros(pixels.shape[0], dtype=torch.int64, device=self.device), pixels)

    def valid_pixels(self, i: int) -> Tensor | None:
        """bool [H*W]: pixels of picture ``i`` whose ray the lens model defines; None when all are."""
        one = self[i]
        if not one._lenses().any_limit and not one._lenses().any_distortion:
            return None
        # Lens models fail from the outside in, so a sound frame of border pixels means a sound picture.
        width, height = self.size[i].tolist()
        pixels = pixel_centers(width, height, device=self.device)
        border = torch.cat((pixels[:width], pixels[-width:], pixels[::width], pixels[width - 1 :: width]))
        if bool(one.unproject(border.new_zeros(border.shape[0], dtype=torch.int64), border)[1].all()):
            return None
        return one.unproject(pixels.new_zeros(pixels.shape[0], dtype=torch.int64), pixels)[1]

    def project(self, i: int, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where world points [P,3] appear in picture ``i``.

        Returns:
            pixels [P,2]; z-depth [P]; bool [P]: the point is in front of the camera, inside the range of the lens
            model and inside the picture. Pixels are finite everywhere and meaningful outside the picture too as long
            as the z-depth is positive.
        """
        pose = self.camera_to_world[i].to(points.dtype)
        local = (pose[:, :3].T @ (points - pose[:, 3]).T).T  # axis by axis in memory, as what follows reads it
        depth = local[:, 2]
        model = int(self.model[i])
        fx, fy, cx, cy = self.intrinsics[i].to(points.dtype).unbind(-1)
        width, height = self.size[i].tolist()
        if model == CameraModel.EQUIRECTANGULAR:
            longitude = torch.atan2(local[:, 0], depth)
            latitude = torch.atan2(local[:, 1], torch.hypot(local[:, 0], depth))
            plane = torch.stack((longitude, latitude), dim=-1)
            valid = local.square().sum(-1) > 0
        else:
            plane, valid = self._distorted_plane(i, model, local)
        x, y = plane[:, 0] * fx + cx, plane[:, 1] * fy + cy
        pixels = torch.stack((x, y)).T
        inside = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)
        return pixels, depth, valid & inside

    def _distorted_plane(self, i: int, model: int, local: Tensor) -> tuple[Tensor, Tensor]:
        """Distorted normalized coordinates [P,2] of points in camera axes [P,3], and whether they are defined."""
        depth = local[:, 2]
        if model == CameraModel.PERSPECTIVE:
            valid = depth > 1e-8
            plane = local[:, :2] / torch.where(valid, depth, torch.ones_like(depth)).unsqueeze(-1)
            radius = plane.square().sum(-1).sqrt()
        else:
            side = torch.hypot(local[:, 0], local[:, 1])
            radius = torch.atan2(side, depth)
            valid = local.square().sum(-1) > 0
            plane = local[:, :2] * (radius / side.clamp_min(1e-12)).unsqueeze(-1)
        radial, tangential = _coefficients(self.model[i : i + 1], self.distortion[i : i + 1])
        if bool((self.distortion[i] == 0).all()):
            return plane, valid
        limit = self._lenses().limit[self._lenses().lens[i]].to(plane.dtype)
        # Beyond the limit the polynomial folds back into the picture: hold the radius there instead.
        shrink = (limit / radius.clamp_min(1e-12)).clamp(max=1)
        plane = distort(plane * shrink.unsqueeze(-1), radial[0].to(plane), tangential[0].to(plane))
        return plane, valid & (radius <= limit)

    def _undistort(self, index: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
        table = self._lenses()
        if not table.any_distortion and not table.any_limit:
            return plane, torch.ones(plane.shape[0], dtype=torch.bool, device=plane.device)
        return table.undistort(index, plane)

    def _lenses(self) -> LensTable:
        if self._table is None:
            radial, tangential = _coefficients(self.model, self.distortion)
            focal, center = self.intrinsics[:, :2], self.intrinsics[:, 2:]
            far_corner = torch.maximum(center.abs(), (self.size - center).abs()) / focal.abs().clamp_min(1e-12)
            widest = torch.where(self.model == CameraModel.FISHEYE, math.pi, torch.inf)
            self._table = lens_table(radial, tangential, far_corner.norm(dim=1), widest, self.device)
        return self._table


def pixel_centers(width: int, height: int, device: torch.device | str = "cpu") -> Tensor:
    """Positions float32 [H*W,2] of all pixel centers, row-major."""
    x = torch.arange(width, device=device, dtype=torch.float32) + 0.5
    y = torch.arange(height, device=device, dtype=torch.float32) + 0.5
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((grid_x, grid_y), dim=-1).reshape(-1, 2)


def _coefficients(model: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """radial [N,4] and tangential [N,2] of both conventions; zero for equirectangular cameras."""
    perspective = (model == CameraModel.PERSPECTIVE).unsqueeze(-1)
    fisheye = (model == CameraModel.FISHEYE).unsqueeze(-1)
    zero = torch.zeros_like(distortion)
    radial = torch.where(perspective, distortion[:, [0, 1, 4, 5]], zero[:, :4])
    radial = torch.where(fisheye, distortion[:, :4], radial)
    return radial, torch.where(perspective, distortion[:, 2:4], zero[:, :2])


def _perspective(plane: Tensor) -> Tensor:
    ones = torch.ones_like(plane[:, :1])
    return torch.nn.functional.normalize(torch.cat((plane, ones), dim=-1), dim=-1)


def _fisheye(plane: Tensor) -> Tensor:
    """Directions of angle |plane| to the axis; sin(t)/t by sinc, which is smooth at zero."""
    angle = plane.square().sum(-1, keepdim=True).sqrt()
    return torch.cat((plane * torch.sinc(angle / math.pi), angle.cos()), dim=-1)


def _sphere(plane: Tensor) -> Tensor:
    longitude, latitude = plane.unbind(-1)
    flat = latitude.cos()
    return torch.stack((longitude.sin() * flat, latitude.sin(), longitude.cos() * flat), dim=-1)
