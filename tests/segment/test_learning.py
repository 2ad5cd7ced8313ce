"""From masks to features: graphs, comparisons, losses, and a small scene segmented."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import max_pool2d, normalize, softplus

from fieldlab.errors import ConfigError
from fieldlab.ops.samples import Samples
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.segment.config import HEAD, SegmentSettings
from fieldlab.segment.graph import MASK_CROSSING, edge_costs, neighbor_edges
from fieldlab.segment.losses import Ultrametric, comparison_loss, continuity_loss, contrast, norm_loss
from fieldlab.segment.masks import ImageMasks
from fieldlab.segment.pairs import draw_comparisons
from fieldlab.segment.segmenter import Segmenter
from fieldlab.segment.sightings import half_way, observe, surface_depth
from fieldlab.segment.tree import build_hierarchy, smoothed, spread, surface
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from fieldlab.training.trainer import Trainer
from tests.scenes import RADIUS, ball_scene, tiny_field

pytestmark = pytest.mark.slow


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 6))
def test_edges_lead_to_the_nearest(seed, n, k):
    points = torch.rand(n, 3, generator=seeded(seed))
    first, second = neighbor_edges(points, k)
    found = set(zip(first.tolist(), second.tolist(), strict=True))
    assert len(found) == len(first)
    d = torch.cdist(points, points).fill_diagonal_(torch.inf)
    near = d.argsort(dim=1)[:, : min(k, n - 1)]
    assert found == {(min(i, int(j)), max(i, int(j))) for i in range(n) for j in near[i]}


def nested(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels of intervals that lie in each other: member bool [N,M], inside bool [M,M]."""
    rng = np.random.default_rng(seed)
    spans, waiting = [], [(0, 256)]
    while waiting:
        low, high = waiting.pop()
        if high - low < 16 or len(spans) > 24:
            continue
        cuts = np.sort(rng.integers(low, high, 2 * rng.integers(1, 3)))
        for a, b in zip(cuts[::2].tolist(), cuts[1::2].tolist(), strict=True):
            if b - a >= 8:
                spans.append((a, b))
                waiting.append((a, b))
    x = np.arange(256)
    member = np.stack([(x >= a) & (x < b) for a, b in spans] or [x < 0], axis=1)
    inside = np.array([[a != b and b[0] <= a[0] and a[1] <= b[1] for b in spans] for a in spans] or [[False]])
    return torch.from_numpy(member), torch.from_numpy(inside)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_what_is_nearer_has_a_smaller_mask_in_common(seed, nested_too):
    member, inside = nested(seed)
    comparisons = draw_comparisons(member, inside, seeded(seed), nested_too)
    size = member.sum(0).float()

    def common(a, b):
        both = member[a] & member[b]
        return torch.where(both, size, torch.inf).amin(1)

    near, far = common(comparisons.near_a, comparisons.near_b), common(comparisons.far_a, comparisons.far_b)
    assert bool(((near <= far) | near.isinf()).all())
    if len(near):
        assert bool((near < far).float().mean() > 0.9)  # comparisons in one ring may share no smaller mask


def test_masks_of_few_pixels_are_left_out():
    member = torch.zeros(100, 2, dtype=torch.bool)
    member[:3, 0] = True
    member[:97, 1] = True
    assert len(draw_comparisons(member, torch.zeros(2, 2, dtype=torch.bool), seeded()).near_a) == 0


