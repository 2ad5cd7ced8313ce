"""Lens distortion: the OpenCV polynomial forwards, and its inverse to float64 accuracy.

Perspective and fisheye lenses share one polynomial, ``f(r) = r (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8)``. For a
perspective lens ``r`` is the radius on the plane z = 1 and a tangential part (p1, p2) is added; for the equidistant
fisheye (Kannala and Brandt 2006) ``r`` is the angle to the optical axis. The inverse starts from a table of ``f^-1``
that is made once for each distinct lens and is finished by Newton steps on the 2x2 Jacobian, so that a few thousand
rays cost well under a millisecond or two and any sub-pixel position is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TABLE_SIZE = 1024
NEWTON_STEPS = 3
MIN_SLOPE = 0.02  # f is taken to be invertible while f'(r) is above this
RESIDUAL = 1e-9  # normalized image units: what counts as solved


def radial_terms(squared: Tensor, radial: Tensor) -> tuple[Tensor, Tensor]:
    """``g = f(r) / r`` and ``dg / d(r^2)`` at squared radii [R] for coefficients [R,4] or [4]."""
    k1, k2, k3, k4 = radial.unbind(-1)
    g = 1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4)))
    slope = k1 + squared * (2 * k2 + squared * (3 * k3 + squared * 4 * k4))
    return g, slope


def distort(plane: Tensor, radial: Tensor, tangential: Tensor) -> Tensor:
    """Distorted coordinates of undistorted ones.

    Args:
        plane: [R,2] coordinates on the plane z = 1 (perspective) or angle times direction (fisheye).
        radial: [R,4] or [4] k1..k4 of r^2, r^4, r^6, r^8.
        tangential: [R,2] or [2] p1, p2.
    """
    x, y = plane.unbind(-1)
    p1, p2 = tangential.unbind(-1)
    squared = x * x + y * y
    g, _ = radial_terms(squared, radial)
    return torch.stack(
        (
            x * g + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
            y * g + p1 * (squared + 2 * y * y) + 2 * p2 * x * y,
        ),
        dim=-1,
    )


@dataclass
class LensTable:
    """The inverse of the radial polynomial of M distinct lenses, and where it ends.

    Args:
        lens: int64 [N], which lens a camera has.
        ratio: float64 [M,T], undistorted over distorted radius at T evenly spaced distorted radii.
        reach: float64 [M], the distorted radius of the last entry.
        limit: float64 [M], the largest undistorted radius where the polynomial is invertible (may be infinite).
        distorted_limit: float64 [M], the same after distortion.
        radial, tangential: float64 [M,4], [M,2].
    """

    lens: Tensor
    ratio: Tensor
    reach: Tensor
    limit: Tensor
    distorted_limit: Tensor
    radial: Tensor
    tangential: Tensor
    any_distortion: bool
    any_limit: bool

    def undistort(self, index: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
        """Undistorted float64 [R,2] of distorted coordinates [R,2] of cameras [R], and where that has a solution.

        Outside the invertible range the result is the edge of that range in the same direction: finite, and marked
        False in the second tensor.
        """
        plane = plane.double()
        lens = self.lens[index]
        distorted = plane.square().sum(-1).sqrt()
        inside = torch.ones_like(distorted, dtype=torch.bool)
        ratio = torch.ones_like(distorted)
        if self.any_limit:
            inside = distorted <= self.distorted_limit[lens]
            edge = self.limit[lens] / distorted.clamp_min(1e-12)
        if not self.any_distortion:
            return (plane * torch.where(inside, ratio, edge).unsqueeze(-1) if self.any_limit else plane), inside
        position = (distorted / self.reach[lens]).clamp(max=1) * (TABLE_SIZE - 1)
        cell = position.long().clamp(max=TABLE_SIZE - 2)
        low, high = self.ratio[lens, cell], self.ratio[lens, cell + 1]
        ratio = torch.lerp(low, high, position - cell)
        start = plane * ratio.unsqueeze(-1)
        one = self.radial.shape[0] == 1  # the usual case, which needs no coefficients for each ray
        radial, tangential = (self.radial[0], self.tangential[0]) if one else (self.radial[lens], self.tangential[lens])
        solved, residual = _newton(start, plane, radial, tangential)
        good = inside & (residual <= RESIDUAL * (1 + distorted)) & solved.isfinite().all(-1)
        if self.any_limit:  # the tangential part may carry a solution across the edge
            good = good & (solved.square().sum(-1).sqrt() <= self.limit[lens])
        fallback = torch.where(inside, ratio, edge).unsqueeze(-1) * plane if self.any_limit else start
        return torch.where(good.unsqueeze(-1), solved, fallback), good


def _newton(start: Tensor, target: Tensor, radial: Tensor, tangential: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's method for distort(plane) = target; the plane [R,2] and the residual [R]."""
    x, y = start.unbind(-1)
    u, v = target.unbind(-1)
    p1, p2 = tangential.unbind(-1)
    for step in range(NEWTON_STEPS + 1):
        xx, yy, xy = x * x, y * y, x * y
        squared = xx + yy
        g, slope = radial_terms(squared, radial)
        du = x * g + 2 * p1 * xy + p2 * (squared + 2 * xx) - u
        dv = y * g + p1 * (squared + 2 * yy) + 2 * p2 * xy - v
        if step == NEWTON_STEPS:
            break
        j_xx = g + 2 * xx * slope + 2 * p1 * y + 6 * p2 * x
        j_xy = 2 * (xy * slope + p1 * x + p2 * y)
        j_yy = g + 2 * yy * slope + 6 * p1 * y + 2 * p2 * x
        determinant = j_xx * j_yy - j_xy * j_xy
        inverse = torch.where(determinant.abs() > 1e-12, determinant, torch.inf).reciprocal()
        x = x - inverse * (j_yy * du - j_xy * dv)
        y = y - inverse * (j_xx * dv - j_xy * du)
    return torch.stack((x, y), dim=-1), torch.hypot(du, dv)


