"""What pictures show: channels, parts that are hidden or alone, comparisons, photographs that are laid over."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fieldlab.view.cameras import Eye, cropped, eye_of
from fieldlab.view.channels import PAINTERS, channels_of, difference, leaves, legend, nearest_view, paint
from fieldlab.view.display import DisplaySettings
from fieldlab.view.gbuffer import render_gbuffer
from fieldlab.view.overlay import blended
from tests.scenes import ball_hit, ring_cameras
from tests.view.ball import ball_run

SIZE = 48


def eye(i: int = 0) -> Eye:
    return eye_of(ring_cameras(8).camera_to_world[i], math.radians(45), 1.25)


def seen_of(run, i: int = 0, width: int = 60, height: int = 48):
    found = render_gbuffer(run.model, eye(i).cameras(width, height))
    assert found is not None
    return found


def test_an_eye_and_its_pictures():
    made = eye()
    for rays in (300, 5000, 1e6):
        width, height = made.size(rays)
        assert width * height == pytest.approx(rays, rel=0.1)
        assert width / height == pytest.approx(1.25, rel=0.05)
    cameras = made.cameras(60, 48)
    middle = cameras.rays(torch.tensor([0]), torch.tensor([[30.0, 24.0]]))
    assert torch.allclose(middle.directions[0], made.camera_to_world[:, 2], atol=1e-5)
    top = cameras.rays(torch.tensor([0]), torch.tensor([[30.0, 0.0]])).directions[0]
    assert float(torch.acos(top @ middle.directions[0])) == pytest.approx(math.radians(45) / 2, rel=1e-4)
    assert torch.allclose(eye_of(made.camera_to_world, made.fov, 1.25).camera_to_world, made.camera_to_world, atol=1e-6)
    part = cropped(cameras, 20, 35)
    all_rays, some = cameras.image_rays(0).directions.view(48, 60, 3), part.image_rays(0).directions.view(48, 15, 3)
    assert torch.allclose(all_rays[:, 20:35], some, atol=1e-6)


NONSENSE = [((0, 0, 0, 0), (0, 0, 0)), ((1, 0, 0, math.nan), (0, 0, 0)), ((1, 0, 0, 0), (math.inf, 0, 0))]


@pytest.mark.parametrize("values", NONSENSE)
def test_browsers_that_say_nonsense(values):
    with pytest.raises(ValueError, match="finite"):
        Eye.of(*values, 1.0, 1.0)
    assert Eye.of((2, 0, 0, 0), (0, 0, 0), 99.0, 1e9).fov < math.pi


def test_what_is_seen_is_what_a_camera_sees(ball):
    seen, cameras = seen_of(ball), eye().cameras(60, 48)
    picture = ball.model.render_image(cameras, 0, background=torch.tensor([0.2, 0.4, 0.6]), channels=("rgb", "depth"))
    made = paint(seen, ball, DisplaySettings(background=(0.2, 0.4, 0.6)))
    assert torch.allclose(made, picture["rgb"], atol=1e-5)
    t, hit = ball_hit(cameras.image_rays(0))
    sure = seen.hit & ball_hit(cameras.image_rays(0), 0.55)[1]
    assert torch.allclose(seen.depth.flatten()[sure], t[sure], atol=0.1)
    assert float((seen.hit != hit).float().mean()) < 0.05
    z = seen.z_depth.flatten()[sure]
    forward = cameras.camera_to_world[0, :, 2]
    assert torch.allclose(z, (cameras.image_rays(0).directions[sure] @ forward) * t[sure], atol=0.1)
    calls: list[int] = []
    assert render_gbuffer(ball.model, cameras, lambda: bool(calls.append(1)) or True) is None
    assert len(calls) == 1


def test_every_channel_is_a_picture(ball):
    seen = seen_of(ball)
    for name in channels_of(ball):
        made = paint(seen, ball, DisplaySettings(channel=name, threshold=0.1))
        assert made.shape == (48, 60, 3)
        assert bool(made.isfinite().all())
        assert 0 <= float(made.min()) <= float(made.max()) <= 1
        assert float(made.view(-1, 3).std(0).max()) > 0.01, name
    assert channels_of(ball) == tuple(PAINTERS)
    assert set(PAINTERS) - set(channels_of(ball_run(parts=False))) == {"features", "segments"}
    for channel in ("depth", "samples", "error"):
        picture = legend(ball, DisplaySettings(channel=channel))
        assert picture is not None
        assert picture.ndim == 3
    assert legend(ball, DisplaySettings()) is None


def test_parts_have_their_colors_at_every_level(ball):
    seen, tree = seen_of(ball, 2), ball.hierarchy
    leaf = leaves(seen, ball)
    assert leaf.flatten()[~seen.hit].eq(-1).all()
    points, rows = seen.points, leaf.flatten()[seen.hit]
    clear = (points[:, 2].abs() > 0.08) & (points[:, 0].abs() > 0.08)
    wanted = torch.where(points[:, 2] < 0, 2, torch.where(points[:, 0] > 0, 3, 4))
    assert bool((rows[clear] == wanted[clear]).all())
    for level, count in ((0.01, 3), (0.5, 2), (0.9, 1)):
        made = paint(seen, ball, DisplaySettings(channel="segments", threshold=level, tint=1.0, background=(0, 0, 0)))
        colors = made.view(-1, 3)[seen.hit]
        hues = torch.nn.functional.normalize(colors, dim=1)
        wanted_colors = torch.nn.functional.normalize(tree.colors[tree.cut(level)[rows]].float(), dim=1)
        assert torch.allclose(hues, wanted_colors, atol=1e-3)
        assert len(tree.cut(level)[rows].unique()) == count


def test_hidden_parts_are_not_drawn_and_others_alone_are(ball):
    north = ball.visible(frozenset(), frozenset({1}))
    south = ball.visible(frozenset({1}), frozenset())
    p = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(3)), dim=1) * 0.5
    p = p[p[:, 2].abs() > 0.1]
    from fieldlab.ops.occupancy import query_occupancy

    up = p[:, 2] > 0
    assert torch.equal(query_occupancy(north.occupancy.packed(), p), up)
    assert torch.equal(query_occupancy(south.occupancy.packed(), p), ~up)
    nothing = ball.visible(frozenset({0}), frozenset())
    found = render_gbuffer(nothing, eye().cameras(30, 24))
    assert float(found.opacity.max()) == 0
    assert ball.visible(frozenset(), frozenset()) is ball.model
    assert float(render_gbuffer(ball.model, eye().cameras(30, 24)).opacity.max()) > 0.9  # the run itself is as it was


def test_chosen_parts_stand_out(ball):
    seen = seen_of(ball)
    plain, chosen = (paint(seen, ball, DisplaySettings(chosen=frozenset(nodes))) for nodes in ((), (1,)))
    rows = leaves(seen, ball)
    north = ((rows == 3) | (rows == 4)) & seen.hit.view(rows.shape)
    changed = ((plain - chosen).abs().amax(2) > 1e-4) & seen.hit.view(rows.shape)
    assert bool(changed[north].float().mean() > 0.95)
    assert not bool(changed[~north].any())


def test_the_error_is_small_where_a_photograph_shows_the_same(ball):
    seen = seen_of(ball, 2, 48, 48)
    view = nearest_view(seen, ball)
    assert view == 2
    made = paint(seen, ball, DisplaySettings(channel="error", gain=4.0))
    inside = seen.hit & ball_hit(seen.rays, 0.5)[1]
    shown = made.view(-1, 3)[inside]
    gray = (shown - 0.55).abs().amax(1) < 1e-4
    assert float(gray.float().mean()) < 0.2  # most of it the photograph shows
    assert float(shown[~gray].mean()) < 0.25  # and shows as it is


def test_differences_and_photographs_laid_over(ball):
    first, second = seen_of(ball), seen_of(ball)
    display = DisplaySettings(compare="difference", gain=4.0)
    assert float(difference(first, second, display).max()) < 0.05
    second.rgb = 1 - second.rgb
    assert float(difference(first, second, display).mean()) > float(difference(first, first, display).mean()) + 0.05
    picture, photograph = torch.zeros(20, 60, 3), torch.full((40, 40, 4), 255, dtype=torch.uint8)
    photograph[:, :20, 3] = 0
    made = blended(picture, photograph, 0.5)
    assert float(made[:, :20].max()) == float(made[:, 40:].max()) == 0
    assert float(made[:, 20:29].max()) < 0.1
    assert torch.allclose(made[:, 31:40], torch.tensor(0.5), atol=0.01)
    assert np.isfinite(made.numpy()).all()