def test_similarity_is_that_across_the_bottleneck():
    features = normalize(torch.rand(40, 4, generator=seeded(1)), dim=1).requires_grad_()
    cells = torch.randint(3, (40,), generator=seeded(2))
    first, second = neighbor_edges(torch.rand(40, 3, generator=seeded(3)), 3)
    tree = Ultrametric(features, cells, first, second)
    cost = edge_costs(features.detach(), cells, first, second)
    assert bool(((cost > MASK_CROSSING - 1) == (cells[first] != cells[second])).all())
    d = torch.full((40, 40), torch.inf)
    d[first, second] = d[second, first] = cost
    d.fill_diagonal_(0)
    for k in range(40):
        d = torch.minimum(d, torch.maximum(d[:, k : k + 1], d[k : k + 1]))
    a, b = torch.randint(40, (2, 200), generator=seeded(4))
    found = tree.similarity(a, b)
    for i, (p, q) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        bottleneck = (cost - d[p, q]).abs().argmin()
        wanted = float((features.detach()[first[bottleneck]] * features.detach()[second[bottleneck]]).sum())
        if p == q:
            wanted = 1.0
        elif d[p, q].isinf():
            wanted = float((features.detach()[p] * features.detach()[q]).sum())
        assert float(found.detach()[i]) == pytest.approx(wanted, abs=1e-5)
    one = torch.tensor([0]), torch.tensor([int((a * 0 + 1)[0])])
    (grad,) = torch.autograd.grad(tree.similarity(*one).sum(), features)
    assert int((grad.abs().sum(1) > 0).sum()) <= 2


def test_losses_against_their_formulas():
    near, far = torch.rand(9, generator=seeded()), torch.rand(9, generator=seeded(1))
    both = torch.stack((near, far), dim=1) / 0.1
    wanted = torch.nn.functional.cross_entropy(both, torch.zeros(9, dtype=torch.int64))
    assert torch.allclose(contrast(near, far), wanted)
    assert torch.allclose(contrast(near, far), softplus((far - near) / 0.1).mean())
    assert float(contrast(near[:0], far[:0])) == 0
    raw = torch.randn(5, 3, generator=seeded(2))
    assert torch.allclose(norm_loss(raw), sum((r.norm() - 1) ** 2 for r in raw) / 5)
    features = normalize(torch.randn(2, 4, 3, generator=seeded(3)), dim=2)
    depth = torch.tensor([[1.0, 1.1, 1.2, 1.3], [1.0, 1.0, 2.0, 2.0]])  # a slope, and a step that does not count
    wanted = sum(((features[0, i + 1] - features[0, i]) ** 2).sum() for i in range(3)) / 3
    assert torch.allclose(continuity_loss(features, depth), wanted)
    assert float(continuity_loss(features[1:], depth[1:])) == 0


def test_couples_go_through_the_similarity():
    member, inside = nested(3)
    comparisons = draw_comparisons(member, inside, seeded())
    same = comparison_loss(lambda a, b: torch.zeros(len(a)), comparisons)
    assert float(same) == pytest.approx(float(torch.tensor(2.0).log()))


@pytest.fixture(scope="module")
def model() -> RadianceModel:
    scene = ball_scene(n=16, size=32)
    # The learning rate falls far, so that surfaces settle within so few steps.
    settled = {"decay_start": 0.3, "final_learning_rate": 0.03}
    config = TrainConfig(
        steps=200, occupancy_every=4, samples_per_step=2048, warmup_steps=5, occupancy_warmup=12, **settled
    )
    coarse = replace(choose_model(scene, config), grid_resolution=32, step=0.03)
    trainer = Trainer(build_model(tiny_field(), coarse, 0), scene.splits["train"], config)
    for _ in trainer.events():
        pass
    return trainer.model.eval().requires_grad_(False)


def halves(cameras) -> dict[int, ImageMasks]:
    """Masks of the ball's upper and lower half, some views without the one or the other, and of all of it."""
    made = {}
    for i in range(len(cameras)):
        width, height = cameras.size[i].tolist()
        rays = cameras.image_rays(i)
        t = -(rays.origins * rays.directions).sum(1)
        miss = (rays.origins + rays.directions * t[:, None]).norm(dim=1)
        hit = miss < RADIUS
        z = (rays.origins + rays.directions * (t - (RADIUS**2 - miss.square()).clamp_min(0).sqrt())[:, None])[:, 2]
        upper, lower = ((hit & side).view(height, width).numpy() for side in (z > 0, z <= 0))
        masks = [m for k, m in enumerate((upper, lower)) if (i + k) % 3 and m.sum() > 20]
        made[i] = ImageMasks.of([hit.view(height, width).numpy(), *masks], (height, width))
    return made


