"""nerfacc as a marcher: the adapter with a stand-in anywhere, the real one on CUDA."""

from __future__ import annotations

import pytest
import torch

from fieldlab.errors import BackendError
from fieldlab.ops.march import march, march_reference
from fieldlab.ops.occupancy import pack_occupancy
from fieldlab.render.marcher import NerfaccMarcher, choose_marcher
from tests.scenes import ring_cameras

BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])


class StandIn:
    """Takes and gives what nerfacc 0.5.3's OccGridEstimator does."""

    made = 0

    def __init__(self, roi_aabb, resolution, levels):
        StandIn.made += 1
        assert roi_aabb.shape == (6,)
        self.aabb, self.levels = roi_aabb.view(2, 3), levels
        self.binaries = torch.zeros((levels, *[resolution] * 3), dtype=torch.bool)

    def to(self, device):
        return self

    def sampling(self, rays_o, rays_d, *, t_min, t_max, render_step_size, cone_angle):
        grid = pack_occupancy(self.binaries, self.aabb)
        found = march_reference(rays_o, rays_d, t_min, t_max, grid, render_step_size, cone_angle)
        return found.ray_indices.int(), found.t_starts, found.t_ends


def rays_and_grid(seed):
    mask = torch.rand(2, 8, 8, 8, generator=torch.Generator().manual_seed(seed)) < 0.3
    return ring_cameras(1, 8).image_rays(0), pack_occupancy(mask, BOX)


def test_adapter_gives_the_samples_of_our_own():
    StandIn.made = 0
    marcher = NerfaccMarcher(StandIn)
    for seed in (0, 1):
        rays, grid = rays_and_grid(seed)
        near, far = torch.full((64,), 0.5), torch.full((64,), 6.0)
        jitter = torch.rand(64)
        ours = march(rays.origins, rays.directions, near, far, grid, 0.07, jitter=jitter)
        theirs = marcher(rays.origins, rays.directions, near, far, grid, 0.07, jitter=jitter)
        assert torch.equal(ours.ray_offsets, theirs.ray_offsets)
        assert torch.equal(ours.ray_indices, theirs.ray_indices)
        assert torch.allclose(ours.t_starts, theirs.t_starts, atol=1e-5)
    assert StandIn.made == 1


def test_it_needs_cuda():
    with pytest.raises(BackendError, match="on CUDA only"):
        choose_marcher("nerfacc", torch.device("cpu"))
    with pytest.raises(BackendError, match="no such marcher"):
        choose_marcher("other", torch.device("cpu"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_real_nerfacc_on_cuda():
    pytest.importorskip("nerfacc")
    device = torch.device("cuda")
    marcher = choose_marcher("nerfacc", device)
    rays, grid = rays_and_grid(3)
    rays, grid = rays.to(device), grid.to(device)
    near, far = torch.full((64,), 0.5, device=device), torch.full((64,), 6.0, device=device)
    ours = march(rays.origins, rays.directions, near, far, grid, 0.07)
    theirs = marcher(rays.origins, rays.directions, near, far, grid, 0.07)
    # Midpoints on a cell's face may fall on either side.
    assert (ours.counts - theirs.counts).abs().sum() <= 0.01 * len(ours)
