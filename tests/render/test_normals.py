"""Normals from exact depth."""

from __future__ import annotations

import torch

from fieldlab.render.normals import normals_from_depth
from tests.scenes import RADIUS, ball_hit, ring_cameras

SIZE = 64


def test_ball():
    cameras = ring_cameras(3, SIZE)
    for i in range(3):
        rays = cameras.image_rays(i)
        t, hit = ball_hit(rays)
        depth = torch.where(hit, t, torch.zeros(())).view(SIZE, SIZE)
        found = normals_from_depth(rays, depth, hit.float().view(SIZE, SIZE)).view(-1, 3)
        true = (rays.origins + t[:, None] * rays.directions) / RADIUS
        inner = ball_hit(rays, 0.85 * RADIUS)[1]
        assert float((found * true).sum(-1)[inner].min()) > 0.99
        assert bool((found[~hit] == 0).all())
        norms = found.norm(dim=-1)
        assert bool(((norms - 1).abs() < 1e-5)[inner].all())


def test_an_edge_between_two_walls_stays_sharp():
    """Left a wall two units away, right one four units away: both face the camera up to the last pixel."""
    cameras = ring_cameras(1, SIZE)
    rays = cameras.image_rays(0)
    forward = cameras.forward[0]
    z = torch.where(torch.arange(SIZE) < 30, 2.0, 4.0).expand(SIZE, SIZE)
    depth = z / (rays.directions @ forward).view(SIZE, SIZE)
    found = normals_from_depth(rays, depth, torch.ones(SIZE, SIZE))
    assert float((found @ -forward).min()) > 0.99


def test_lonely_pixels_have_no_normal():
    rays = ring_cameras(1, 8).image_rays(0)
    opacity = torch.zeros(8, 8)
    opacity[4, 4] = 1.0
    assert bool((normals_from_depth(rays, torch.ones(8, 8), opacity) == 0).all())
