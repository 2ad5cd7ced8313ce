"""Which occupancy cells can hold anything: seen by a camera and, where pictures have alpha, inside the visual hull."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.data.hull import silhouettes
from fieldlab.data.views import Views
from fieldlab.render.occupancy import OccupancyGrid, inner_cells

COARSE = 32
BLOCK = 4  # cells along the side of a block of which silhouettes are asked first


@torch.no_grad()
def carve(grid: OccupancyGrid, views: Views, *, hull: bool) -> None:
    """Exclude cells of ``grid`` for good: those no camera sees, those a finer cascade covers, and, with ``hull``,
    those that are transparent in some picture (the visual hull, see :mod:`fieldlab.data.hull`). Cells that a single
    camera sees stay, since what is excluded is lost for good.

    Args:
        grid: freshly made.
        views: training photographs; RGBA where ``hull`` is set.
    """
    device = grid.values.device
    cameras = views.cameras.to("cpu")
    nothing = ~_seen(grid, cameras)
    nothing |= inner_cells(grid.resolution, grid.levels)
    if hull:
        nothing |= _outside_hull(grid, views, ~nothing)
    if bool(nothing.all()):  # better to learn from nothing than to see nothing
        return
    grid.exclude(nothing.to(device))


def _seen(grid: OccupancyGrid, cameras: Cameras) -> Tensor:
    """bool [L,R,R,R]: cells some camera may see, decided for blocks of cells with a margin of a block."""
    coarse = min(COARSE, grid.resolution)
    blocks = OccupancyGrid(grid.aabb.cpu(), coarse, grid.levels, grid.step)
    cells = torch.arange(blocks.n_cells)
    centers = blocks.positions(cells)
    radius = _radius(blocks, cells)
    wide = bool((cameras.model != CameraModel.PERSPECTIVE).any())
    seen = torch.full((len(cells),), wide)  # wide-angle pictures are taken to see everything
    for i in range(len(cameras)):
        left = (~seen).nonzero()[:, 0]
        if len(left) == 0:
            break
        pixels, depth, reach = _project(cameras, i, centers[left], radius[left])
        size = cameras.size[i].float()
        inside = ((pixels > -reach[:, None]) & (pixels < size + reach[:, None])).all(-1)
        near = (centers[left] - cameras.origins[i]).norm(dim=-1) < 2 * radius[left]
        seen[left[(inside & (depth > -radius[left])) | near]] = True
    fine = seen.view(1, grid.levels, coarse, coarse, coarse).float()
    return torch.nn.functional.interpolate(fine, size=(grid.resolution,) * 3, mode="nearest")[0] > 0


def _outside_hull(grid: OccupancyGrid, views: Views, alive: Tensor) -> Tensor:
    """bool [L,R,R,R]: cells, of those that are ``alive``, that some picture shows to be empty.

    Pictures are asked of blocks first. Most are decided by that, and only the others, at outlines, cell by cell.
    """
    block = next(size for size in (BLOCK, 2, 1) if grid.resolution % size == 0)
    blocks = OccupancyGrid(grid.aabb.cpu(), grid.resolution // block, grid.levels, grid.step)
    gone = torch.zeros_like(alive)
    for outline in silhouettes(views):
        left = (alive & ~gone).cpu()
        asked = max_pool3d(left.float(), block).view(-1).nonzero()[:, 0]
        verdict = outline.judge(blocks.positions(asked), _radius(blocks, asked))
        empty, open_ = torch.zeros(2, blocks.n_cells, dtype=torch.bool)
        empty[asked] = verdict.ruled_out
        open_[asked] = ~(verdict.ruled_out | verdict.filled)
        cells = (_finer(open_, blocks, block) & left).view(-1).nonzero()[:, 0]
        ruled_out = outline.judge(grid_positions(grid, cells), _radius(grid, cells)).ruled_out
        gone |= _finer(empty, blocks, block)
        gone.view(-1)[cells[ruled_out]] = True
    return gone


def _finer(values: Tensor, blocks: OccupancyGrid, times: int) -> Tensor:
    """bool [L,R,R,R] of the cells in blocks whose values are bool [B]."""
    size = blocks.resolution
    spread = values.view(blocks.levels, size, 1, size, 1, size, 1).expand(-1, -1, times, -1, times, -1, times)
    return spread.reshape(blocks.levels, size * times, size * times, size * times)


def grid_positions(grid: OccupancyGrid, cells: Tensor) -> Tensor:
    """Centers [K,3] of cells on the CPU."""
    return grid.positions(cells.to(grid.values.device)).cpu()


def _radius(grid: OccupancyGrid, cells: Tensor) -> Tensor:
    """Half the diagonal [K] of cells in world units."""
    half = float((grid.aabb[1] - grid.aabb[0]).norm()) / grid.resolution / 2
    return half * torch.exp2((cells // grid.resolution**3).float())


def _project(cameras: Cameras, i: int, points: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [K,2], z-depth [K], and a radius [K] in pixels that covers a ball of ``radius`` around each point."""
    pixels, depth, _ = cameras.project(i, points)
    distance = (points - cameras.origins[i]).norm(dim=-1)
    focal = float(cameras.intrinsics[i, :2].max())
    # Off the axis a pinhole picture stretches by 1/cos^2, and twice that is safe for mild lens distortion.
    stretch = (distance / depth.clamp_min(1e-9)).clamp(1, 4).square()
    return pixels, depth, focal * radius / distance.clamp_min(1e-9) * stretch + 1.0
