"""Pools of hard poses and rays."""

from __future__ import annotations

import torch

from fieldlab.data.cameras import Rays
from fieldlab.distill.mining import HARD, JITTER, POOL, HardRays, Poses
from fieldlab.distill.poses import pose_source
from tests.scenes import ring_cameras

BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
COUNT = 40


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def poses(**settings) -> Poses:
    source = pose_source(ring_cameras(12), BOX, unbounded=False)
    return Poses(source, COUNT, **{"real_share": 0.0, "active": True, **settings})


def test_rays_belong_to_their_poses():
    made, g = poses(), seeded()
    rays, index = made.draw(300, g)
    assert torch.allclose(rays.origins, made.cameras.origins[index])
    assert torch.allclose(rays.directions.norm(dim=1), torch.ones(300), atol=1e-5)
    assert float((rays.directions * made.cameras.forward[index]).sum(1).min()) > 0.8


def test_the_hardest_poses_come_again_jittered():
    made, g = poses(), seeded()
    made.renew(g)
    before = made.cameras
    made.note(torch.arange(COUNT), torch.arange(COUNT).float())
    made.note(torch.tensor([-1, -1]), torch.tensor([1e9, 1e9]))  # rays of no pose
    made.renew(g)
    hard = before.origins[-round(COUNT * HARD) :]
    again = made.cameras.origins[: len(hard)]
    moved = torch.cdist(again, hard).amin(1)
    assert float(moved.max()) < 1.2 * JITTER * float(hard.norm(dim=1).max())
    assert len(made.cameras) == COUNT
    assert float(made.error.sum()) == 0


def test_without_active_learning_all_poses_are_new():
    made, g = poses(active=False), seeded()
    made.renew(g)
    before = made.cameras.origins
    made.note(torch.arange(COUNT), torch.arange(COUNT).float())
    made.renew(g)
    assert float(torch.cdist(made.cameras.origins, before).amin()) > 0


def test_real_poses_are_the_photographs():
    made = poses(real_share=0.5)
    made.renew(seeded())
    real = torch.cdist(made.cameras.origins, made.source.cameras.origins).amin(1) == 0
    assert int(real.sum()) == COUNT // 2


def rays_of(n: int, g: torch.Generator) -> Rays:
    return Rays(torch.randn(n, 3, generator=g), torch.randn(n, 3, generator=g))


def test_the_hardest_rays_are_kept():
    pool, g = HardRays(), seeded()
    rays = rays_of(100, g)
    errors = torch.randperm(100, generator=g).float()
    pool.offer(rays, errors, g)
    assert pool.count == round(100 * HARD)
    wanted = rays.origins[errors.topk(pool.count).indices]
    assert torch.equal(pool.origins[: pool.count], wanted)
    assert len(pool.draw(5, g)) == 0  # too few to be more than an echo
    for _ in range(12):
        batch = rays_of(1 << 16, g)
        pool.offer(batch, torch.rand(1 << 16, generator=g), g)
    assert pool.count == POOL
    assert len(pool.draw(50, g)) == 50
