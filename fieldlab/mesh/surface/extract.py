"""From a field to a clean triangle mesh in world units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.surface.blocks import Grid, sample_blocks
from fieldlab.mesh.surface.clean import cleaned, without_specks
from fieldlab.mesh.surface.contour import contour
from fieldlab.mesh.surface.depth_views import DepthViews, see_depth
from fieldlab.mesh.surface.implicit import FusedDepth, Implicit, LevelSet
from fieldlab.mesh.surface.level import surface_level
from fieldlab.mesh.surface.refine import decimated, onto_surface, smoothed, unit_gradients
from fieldlab.mesh.surface.report import MeshReport
from fieldlab.mesh.texture.field_colors import vertex_colors
from fieldlab.render.model import RadianceModel

METHODS = ("auto", "depth", "density")
SOFTNESS = 4.0  # times the softness of the field: how far views are believed around what they see
LEAST_CELLS = 3.0  # and at least so many cells, so that there is something to interpolate
SMOOTHING = 5  # rounds at 256 cells
CUT_CELLS, CUT_SLANT = 1.5, 0.7  # vertices so near to a face of the box, and so steep to it, run into it;
CUT_LEAST, CUT_SHARE = 12, 0.2  # and so many, also as a share of a line across the mesh, say that the box cuts it
COLOR_DEPTH = (-1.5, 2.5)  # where colors are gathered, in cells from outside to inside of the surface
COLOR_CELLS = 256  # along the box, whatever the resolution of the mesh

Tell = Callable[[str, float], object]


@dataclass
class Surface:
    """A clean mesh without colors, and what coloring it needs to know.

    Args:
        mesh: with the normals of the implicit function.
        directions: unit float32 [V,3] in which the cameras that see each vertex look at it, on average; against the
            normal where none does.
        near, far: distances from the surface, negative outside, between which its colors are, in world units.
        implicit: the function whose zero level it is.
    """

    mesh: Mesh
    report: MeshReport
    directions: np.ndarray
    near: float
    far: float
    implicit: Implicit

    def normals_at(self, points: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Unit normals float32 [N,3] of the function at points [N,3] on faces int64 [N] with weights [N,3] of their
        corners: finer than the triangles show them."""
        smooth = (self.mesh.normals()[self.mesh.faces[face]] * weights[:, :, None]).sum(1)
        return unit_gradients(points, smooth, self.implicit, self.report.cell)


def extract_mesh(
    model: RadianceModel,
    *,
    cameras: Cameras | None = None,
    resolution: int = 256,
    level: float | None = None,
    faces: int | None = None,
    method: str = "auto",
    closed: bool = False,
    on_progress: Tell | None = None,
) -> tuple[Mesh, MeshReport]:
    """The surface of a field with vertex colors; the arguments are those of :func:`extract_surface`."""
    tell = on_progress or (lambda _stage, _share: None)
    made = extract_surface(
        model, cameras=cameras, resolution=resolution, level=level, faces=faces, method=method, closed=closed,
        on_progress=on_progress,
    )  # fmt: skip
    made.mesh.colors = vertex_colors(
        model, made.mesh, made.directions, made.near, made.far, lambda share: tell("color", share)
    )
    return made.mesh, made.report


def extract_surface(
    model: RadianceModel,
    *,
    cameras: Cameras | None = None,
    resolution: int = 256,
    level: float | None = None,
    faces: int | None = None,
    method: str = "auto",
    closed: bool = False,
    on_progress: Tell | None = None,
) -> Surface:
    """The surface of a field within its box.

    Args:
        cameras: of photographs of the scene.
        resolution: grid cells along the longest side of the box.
        level: density per world unit of the surface, which then is where the density passes it; found by
            :func:`surface_level` when absent.
        faces: reduce the mesh to about so many triangles.
        method: ``depth`` fuses what the cameras see, ``density`` is a level of the density; ``auto`` is ``depth``
            where there are cameras and no level is given.
        closed: keep the surface too where no camera ever looked; it closes holes, and is a guess.
        on_progress: called with the stage and the share of it that is done.

    Raises:
        ConfigError: there is no surface, or an argument is impossible.
    """
    tell = on_progress or (lambda _stage, _share: None)
    method = _checked(cameras, level, faces, method)
    grid = Grid.over(model.aabb, resolution)
    views = None
    if cameras is not None and len(cameras):
        views = see_depth(model, cameras, lambda share: tell("depth", share))
    report = MeshReport(method, 0 if views is None else len(views), grid.cell)
    implicit = _implicit(model, cameras, views, method, level, grid, report)
    values = sample_blocks(implicit, grid, lambda share: tell("surface", share))
    if isinstance(implicit, LevelSet) and implicit.level < implicit.lowest:
        raise _no_surface(implicit)  # what looks like one is where drawing ends
    tell("triangles", 0.0)
    mesh = contour(values)
    if len(mesh.faces) == 0:
        raise _no_surface(implicit)
    tell("cleaning", 0.0)
    mesh = cleaned(mesh, model, grid, views, report, closed)
    report.cut = _cut_faces(mesh, grid)
    report.faces_before_decimation = len(mesh.faces)
    if method == "depth":  # depth pictures are noisy; the noise is as large as a pixel, whatever the grid
        mesh = smoothed(mesh, max(1, round(SMOOTHING * resolution / 256)))
    if faces is not None and faces < len(mesh.faces):
        tell("decimation", 0.0)
        mesh = without_specks(decimated(mesh, faces))
    tell("normals", 0.0)
    if method == "density":
        mesh = onto_surface(mesh, implicit, grid)
    mesh.vertex_normals = unit_gradients(mesh.vertices, mesh.normals(), implicit, grid.cell)
    cell = float((model.aabb[1] - model.aabb[0]).max()) / COLOR_CELLS
    softness = 0.0 if views is None else views.softness
    near, far = COLOR_DEPTH[0] * cell - softness, max(COLOR_DEPTH[1] * cell, 2 * softness)
    return Surface(mesh, report, _looked_at(mesh, views, grid), near, far, implicit)


