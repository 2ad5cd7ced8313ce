"""Pictures and exact ground truth of a procedural scene, for any cameras.

Every pixel's center ray gives depth, normal and labels. Colors average over the pixel: textures are read at four places
in the pixel's footprint, and pixels on an edge of shape, part or crease are traced anew with a grid of rays.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.data.cameras import Cameras, pixel_centers
from fieldlab.synthetic import shade as shading
from fieldlab.synthetic.model import SceneModel
from fieldlab.synthetic.parallel import over_pieces, workers
from fieldlab.synthetic.shapes import Points
from fieldlab.synthetic.trace import Hits, along, normals, pick, trace

RAYS_PER_BATCH = 1 << 20


@dataclass
class Geometry:
    """What P rays meet: camera number and pixel of each, the ray, the hit, its place and the unit normal there."""

    camera: Tensor
    pixels: Tensor
    origins: Points
    directions: Points
    hits: Hits
    points: Points
    normal: Points

    def subset(self, index: Tensor) -> Geometry:
        """The rays at ``index``."""
        hits = Hits(*(v.index_select(0, index) for v in (self.hits.t, self.hits.group, self.hits.part)))
        camera, pixels = self.camera.index_select(0, index), self.pixels.index_select(0, index)
        vectors = (pick(v, index) for v in (self.origins, self.directions, self.points, self.normal))
        origins, directions, points, normal = vectors
        return Geometry(camera, pixels, origins, directions, hits, points, normal)

    @staticmethod
    def concatenated(parts: Sequence[Geometry]) -> Geometry:
        """The rays of all parts, one after another."""

        def vectors(name: str) -> Points:
            x, y, z = (torch.cat([getattr(g, name)[k] for g in parts]) for k in range(3))
            return x, y, z

        hits = Hits(*(torch.cat([getattr(g.hits, name) for g in parts]) for name in ("t", "group", "part")))
        camera, pixels = torch.cat([g.camera for g in parts]), torch.cat([g.pixels for g in parts])
        origins, directions, points, normal = map(vectors, ("origins", "directions", "points", "normal"))
        return Geometry(camera, pixels, origins, directions, hits, points, normal)


def cast(scene: SceneModel, cameras: Cameras, camera: Tensor, pixels: Tensor) -> Geometry:
    """Trace rays through ``pixels`` [P,2] (continuous, centers at +0.5) of the cameras numbered ``camera`` [P]."""
    rays = cameras.rays(camera, pixels)
    origins, directions = _components(rays.origins), _components(rays.directions)
    hits = trace(scene, origins, directions)
    reach = torch.where(hits.part >= 0, hits.t, torch.zeros_like(hits.t))
    points = along(origins, directions, reach)
    return Geometry(camera, pixels, origins, directions, hits, points, normals(scene, hits, points))


def cast_images(scene: SceneModel, cameras: Cameras, images: range) -> Geometry:
    """Trace the center rays of all pixels of whole images, row-major."""
    with workers() as pool:
        return _cast_images(pool, scene, cameras, images)


def _cast_images(pool: ThreadPoolExecutor, scene: SceneModel, cameras: Cameras, images: range) -> Geometry:
    camera, pixels = image_pixels(cameras, images)
    pieces = over_pieces(pool, lambda i: cast(scene, cameras, camera[i], pixels[i]), len(camera), cameras.device)
    return Geometry.concatenated(pieces)


def _components(vectors: Tensor) -> Points:
    x, y, z = vectors.T.contiguous().unbind(0)
    return x, y, z


def image_pixels(cameras: Cameras, images: range) -> tuple[Tensor, Tensor]:
    """Camera numbers [P] and centers [P,2] of all pixels of some images, row-major."""
    device = cameras.camera_to_world.device
    centers = [pixel_centers(int(w), int(h), device) for w, h in cameras.size[list(images)].tolist()]
    numbers = [torch.full((len(c),), i, device=device) for i, c in zip(images, centers, strict=True)]
    return torch.cat(numbers), torch.cat(centers)


def batches(cameras: Cameras) -> list[range]:
    """Runs of whole images of about RAYS_PER_BATCH pixels."""
    runs, start, total = [], 0, 0
    for i, count in enumerate(cameras.pixel_counts().tolist()):
        total += count
        if total >= RAYS_PER_BATCH:
            runs.append(range(start, i + 1))
            start, total = i + 1, 0
    if start < len(cameras):
        runs.append(range(start, len(cameras)))
    return runs


def render_images(scene: SceneModel, cameras: Cameras, images: range, samples: int = 2) -> tuple[Tensor, Geometry]:
    """Straight-alpha sRGB [P,4] in [0,1] of whole images, and what the center rays met.

    ``samples`` squared rays go through each pixel on an edge.
    """
    with workers() as pool:
        return _render_images(pool, scene, cameras, images, samples)


def _render_images(
    pool: ThreadPoolExecutor, scene: SceneModel, cameras: Cameras, images: range, samples: int
) -> tuple[Tensor, Geometry]:
    geometry = _cast_images(pool, scene, cameras, images)
    edge = _edges(scene, cameras, geometry, images)
    inner = torch.nonzero(~edge).squeeze(1)
    outer = torch.nonzero(edge).squeeze(1)
    offsets = ((torch.arange(samples) + 0.5) / samples - 0.5).tolist()
    shifts = torch.tensor([(x, y) for y in offsets for x in offsets], device=edge.device)

    def light_inner(piece: Tensor) -> Tensor:
        return _light(scene, geometry.subset(inner[piece]), cameras)

    def light_outer(piece: Tensor) -> Tensor:
        ray = outer[piece // len(shifts)]
        pixels = geometry.pixels[ray] + shifts[piece % len(shifts)]
        return _light(scene, cast(scene, cameras, geometry.camera[ray], pixels), None)

    result = torch.zeros((4, len(edge)), device=edge.device)
    if len(inner):
        result[:, inner] = torch.cat(over_pieces(pool, light_inner, len(inner), edge.device), 1)
    if len(outer):
        fine = torch.cat(over_pieces(pool, light_outer, len(outer) * len(shifts), edge.device), 1)
        result[:, outer] = fine.view(4, -1, len(shifts)).mean(2)
    color = result[:3] / result[3:].clamp_min(1e-6)
    return torch.cat([color, result[3:]]).T.contiguous().clamp(0, 1), geometry


def _light(scene: SceneModel, g: Geometry, footprint: Cameras | None) -> Tensor:
    """Premultiplied sRGB and alpha [4,P]; with ``footprint`` textures are averaged over the pixel."""
    hit = torch.nonzero(g.hits.part >= 0).squeeze(1)
    result = torch.zeros((4, g.hits.part.shape[0]), device=hit.device)
    if scene.sky is not None:
        result[:3] = shading.to_srgb(shading.sky_color(scene, g.directions), scene.exposure)
        result[3] = 1.0
    if hit.numel() == 0:
        return result
    near = g.subset(hit)
    if footprint is None:
        color = shading.albedo(scene, near.hits.part, near.points)
    else:
        spots = [_tangent_points(near, footprint, dx, dy) for dx in (-0.25, 0.25) for dy in (-0.25, 0.25)]
        x, y, z = (torch.cat([s[k] for s in spots]) for k in range(3))
        color = shading.albedo(scene, near.hits.part.repeat(4), (x, y, z)).view(3, 4, -1).mean(1)
    radiance = shading.shade(scene, near.hits.part, near.points, near.normal, near.directions, color)
    radiance = shading.add_haze(scene, near.points, radiance)
    result[:3, hit] = shading.to_srgb(radiance, scene.exposure)
    result[3, hit] = 1.0
    return result


def _tangent_points(g: Geometry, cameras: Cameras, dx: float, dy: float) -> Points:
    """Where rays a fraction of a pixel away meet the plane that touches the surface at each hit."""
    rays = cameras.rays(g.camera, g.pixels + torch.tensor([dx, dy], device=g.pixels.device))
    origins, directions = _components(rays.origins), _components(rays.directions)
    toward = sum((p - o) * n for p, o, n in zip(g.points, origins, g.normal, strict=True))
    slant = sum(d * n for d, n in zip(directions, g.normal, strict=True))
    t = torch.as_tensor(toward) / torch.as_tensor(slant).clamp_max(-1e-3)
    # Nearly edge-on planes run far away from the surface they stand for.
    return along(origins, directions, torch.minimum(torch.maximum(t, 0.98 * g.hits.t), 1.02 * g.hits.t))


def _edges(scene: SceneModel, cameras: Cameras, g: Geometry, images: range) -> Tensor:
    """Pixels [P] whose part, depth or normal differs from a neighbor's."""
    result, start = [], 0
    cosine_limit = 0.5
    for i in images:
        width, height = (int(v) for v in cameras.size[i])
        span = slice(start, start + width * height)
        start += width * height
        part = g.hits.part[span].view(height, width)
        depth = torch.where(part >= 0, g.hits.t[span].view(height, width), torch.zeros(()).to(g.hits.t))
        normal = torch.stack([c[span].view(height, width) for c in g.normal])
        edge = torch.zeros_like(part, dtype=torch.bool)
        for axis in (0, 1):
            count = part.shape[axis]
            a, b = (v.narrow(axis, 0, count - 1) for v in (part, depth))
            c, d = (v.narrow(axis, 1, count - 1) for v in (part, depth))
            n, m = normal.narrow(axis + 1, 0, count - 1), normal.narrow(axis + 1, 1, count - 1)
            jump = (b - d).abs() > 0.04 * torch.maximum(b, d)
            crease = (n * m).sum(0) < cosine_limit
            differs = (a != c) | ((a >= 0) & (crease | (jump & ((n * m).sum(0) < 0.98))))
            edge.narrow(axis, 0, count - 1).logical_or_(differs)
            edge.narrow(axis, 1, count - 1).logical_or_(differs)
        result.append(edge.reshape(-1))
    return torch.cat(result)
