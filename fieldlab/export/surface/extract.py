"""From a field to a colored triangle mesh in world units: marching cubes, cleaning, decimation and colors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import fast_simplification
import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes
from torch import Tensor

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError
from fieldlab.export.mesh import Mesh
from fieldlab.export.surface.density_grid import DensityGrid, sample_density
from fieldlab.export.surface.level import surface_level
from fieldlab.render.model import RadianceModel

LOG_RANGE = 4.0  # densities further than e^4 from the level say "inside" or "outside", not how far
SMALLEST_PART = 0.04  # of the largest part's diagonal; smaller parts are floaters
FAINTEST_PART = 2.0  # times the level; parts that never get denser are haze
COLOR_SAMPLES = 8
COLOR_DEPTH = (-1.5, 2.5)  # where colors are gathered, in cells from outside to inside of the surface


@dataclass
class MeshReport:
    """What was done to make a mesh.

    Args:
        level: density of the surface per world unit, and whether it was chosen automatically.
        densities: lowest and highest density on the grid.
        cell: size of a grid cell in world units.
        parts_removed, faces_removed: floaters.
    """

    level: float
    automatic: bool
    densities: tuple[float, float]
    cell: float
    parts_removed: int = 0
    faces_removed: int = 0
    faces_before_decimation: int = field(default=0)


def extract_mesh(
    model: RadianceModel,
    *,
    cameras: Cameras | None = None,
    resolution: int = 256,
    level: float | None = None,
    faces: int | None = None,
    on_progress: Callable[[str, float], object] | None = None,
) -> tuple[Mesh, MeshReport]:
    """The surface where the density of ``model`` passes ``level``, within its box, closed at the box's faces.

    Args:
        cameras: of photographs of the scene, for choosing the level.
        resolution: grid cells along the longest side of the box.
        level: density per world unit; :func:`surface_level` when absent.
        faces: reduce the mesh to about so many triangles.
        on_progress: called with the stage and the share of it that is done.

    Raises:
        ConfigError: nothing reaches that density, or an argument is impossible.
    """
    tell = on_progress or (lambda _stage, _share: None)
    if level is not None and not 0 < level < float("inf"):
        raise ConfigError("the density level of the mesh is impossible", found=level, expected="a number above 0")
    if faces is not None and faces < 4:
        raise ConfigError("the number of faces is impossible", found=faces, expected="4 or more")
    grid = sample_density(model, resolution, lambda share: tell("density", share))
    chosen = surface_level(model, cameras) if level is None else level
    report = MeshReport(chosen, level is None, grid.density_range(), float(grid.spacing.max()))
    tell("surface", 0.0)
    mesh = isosurface(grid, chosen)
    mesh = without_floaters(mesh, grid, chosen, report)
    report.faces_before_decimation = len(mesh.faces)
    if faces is not None and faces < len(mesh.faces):
        tell("decimation", 0.0)
        mesh = decimated(mesh, faces)
    mesh.colors = vertex_colors(model, mesh, report.cell, lambda share: tell("color", share))
    return mesh, report


def isosurface(grid: DensityGrid, level: float) -> Mesh:
    """Marching cubes (Lewiner et al. 2003) on log-density, closed where the box or the occupied part ends.

    Densities span many orders of magnitude within a cell or two; their logarithm is nearly linear there, so linear
    interpolation finds the crossing. Nothing outside the box is known, so the surface is closed on the box itself.

    Raises:
        ConfigError: the level is not crossed anywhere.
    """
    low, high = grid.density_range()
    if not level <= high:
        raise ConfigError(
            "no surface: nothing is as dense as the level",
            field="level",
            found=f"{level:.4g} per world unit",
            expected=f"a level within the densities on the grid, {low:.3g} to {high:.3g}",
            hint=f"train it longer, or try --level {max(high / 4, math.sqrt(max(low, 0.0) * high)):.3g}"
            if high > 0
            else "the field is empty: train it first",
        )
    with np.errstate(divide="ignore"):
        ratio = np.log(grid.values) - np.float32(np.log(level))
    ratio = np.clip(ratio, -LOG_RANGE, LOG_RANGE)
    # A vertex exactly on the level would collapse the triangles around it.
    np.copyto(ratio, np.where(ratio < 0, np.float32(-1e-3), np.float32(1e-3)), where=np.abs(ratio) < 1e-3)
    ratio = np.pad(ratio, 1, constant_values=-LOG_RANGE)
    vertices, faces, _, _ = marching_cubes(ratio, level=0.0, gradient_direction="ascent")
    world = grid.origin + (vertices.astype(np.float64) - 1) * grid.spacing
    return Mesh(np.clip(world, grid.box[0], grid.box[1]), faces.astype(np.int64))


def without_floaters(mesh: Mesh, grid: DensityGrid, level: float, report: MeshReport) -> Mesh:
    """The mesh without connected parts that are tiny or hardly denser than the level; the largest always stays."""
    edges = np.concatenate((mesh.faces[:, :2], mesh.faces[:, 1:]))
    n = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(n, n))
    count, part = connected_components(graph, directed=False)
    order = np.argsort(part, kind="stable")
    starts = np.searchsorted(part[order], np.arange(count))
    ordered = mesh.vertices[order]
    size = np.linalg.norm(np.maximum.reduceat(ordered, starts) - np.minimum.reduceat(ordered, starts), axis=1)
    peak = np.maximum.reduceat(_densest_near(grid, ordered), starts)
    keep = (size >= SMALLEST_PART * size.max()) & (peak >= FAINTEST_PART * level)
    keep[size.argmax()] = True
    kept = keep[part[mesh.faces[:, 0]]]
    report.parts_removed, report.faces_removed = int((~keep).sum()), int((~kept).sum())
    return mesh if kept.all() else mesh.kept(kept)


def _densest_near(grid: DensityGrid, points: np.ndarray) -> np.ndarray:
    """The highest density [P] among the corners of the 3^3 cells around each point [P,3]."""
    shape = np.array(grid.values.shape)
    low = np.floor((points - grid.origin) / grid.spacing).astype(int) - 1
    found = np.zeros(len(points), dtype=np.float32)
    for offset in np.ndindex(4, 4, 4):
        x, y, z = np.clip(low + offset, 0, shape - 1).T
        np.maximum(found, grid.values[x, y, z], out=found)
    return found


def decimated(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about ``faces`` triangles, by quadric edge collapse (Garland and Heckbert 1997); without colors."""
    vertices, triangles = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=int(faces)
    )
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)  # the collapse may overshoot the box by a little
    return Mesh(np.clip(vertices.astype(np.float64), low, high), triangles.astype(np.int64))