def segmenter(model: RadianceModel, steps: int = 60, **settings) -> Segmenter:
    cameras = ball_scene(n=16, size=32).splits["train"].cameras
    made = Segmenter(model, cameras, halves(cameras),
                     SegmentSettings(steps=steps, features=8, pixels=512, **settings))  # fmt: skip
    made.start()
    return made


def test_sightings_are_what_rendering_sees(model):
    cameras = ball_scene(n=16, size=32).splits["train"].cameras
    pixels = torch.arange(0, int(cameras.size[2].prod()), 3)
    seen = observe(model, cameras, 2, pixels)
    shown = model.render_image(cameras, 2, channels=("opacity", "depth"))
    opacity, depth = (shown[name].flatten()[pixels] for name in ("opacity", "depth"))
    assert torch.allclose(seen.opacity, opacity, atol=1e-3)
    solid = opacity > 0.9
    assert int(solid.sum()) > 10
    assert torch.allclose(seen.depth[solid], depth[solid], atol=1e-2)
    owner = torch.arange(len(seen)).repeat_interleave(seen.offsets.diff())
    total = torch.zeros(len(seen)).index_add(0, owner, seen.weights)
    assert torch.allclose(total, seen.opacity, atol=1e-5)
    x, weights, owner = seen.of(torch.tensor([5, 2, 5]))
    a, b = seen.offsets[5:7].tolist()
    assert torch.equal(x[owner == 0], seen.x[a:b])
    assert torch.equal(weights[owner == 2], seen.weights[a:b])


@pytest.mark.slow
def test_a_ball_falls_into_the_halves_its_masks_tell(model):
    made = segmenter(model, steps=500, learning_rate=2e-2)
    events = list(made.events())
    assert events[-1].agreement > 0.7  # pixels on outlines see both what is in front and what is behind
    assert events[-1].loss < 0.5 * events[0].loss
    points, features = surface(made, most=3000)
    assert len(points) <= 3000
    assert torch.allclose(features.norm(dim=1), torch.ones(len(features)), atol=1e-4)
    tree = build_hierarchy(points, features, least=60)
    upper = points[:, 2] > 0.05
    lower = points[:, 2] < -0.05
    best = 0.0
    for threshold in tree.thresholds(30):
        labels = tree.labels(float(threshold))
        a, b = (labels[side].mode().values for side in (upper, lower))
        if a != b:
            right = int((labels[upper] == a).sum() + (labels[lower] == b).sum())
            best = max(best, right / int(upper.sum() + lower.sum()))
    assert best > 0.9


def test_learning_goes_on_from_a_checkpoint(model):
    made = segmenter(model, steps=12)
    for _ in range(6):
        made.step()
    arrays, training = made.state()
    kept = {name: array.clone() for name, array in arrays.items()}
    again = segmenter(model, steps=12)
    again.start(Checkpoint(kept, {"training": training}))
    assert again.progress == made.progress
    x = torch.rand(20, 3)
    assert torch.equal(again.model.features(HEAD, x), made.model.features(HEAD, x))
    for _ in again.events():
        pass
    assert again.progress.step == 12


def test_photographs_that_see_nothing(model):
    cameras = ball_scene(n=16, size=32).splits["train"].cameras
    away = cameras[0:2]
    away.camera_to_world[:, :, 3] += 100
    full = np.ones(tuple(away.size[0].tolist()[::-1]), bool)
    made = Segmenter(model, away, {0: ImageMasks.of([full], full.shape)}, SegmentSettings(steps=1, features=4))
    with pytest.raises(ConfigError, match="sees anything"):
        made.start()