def lens_table(
    radial: Tensor, tangential: Tensor, corner_radius: Tensor, max_radius: Tensor, device: torch.device
) -> LensTable:
    """Make the table for N cameras; equal lenses share an entry.

    Args:
        radial, tangential: [N,4], [N,2].
        corner_radius: [N] distorted radius of the farthest corner of the picture; the table reaches somewhat further.
        max_radius: [N] the largest meaningful undistorted radius (pi for a fisheye, else infinity).
    """
    rows = torch.cat((radial, tangential, corner_radius[:, None], max_radius[:, None]), dim=1).double().cpu()
    unique, lens = np.unique(rows.numpy(), axis=0, return_inverse=True)
    coefficients, tangents, corner, bound = unique[:, :4], unique[:, 4:6], unique[:, 6], unique[:, 7]
    limit = np.minimum([_first_flat(row) for row in coefficients], bound)
    distorted_limit = np.where(
        np.isfinite(limit), _polynomial(np.where(np.isfinite(limit), limit, 0), coefficients), np.inf
    )
    reach = np.minimum(1.5 * corner, distorted_limit)
    ratio = _invert(reach, np.minimum(limit, reach / MIN_SLOPE), coefficients)

    def move(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return LensTable(
        lens=move(lens.reshape(-1).astype(np.int64)),
        ratio=move(ratio),
        reach=move(reach),
        limit=move(limit),
        distorted_limit=move(distorted_limit),
        radial=move(coefficients),
        tangential=move(tangents),
        any_distortion=bool(np.any(unique[:, :6] != 0)),
        any_limit=bool(np.isfinite(limit).any()),
    )


def radius_limit(radial: np.ndarray) -> float:
    """The largest radius up to which the polynomial with k1..k4 [4] is invertible; infinite when it always is."""
    return _first_flat(np.asarray(radial, dtype=np.float64))


def _first_flat(radial: np.ndarray) -> float:
    """Smallest r > 0 with f'(r) = MIN_SLOPE, where f' = 1 + 3 k1 r^2 + 5 k2 r^4 + 7 k3 r^6 + 9 k4 r^8."""
    k1, k2, k3, k4 = radial
    # In 1 / r^2 the leading coefficient is never small.
    roots = np.roots([1 - MIN_SLOPE, 3 * k1, 5 * k2, 7 * k3, 9 * k4])
    real = roots[(np.abs(roots.imag) < 1e-9 * np.abs(roots)) & (roots.real > 1e-12)].real
    return float(1 / np.sqrt(real.max())) if real.size else float("inf")


def _polynomial(radius: np.ndarray, radial: np.ndarray) -> np.ndarray:
    k1, k2, k3, k4 = np.moveaxis(radial, -1, 0)
    squared = radius * radius
    distorted: np.ndarray = radius * (1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4))))
    return distorted


def _invert(reach: np.ndarray, upper: np.ndarray, radial: np.ndarray) -> np.ndarray:
    """f^-1(r) / r at TABLE_SIZE radii from 0 to ``reach`` [M] by bisection between 0 and ``upper`` [M]."""
    target = reach[:, None] * np.linspace(0, 1, TABLE_SIZE)
    low, high = np.zeros_like(target), np.broadcast_to(upper[:, None], target.shape).copy()
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = _polynomial(middle, radial[:, None, :]) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    ratio: np.ndarray = np.divide(0.5 * (low + high), target, out=np.ones_like(target), where=target > 0)
    return ratio