@torch.no_grad()
def vertex_colors(
    model: RadianceModel,
    mesh: Mesh,
    cell: float,
    on_share: Callable[[float], object] | None = None,
    chunk: int = 1 << 15,
) -> np.ndarray:
    """Color uint8 [V,3] of every vertex as the field shows it from outside, looking along the normal.

    Each is a short ray through the surface, composited like a ray of a picture and normalized by its opacity, so that
    a vertex a little off the visible surface still gets the surface's color.

    Args:
        cell: the length, in world units, that ``COLOR_DEPTH`` counts in.
    """
    device = model.aabb.device
    depths = torch.linspace(*COLOR_DEPTH, COLOR_SAMPLES) * cell
    step = float(depths[1] - depths[0])
    normals, colors = mesh.normals(), np.zeros((len(mesh.vertices), 3), dtype=np.uint8)
    for start in range(0, len(mesh.vertices), chunk):
        part = slice(start, start + chunk)
        points = torch.from_numpy(mesh.vertices[part]).float().to(device)
        directions = -torch.from_numpy(normals[part]).float().to(device)
        # Where a vertex has no normal any direction does.
        directions[directions.norm(dim=-1) < 0.5] = torch.tensor([0.0, 0.0, -1.0], device=device)
        color = _along(model, points, directions, depths.to(device), step)
        colors[part] = (color.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
        if on_share is not None:
            on_share(min(1.0, (start + chunk) / len(mesh.vertices)))
    return colors


def _along(model: RadianceModel, points: Tensor, directions: Tensor, depths: Tensor, step: float) -> Tensor:
    """Composited color [P,3] of short rays through points [P,3] at signed depths [K] along directions [P,3]."""
    n, k = len(points), len(depths)
    at = (points[:, None] + depths[:, None] * directions[:, None]).reshape(-1, 3)
    sigma = model.density(at).view(n, k)
    color = model.rgb(at, directions.repeat_interleave(k, dim=0)).view(n, k, 3)
    alpha = -torch.expm1(-sigma * step)
    clear = torch.cumprod(1 - alpha, dim=1)
    weight = alpha * torch.cat((torch.ones_like(clear[:, :1]), clear[:, :-1]), dim=1)
    total = weight.sum(dim=1, keepdim=True)
    # A surface so faint that nothing is stopped shows the color at the vertex itself.
    middle = (depths.abs() == depths.abs().min()).float()
    weight = torch.where(total > 1e-6, weight / total.clamp_min(1e-6), middle / middle.sum())
    return (weight.unsqueeze(-1) * color).sum(dim=1)