def _checked(cameras: Cameras | None, level: float | None, faces: int | None, method: str) -> str:
    if level is not None and not 0 < level < math.inf:
        raise ConfigError("the density level of the mesh is impossible", field="--level", found=level,
                          expected="a number above 0")  # fmt: skip
    if faces is not None and faces < 4:
        raise ConfigError("the number of faces is impossible", field="--faces", found=faces, expected="4 or more")
    if method not in METHODS:
        raise ConfigError("there is no such way to find the surface", found=method, expected=" | ".join(METHODS))
    some = cameras is not None and len(cameras) > 0
    if method == "auto":
        return "depth" if some and level is None else "density"
    if method == "depth" and level is not None:
        raise ConfigError("fused depth has no density level", field="--level", found=level, hint="leave one out")
    if method == "depth" and not some:
        raise ConfigError("there are no cameras whose depth could be fused", expected="one at least")
    return method


def _implicit(
    model: RadianceModel, cameras: Cameras | None, views: DepthViews | None, method: str, level: float | None,
    grid: Grid, report: MeshReport,
) -> Implicit:  # fmt: skip
    if method == "depth":
        assert views is not None
        around = max(SOFTNESS * views.softness, LEAST_CELLS * grid.cell)
        return FusedDepth(views, around, around)
    report.automatic = level is None
    report.level = surface_level(model, cameras) if level is None else level
    return LevelSet(model, report.level)


def _no_surface(implicit: Implicit) -> ConfigError:
    if not isinstance(implicit, LevelSet):
        return ConfigError(
            "no surface: no camera sees anything inside the box",
            hint="train longer, look at a render first, or try another box",
        )
    low, high = implicit.lowest, implicit.densest
    if high == 0:
        return ConfigError("no surface: the field is empty", hint="train it first")
    if implicit.level < low:
        return ConfigError(
            "no surface: everything is denser than the level", field="--level", found=f"{implicit.level:.4g}",
            expected=f"a density per world unit between {low:.3g} and {high:.3g}",
        )  # fmt: skip
    return ConfigError(
        "no surface: nothing is as dense as the level", field="--level", found=f"{implicit.level:.4g} per world unit",
        expected=f"a level within the densities that exist, {low:.3g} to {high:.3g}",
        hint=f"train it longer, or try --level {max(high / 4, math.sqrt(low * high)):.3g}",
    )  # fmt: skip


def _cut_faces(mesh: Mesh, grid: Grid) -> tuple[str, ...]:
    """Names of the box's faces that the surface runs into, so that it goes on beyond them; where it only touches one,
    it lies along it."""
    inner = (np.abs(mesh.vertices[:, None] - grid.box.numpy()) > 1e-6 * grid.cell).all((1, 2))
    normals, found = mesh.normals(), []
    for axis in range(3):
        for side, name in ((0, "-"), (1, "+")):
            near = np.abs(mesh.vertices[:, axis] - float(grid.box[side, axis])) < CUT_CELLS * grid.cell
            across = near & inner & (np.abs(normals[:, axis]) < CUT_SLANT)
            if across.sum() > max(CUT_LEAST, CUT_SHARE * math.sqrt(len(mesh.vertices))):
                found.append(name + "xyz"[axis])
    return tuple(found)


def _looked_at(mesh: Mesh, views: DepthViews | None, grid: Grid) -> np.ndarray:
    """Mean unit direction [V,3] in which the cameras see each vertex."""
    directions = -mesh.normals().astype(np.float32)
    if views is None:
        return directions
    tolerance = max(2 * views.softness, 2 * grid.cell)
    count, total = views.sightings(torch.from_numpy(mesh.vertices).float(), tolerance)
    seen = (count > 0) & (total.norm(dim=-1) > 1e-3)
    mean = torch.nn.functional.normalize(total, dim=-1).numpy()
    # A direction from behind would look at the surface through what it belongs to.
    front = seen.numpy() & ((mean * directions).sum(1) > 0)
    return np.where(front[:, None], mean, directions)
