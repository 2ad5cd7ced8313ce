"""Light on surfaces: soft shadows, ambient occlusion, highlights and mirrored surroundings, in linear RGB.

Diffuse light is Lambert's; mirrored light is Schlick's Fresnel term times the surroundings (a gradient and one soft
spot per light, wider on rough surfaces), so that highlights and reflections move with the viewer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.synthetic.model import SceneModel
from fieldlab.synthetic.shapes import Points
from fieldlab.synthetic.trace import occlusion, pick, shadow


def albedo(scene: SceneModel, part: Tensor, points: Points) -> Tensor:
    """Linear RGB [3,N] of the textures at points on the given parts."""
    color = torch.zeros((3, part.shape[0]), device=part.device)
    for index, p in _by_part(scene, part):
        surface = scene.parts[p]
        color[:, index] = surface.material.texture(surface.shape.local(pick(points, index)))
    return color.clamp(0, 1)


def _by_part(scene: SceneModel, part: Tensor) -> list[tuple[Tensor, int]]:
    order = torch.argsort(part, stable=True)
    counts = torch.bincount(part, minlength=len(scene.parts)).tolist()
    return [(index, p) for p, index in enumerate(torch.split(order, counts)) if index.numel()]


def shade(scene: SceneModel, part: Tensor, points: Points, normal: Points, view: Points, color: Tensor) -> Tensor:
    """Radiance [3,N] leaving surface points against ``view`` (unit, from the eye), given their ``color`` [3,N]."""
    rough, mirror, metal, glow = _material_rows(scene, part)
    cosine = -(normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]).clamp(-1, 0)
    lifted = _lift(points, normal)
    open_share = occlusion(scene, lifted, normal)
    reflected = tuple(v + 2 * cosine * n for v, n in zip(view, normal, strict=True))

    diffuse = _gradient(scene, normal[2], 1.0) * open_share
    mirrored = _gradient(scene, reflected[2], rough) * open_share
    for light in scene.lights:
        facing = sum(n * c for n, c in zip(normal, light.direction, strict=True))
        facing = torch.as_tensor(facing).clamp_min(0)
        visible = torch.ones_like(facing)
        if light.shadow:
            lit = torch.nonzero(facing > 0).squeeze(1)
            visible[lit] = shadow(scene, pick(lifted, lit), light)
        tint = torch.tensor(light.color, device=facing.device)[:, None]
        diffuse = diffuse + tint * (facing * visible)
        aligned = sum(r * c for r, c in zip(reflected, light.direction, strict=True))
        mirrored = mirrored + tint * (_spot(torch.as_tensor(aligned), rough, light.width) * visible * (facing > 0))

    edge = (1 - rough) * (1 - cosine) ** 5
    fresnel = mirror + (1 - mirror) * edge
    tinted = 1 + (color - 1) * metal
    return color * diffuse * (1 - metal) + tinted * fresnel * mirrored + color * glow


def _material_rows(scene: SceneModel, part: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    materials = [p.material for p in scene.parts]
    rows = torch.tensor([[m.roughness, m.reflectance, m.metallic, m.glow] for m in materials], device=part.device)
    rough, mirror, metal, glow = rows[part].unbind(1)
    return rough, mirror, metal, glow


def _lift(points: Points, normal: Points) -> Points:
    x, y, z = (torch.add(c, n, alpha=2e-3) for c, n in zip(points, normal, strict=True))
    return x, y, z


def _gradient(scene: SceneModel, height: Tensor, rough: Tensor | float) -> Tensor:
    """Light [3,N] from the surroundings around directions of the given height (z); rough surfaces see it blurred."""
    around = scene.surroundings
    zenith, horizon, ground = (
        torch.tensor(c, device=height.device)[:, None] for c in (around.zenith, around.horizon, around.ground)
    )
    blur = 0.12 + 0.88 * torch.as_tensor(rough, device=height.device)
    up = (height / blur).clamp(-1, 1)
    sky = horizon + (zenith - horizon) * (0.5 + 0.5 * height)
    low = ground + (horizon - ground) * (0.5 + 0.5 * height).clamp(0, 1)
    weight = 0.5 + 0.5 * up * (1.5 - 0.5 * up * up)
    return low + (sky - low) * weight


def _spot(aligned: Tensor, rough: Tensor, width: float) -> Tensor:
    """Brightness of a light's mirror image: a spot whose solid angle grows with roughness and whose energy is fixed."""
    variance = rough**4 * 0.5 + width * width
    return (torch.exp((aligned - 1) / variance) / (2 * variance)).clamp_max(60.0) / math.pi


def sky_color(scene: SceneModel, directions: Points) -> Tensor:
    """Radiance [3,N] of the sky; black where the scene has none."""
    if scene.sky is None:
        return torch.zeros((3, directions[0].shape[0]), device=directions[0].device)
    return scene.sky(directions)


def add_haze(scene: SceneModel, points: Points, radiance: Tensor) -> Tensor:
    """Radiance with the scene's haze in front, which depends on the place alone, so that all views agree."""
    if scene.haze is None or scene.sky is None:
        return radiance
    level = tuple(torch.full_like(c, v) for c, v in zip(points, (1.0, 0.0, 0.0), strict=True))
    return radiance + (scene.sky(level) - radiance) * scene.haze(points)  # type: ignore[arg-type]


def to_srgb(radiance: Tensor, exposure: float) -> Tensor:
    """Display color in [0,1]: exposure, a soft shoulder for highlights (per channel), and the sRGB transfer curve."""
    x = (radiance * exposure).clamp_min(0)
    x = (x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0, 1)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp_min(1e-8) ** (1 / 2.4) - 0.055)
