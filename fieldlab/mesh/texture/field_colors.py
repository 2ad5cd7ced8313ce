"""Colors of a field on a surface in it: what short rays through the surface see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.texture.bake import Sampler, bake, blended
from fieldlab.mesh.texture.unwrap import unwrap
from fieldlab.ops import native
from fieldlab.ops.render_fused import render_fused
from fieldlab.render.model import RadianceModel

CHUNK = 1 << 15  # rays at a time
SAMPLES = 8
FAINTEST = 1e-3  # share of a color that is not looked up
LEAST_SEEN = 0.05  # opacity of rays in occupied cells from which their color is known well enough


@torch.no_grad()
def surface_colors(
    model: RadianceModel,
    points: np.ndarray,
    inward: np.ndarray,
    near: float,
    far: float,
    samples: int = SAMPLES,
    on_share: Callable[[float], object] | None = None,
) -> np.ndarray:
    """Colors sRGB uint8 [P,3] of points on a surface, as the field shows them.

    Each is a short ray through the point, composited like a ray of a picture and normalized by its opacity, so that a
    point a little off the visible surface still gets the surface's color.

    Args:
        points: [P,3] in world units.
        inward: directions [P,3] in which they are looked at, unit; any direction does where they are zero.
        near, far: where the rays begin and end, in world units along them from the point: below and above zero.
        samples: along each ray.
    """
    device = model.aabb.device
    colors = np.zeros((len(points), 3), dtype=np.uint8)
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        at = torch.from_numpy(points[part]).float().to(device)
        directions = torch.from_numpy(inward[part]).float().to(device)
        size = directions.norm(dim=-1, keepdim=True)
        down = torch.tensor([0.0, 0.0, -1.0], device=device)
        directions = torch.where(size < 0.5, down, directions / size.clamp_min(1e-12))
        color = _seen(model, at, directions, torch.linspace(near, far, samples, device=device))
        colors[part] = (color.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
        if on_share is not None:
            on_share(min(1.0, (start + CHUNK) / len(points)))
    return colors


def vertex_colors(
    model: RadianceModel,
    mesh: Mesh,
    directions: np.ndarray | None,
    near: float,
    far: float,
    on_share: Callable[[float], object] | None = None,
) -> np.ndarray:
    """Colors sRGB uint8 [V,3] of the vertices.

    Args:
        directions: unit [V,3] in which each is looked at; against the normals when absent.
        near, far: see :func:`surface_colors`.
        on_share: called with the share that is done.
    """
    inward = -mesh.normals() if directions is None else directions
    return surface_colors(model, mesh.vertices, inward, near, far, on_share=on_share)


def textured(
    model: RadianceModel,
    mesh: Mesh,
    size: int,
    directions: np.ndarray | None = None,
    *,
    near: float,
    far: float,
    normal_map: Sampler | None = None,
    on_share: Callable[[float], object] | None = None,
) -> Mesh:
    """The same mesh with a texture of the field's colors in place of vertex colors.

    Args:
        size: texels on a side of the texture.
        directions: unit [V,3] in which the vertices are looked at; against the normals when absent.
        near, far: see :func:`surface_colors`.
        normal_map: unit world normals float32 [N,3] at points float64 [N,3] on faces int64 [N] with corner weights
            float64 [N,3], for a normal map; without one when absent.
        on_share: called with the share that is done.

    Raises:
        ConfigError: the texture is too small for so many pieces as the mesh falls into.
    """
    inward = -mesh.normals() if directions is None else directions

    def shade(points: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return surface_colors(model, points, blended(inward, mesh.faces[face], weights), near, far)

    uv, corners = unwrap(mesh, size)
    return replace(mesh, colors=None, texture=bake(mesh, uv, corners, size, shade, normal_map, on_share))


def _seen(model: RadianceModel, points: Tensor, directions: Tensor, depths: Tensor) -> Tensor:
    """What :func:`_along` finds, by the fused renderer where there is one for the field, which is several times faster.

    It takes samples in occupied cells only; rays that meet too little there are left to :func:`_along`.
    """
    fused = isinstance(model, RadianceModel) and native.active(points) and native.backend() == "native"
    plan = model.field.fused_plan(None if model.appearance is None else model.appearance.mean(0)) if fused else None
    if plan is None:
        return _along(model, points, directions, depths)
    length = float(depths[-1] - depths[0])
    zero = torch.zeros_like(points[:, 0])
    found = render_fused(
        points + depths[0] * directions, directions, zero, zero + length, model.occupancy.packed(), plan, model.aabb,
        step=length / len(depths), contracted=model.config.unbounded, least_weight=FAINTEST,
    )  # fmt: skip
    color = found.rgb / found.opacity.clamp_min(LEAST_SEEN)[:, None]
    unseen = torch.nonzero(found.opacity < LEAST_SEEN).squeeze(1)
    if len(unseen):
        color[unseen] = _along(model, points[unseen], directions[unseen], depths)
    return color


def _along(model: RadianceModel, points: Tensor, directions: Tensor, depths: Tensor) -> Tensor:
    """Composited color [P,3] of short rays through points [P,3] at signed depths [K] along directions [P,3]."""
    n, k = len(points), len(depths)
    at = points[:, None] + depths[:, None] * directions[:, None]
    weights = _weights(model.density(at.view(-1, 3)).view(n, k), depths)
    ray, sample = torch.nonzero(weights > FAINTEST, as_tuple=True)
    weight = weights[ray, sample, None]
    color = model.rgb(at[ray, sample], directions[ray]) * weight
    empty = torch.zeros_like(points)
    total = torch.zeros_like(points[:, :1]).index_add_(0, ray, weight)
    return empty.index_add_(0, ray, color) / total


def _weights(sigma: Tensor, depths: Tensor) -> Tensor:
    """How much each sample of rays with densities [P,K] adds to their colors; they add up to one."""
    alpha = -torch.expm1(-sigma * (depths[1] - depths[0]))
    clear = torch.cumprod(1 - alpha, dim=1)
    weights = alpha * torch.cat((torch.ones_like(clear[:, :1]), clear[:, :-1]), dim=1)
    total = weights.sum(dim=1, keepdim=True)
    # A surface so faint that nothing is stopped shows the color at the point itself.
    middle = (depths.abs() == depths.abs().min()).float()
    return torch.where(total > 1e-6, weights / total.clamp_min(1e-6), middle / middle.sum())
