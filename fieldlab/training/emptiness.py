"""How faint a cell may be to be emptied without being missed.

Occupancy asks for density times the innermost step (Müller et al. 2022, appendix C). Early in training that empties
haze which pixels still show, above all in outer levels, where rays take steps many times as long: pictures break down
and need hundreds of steps to heal. Here the rays of a training step say how faint a sample has to be so that all
fainter ones of a level together hide little; values are raised so that just those fall below the threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fieldlab.data.cameras import Rays
from fieldlab.ops.occupancy import innermost_level
from fieldlab.render.model import RayOutput
from fieldlab.render.occupancy import OccupancyGrid
from fieldlab.training.distributed import World

HIDDEN = 0.2
"""Opacity, as a root mean square over rays, that all samples to be emptied in a level may have together. They go little
by little and mostly do not, since a cell is as dense as the densest place in it; from 0.1 to 0.2 training is faster, at
0.4 surfaces form in wrong places."""
STRENGTH = 0.3  # with which a step's rays count against those before
FINEST = 0.5  # of the exponents of 2 that are tried
EXPONENTS = torch.arange(0.0, 8.0 + FINEST, FINEST)


@torch.no_grad()
def hidden_opacity(out: RayOutput, rays: Rays, grid: OccupancyGrid) -> Tensor:
    """What would be missed: the sum over N rays of the squared opacity of samples that are fainter than the grid's
    threshold when their values are raised by 2^e, float32 [E,L] for each of E exponents and L levels."""
    samples, n = out.samples, len(rays)
    if len(samples) == 0:
        return torch.zeros(len(EXPONENTS), grid.levels)
    index = samples.ray_indices
    points = rays.origins[index] + rays.directions[index] * samples.middles[:, None]
    slot = index * grid.levels + innermost_level(points, grid.aabb, grid.levels)
    weights, values = out.weights.detach(), out.densities * grid.step
    missed = []
    for exponent in EXPONENTS.tolist():
        faint = weights * (values * 2.0**exponent < grid.threshold)
        lost = weights.new_zeros(n * grid.levels).index_add_(0, slot, faint)
        missed.append(lost.view(n, grid.levels).square().sum(0))
    return torch.stack(missed).cpu()


def gains_after(gains: Tensor | None, hidden: Tensor, rays: int, world: World) -> Tensor:
    """The gains float32 [L] after a step.

    Args:
        gains: before it; None at first.
        hidden: what :func:`hidden_opacity` says of this process's rays [E,L].
        rays: how many rays all processes had together.
        world: the processes.
    """
    total = torch.tensor(world.sum(hidden.flatten().tolist())).view_as(hidden)
    allowed = (total / rays).sqrt() <= HIDDEN
    allowed[-1] = True  # the largest gain there is
    wanted = EXPONENTS[allowed.int().argmax(0)]  # the first that is
    return torch.exp2(wanted if gains is None else torch.lerp(gains.log2(), wanted, STRENGTH))
