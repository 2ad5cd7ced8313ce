"""What a teacher says of samples."""

from __future__ import annotations

import math

import torch

from fieldlab.distill.targets import SEEN, find_targets, rows, top_of_rays
from fieldlab.ops.samples import Samples, offsets_of
from fieldlab.render.build import build_model
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from tests.scenes import ball_scene, ring_cameras, tiny_field


def random_samples(g: torch.Generator, n_rays: int = 20) -> Samples:
    counts = torch.randint(0, 9, (n_rays,), generator=g)
    total = int(counts.sum())
    starts = torch.rand(total, generator=g)
    return Samples(offsets_of(counts), starts, starts + 0.1, torch.repeat_interleave(torch.arange(n_rays), counts))


def test_the_top_of_every_ray():
    g = torch.Generator().manual_seed(0)
    samples = random_samples(g)
    weights = torch.rand(len(samples), generator=g)
    found = top_of_rays(weights, samples, 0.3)
    for r in range(samples.n_rays):
        a, b = samples.ray_offsets[r : r + 2].tolist()
        mine = weights[a:b]
        most = math.ceil(0.3 * (b - a))
        wanted = set((mine.topk(most).indices + a).tolist()) if most else set()
        assert set((found[a:b].nonzero()[:, 0] + a).tolist()) == wanted


def test_rows_are_rows():
    values, index = torch.rand(9, 4), torch.tensor([3, 0, 3])
    assert torch.equal(rows(values, index), values[index])
    assert rows(values, index).t().is_contiguous()


def test_the_teacher_is_asked_what_rendering_would_ask():
    scene = ball_scene()
    model = build_model(tiny_field(), choose_model(scene, TrainConfig()), 0)
    with torch.no_grad():  # a fog through which the far side is seen, so that all samples count
        model.field.geometry_params.mul_(6)
    rays = ring_cameras(3).image_rays(0)
    samples = model.sample(rays)
    background = torch.rand(len(rays), 3)
    found = find_targets(model, rays, samples, None, torch.zeros(len(rays), dtype=torch.int64))
    with torch.no_grad():
        whole = model(rays, background)
    assert found.n_marched == len(samples)
    assert torch.allclose(found.opacity, whole.opacity, atol=2e-3)
    made = found.rgb + (1 - found.opacity)[:, None] * background
    # Samples of hardly any weight have no color here.
    most = SEEN * samples.counts.max()
    assert float((made - whole.rgb).abs().max()) < float(most) + 2e-3
    log_density, latent = model.field.geometry(found.x)
    assert torch.allclose(found.log_density, log_density, atol=1e-4)
    assert torch.allclose(found.latent, latent[found.seen], atol=1e-4)
    assert bool((found.weights[found.seen] > SEEN).all())


def test_influential_samples_are_either_sides_choice_on_opaque_rays():
    scene = ball_scene()
    model = build_model(tiny_field(), choose_model(scene, TrainConfig()), 0)
    with torch.no_grad():
        model.field.geometry_params.mul_(8)
    rays = ring_cameras(3).image_rays(0)
    found = find_targets(model, rays, model.sample(rays), None, torch.zeros(len(rays), dtype=torch.int64))
    found.opacity = torch.rand(len(rays), generator=torch.Generator().manual_seed(0))
    own = torch.rand(len(found.samples), generator=torch.Generator().manual_seed(1))
    chosen = found.influential(own)
    both = top_of_rays(found.weights, found.samples, 0.3) | top_of_rays(own, found.samples, 0.3)
    wanted = both & (found.opacity[found.samples.ray_indices] >= 0.5)
    assert torch.equal(chosen, wanted[found.seen])