def test_points_are_spread_evenly():
    g = seeded()
    crowd, few = torch.rand(5000, 3, generator=g) * 0.1, torch.rand(200, 3, generator=g)
    kept = spread([crowd, few], 300)
    assert sum(map(len, kept)) <= 300
    assert len(kept[1]) > 0.5 * len(few)
    assert len(kept[0]) < 0.1 * len(crowd)


def test_smoothing_is_a_mean_over_likes():
    g = seeded(3)
    points, features = torch.rand(40, 3, generator=g), normalize(torch.randn(40, 4, generator=g), dim=1)
    first, second = neighbor_edges(points, 4)
    want = features.clone()
    for _ in range(2):
        old = want.clone()
        for i in range(len(points)):
            near = second[first == i].tolist() + first[second == i].tolist()
            likes = [float(torch.exp(-(((old[i] - old[j]).norm() / 0.7) ** 2) / 2)) for j in near]
            total = old[i] + sum(like * old[j] for like, j in zip(likes, near, strict=True))
            want[i] = total / total.norm()
    found = smoothed(features, first, second, rounds=2, alike=0.7)
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)


def test_smoothing_keeps_steps_and_takes_noise_away():
    g = seeded(4)
    points = torch.rand(600, 3, generator=g) * torch.tensor([1.0, 1.0, 0.02])
    left = points[:, 0] < 0.5
    clean = normalize(torch.where(left[:, None], torch.tensor([1.0, 0.1, 0.0]), torch.tensor([0.1, 1.0, 0.0])), dim=1)
    noisy = normalize(clean + 0.08 * torch.randn(600, 3, generator=g), dim=1)
    made = smoothed(noisy, *neighbor_edges(points, 8))
    assert float((made - clean).norm(dim=1).mean()) < 0.5 * float((noisy - clean).norm(dim=1).mean())
    assert float((made[left][:, None] - made[~left][None]).norm(dim=2).min()) > 1.0


def test_half_way_is_where_half_of_the_weights_have_come_together():
    g = seeded(5)
    counts = torch.tensor([3, 0, 6, 1, 4])
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))
    starts = torch.cat([torch.sort(torch.rand(c, generator=g)).values for c in counts.tolist()])
    samples = Samples(offsets, starts, starts + 0.01, torch.arange(5).repeat_interleave(counts))
    weights = torch.rand(14, generator=g) / 6
    weights[offsets[2]] = 0  # nothing is there, though it comes first
    opacity = torch.zeros(5).index_add(0, samples.ray_indices, weights)
    found = half_way(weights, opacity, samples)
    for i in range(5):
        total, want = 0.0, 0.0
        for s in range(int(offsets[i]), int(offsets[i + 1])):
            total += float(weights[s])
            if weights[s] > 0 and total >= 0.5 * float(opacity[i]) - 1e-6:
                want = float(samples.middles[s])
                break
        assert float(found[i]) == pytest.approx(want)


def test_surfaces_are_where_rendering_sees_them(model):
    cameras = ball_scene(n=16, size=32).splits["train"].cameras
    depth, opacity = surface_depth(model, cameras, 3)
    shown = model.render_image(cameras, 3, channels=("depth", "opacity"))
    assert torch.equal(opacity, shown["opacity"][..., 0])
    inner = -max_pool2d(-(opacity > 0.99).float()[None], 5, 1, 2)[0] > 0.5  # away from the silhouette
    assert int(inner.sum()) > 30
    torch.testing.assert_close(depth[inner], shown["depth"][..., 0][inner], atol=0.06, rtol=0)
    points = cameras.image_rays(3).origins + cameras.image_rays(3).directions * depth.flatten()[:, None]
    away = (points.norm(dim=1) - RADIUS).abs()[(opacity > 0.5).flatten()]
    assert float(away.median()) < 0.08
