"""What of a raw surface is kept: what cameras saw, without floaters, and with small holes left closed."""

from __future__ import annotations

import numpy as np
import torch

from fieldlab.data.graph import components
from fieldlab.errors import ConfigError
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.surface.blocks import Grid
from fieldlab.mesh.surface.depth_views import DepthViews
from fieldlab.mesh.surface.report import MeshReport
from fieldlab.render.model import RadianceModel

SMALLEST_PART = 0.04  # of the largest part's diagonal; smaller parts are floaters
SMALLEST_AREA = 0.005  # and of the largest part's area
FAINTEST_PART = 2.0  # times the level; parts that never get denser are haze
SEEN_SHARE = 0.05  # of a part's vertices; parts of which cameras see less are inside of something
LEAST_VIEWS = 2  # that have to agree on a piece of surface, where there are enough of them
SMALLEST_HOLE = 0.02  # of the largest part's diagonal: what nobody saw and is smaller is kept, since it closes a hole


def cleaned(
    mesh: Mesh, model: RadianceModel, grid: Grid, views: DepthViews | None, report: MeshReport, closed: bool
) -> Mesh:
    """The mesh without what is no surface of the scene; the largest part always stays.

    Raises:
        ConfigError: the cameras agree on none of it.
    """
    seen = None if views is None else _seen(mesh, views, grid)
    if report.method == "depth" and not closed:
        assert seen is not None
        keep = _with_small_holes_closed(mesh, seen[mesh.faces].all(1))
        report.cleaning.unseen_removed = int((~keep).sum())
        if not keep.any():
            raise ConfigError("no surface: the cameras agree on none of it", hint="train longer, or use --closed")
        used = np.zeros(len(mesh.vertices), bool)
        used[mesh.faces[keep]] = True
        mesh, seen = mesh.kept(keep), seen[used]
    return _without_floaters(mesh, model, grid, seen, report)


def _seen(mesh: Mesh, views: DepthViews, grid: Grid) -> np.ndarray:
    """bool [V]: vertices that several views see where they are."""
    tolerance = max(1.5 * views.softness, 1.5 * grid.cell)
    count, _ = views.sightings(torch.from_numpy(mesh.vertices).float(), tolerance)
    return (count >= min(LEAST_VIEWS, max(1, len(views) // 2))).numpy()


def parts_of(mesh: Mesh, faces: np.ndarray | None = None) -> tuple[int, np.ndarray]:
    """Number of connected parts of some faces (bool [F]; all by default), and the part of each vertex int64 [V]."""
    chosen = mesh.faces if faces is None else mesh.faces[faces]
    part = components(len(mesh.vertices), np.concatenate((chosen[:, :2], chosen[:, 1:])))
    return int(part.max(initial=-1)) + 1, part


def part_sizes(mesh: Mesh, part: np.ndarray, count: int) -> np.ndarray:
    """Diagonals [count] of the boxes around parts."""
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, part, mesh.vertices)
    np.maximum.at(high, part, mesh.vertices)
    return np.linalg.norm(high - low, axis=1)


def _large(mesh: Mesh, part: np.ndarray, count: int) -> np.ndarray:
    """bool [count]: parts that are large enough to be things and not floaters of a surface that was learnt badly."""
    size = part_sizes(mesh, part, count)
    corners = mesh.vertices[mesh.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    area = np.bincount(part[mesh.faces[:, 0]], areas, count)
    keep = (size >= SMALLEST_PART * size.max()) & (area >= SMALLEST_AREA * area.max())
    keep[size.argmax()] = True
    return keep


def _with_small_holes_closed(mesh: Mesh, keep: np.ndarray) -> np.ndarray:
    """``keep`` and those parts of the other faces that are small and between kept ones."""
    whole = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    count, part = parts_of(mesh, ~keep)
    small = part_sizes(mesh, part, count) < SMALLEST_HOLE * whole
    beside = np.zeros(len(mesh.vertices), bool)
    beside[mesh.faces[keep]] = True
    touches = np.zeros(count, bool)
    touches[part[beside]] = True
    return keep | (small & touches)[part[mesh.faces[:, 0]]]


def _without_floaters(
    mesh: Mesh, model: RadianceModel, grid: Grid, seen: np.ndarray | None, report: MeshReport
) -> Mesh:
    """The mesh without connected parts that are tiny, hidden, or hardly denser than the level."""
    count, part = parts_of(mesh)
    keep = _large(mesh, part, count)
    if seen is not None:
        keep &= np.bincount(part, seen, count) >= SEEN_SHARE * np.bincount(part, minlength=count)
    if report.level is not None:
        peak = np.zeros(count, np.float32)
        np.maximum.at(peak, part, _densest_inside(mesh, model, grid.cell))
        keep &= peak >= FAINTEST_PART * report.level
    keep[part_sizes(mesh, part, count).argmax()] = True
    kept = keep[part[mesh.faces[:, 0]]]
    report.cleaning.parts_removed, report.cleaning.faces_removed = int((~keep).sum()), int((~kept).sum())
    return mesh if kept.all() else mesh.kept(kept)


def without_specks(mesh: Mesh) -> Mesh:
    """The mesh without parts too small to be things, such as decimation leaves at the border of an open mesh."""
    count, part = parts_of(mesh)
    kept = _large(mesh, part, count)[part[mesh.faces[:, 0]]]
    return mesh if kept.all() else mesh.kept(kept)


@torch.no_grad()
def _densest_inside(mesh: Mesh, model: RadianceModel, cell: float) -> np.ndarray:
    """The highest density [V] along the normal, up to three cells below the surface."""
    normals = torch.from_numpy(mesh.normals()).float()
    points = torch.from_numpy(mesh.vertices).float()
    found = torch.zeros(len(points))
    for depth in (1.0, 2.0, 3.0):
        at = (points - depth * cell * normals).split(1 << 18)
        found = torch.maximum(found, torch.cat([model.density(p.to(model.aabb.device)).float().cpu() for p in at]))
    return found.numpy()
