"""Ray/box intersection: native against reference, and against what a box is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ray_cases import CUBE, random_rays

from fieldlab.errors import ConfigError
from fieldlab.ops.ray_box import ray_box, ray_box_reference


def random_boxes(n: int) -> torch.Tensor:
    low = torch.rand(n, 3) * 2 - 1.5
    return torch.stack([low, low + torch.rand(n, 3)], 1)


def test_native_equals_reference(device):
    torch.manual_seed(0)
    o, d = random_rays(500, 1)
    d[::7, 0] = 0.0  # parallel to two faces
    d[::11, 1:] = 0.0
    boxes = random_boxes(40)
    expected = ray_box_reference(o, d, boxes)
    found = ray_box(o.to(device), d.to(device), boxes.to(device))
    assert torch.equal(found[2].cpu(), expected[2])
    for a, b in zip(found[:2], expected[:2], strict=True):
        assert torch.allclose(a.cpu(), b, atol=1e-5)
    assert 0.02 < expected[2].float().mean() < 0.9


def test_hits_are_where_the_middle_is_inside(device):
    torch.manual_seed(1)
    o, d = random_rays(1000, 2)
    boxes = random_boxes(100)
    t_min, t_max, hit = (x.cpu() for x in ray_box(o.to(device), d.to(device), boxes.to(device)))
    assert bool((t_min[~hit] == torch.inf).all())
    assert bool((t_max[~hit] == torch.inf).all())
    middle = torch.where(hit, (t_min.clamp_min(0) + t_max) / 2, 0)
    points = o[:, None] + d[:, None] * middle[..., None]
    inside = ((points > boxes[:, 0] - 1e-5) & (points < boxes[:, 1] + 1e-5)).all(-1)
    assert bool(inside[hit].all())
    # Nothing on a ray that misses is inside.
    t = torch.linspace(0, 6, 200)
    sample = o[:, None] + d[:, None] * t[:, None]
    for box, missed in zip(boxes[:10], (~hit).unbind(1), strict=False):
        assert not bool(((sample > box[0] + 1e-4) & (sample < box[1] - 1e-4)).all(-1)[missed].any())


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((0, 0, 0), (1, 0, 0), (-1.0, 1.0, True)),  # from inside
        ((-3, 0, 0), (1, 0, 0), (2.0, 4.0, True)),
        ((3, 0, 0), (1, 0, 0), None),  # behind
        ((-3, 2, 0), (1, 0, 0), None),  # past it, parallel
        ((-3, 1, 0), (1, 0, 0), (2.0, 4.0, True)),  # along a face
        ((-3, 0.5, 0.5), (1, -0.0, 0.0), (2.0, 4.0, True)),
        ((-1, 0, 0), (-1, 0, 0), None),  # leaves at 0
    ],
)
def test_cases(device, origin, direction, expected):
    o = torch.tensor([origin], dtype=torch.float32, device=device)
    d = torch.tensor([direction], dtype=torch.float32, device=device)
    for op in (lambda: ray_box(o, d, CUBE.to(device)), lambda: ray_box_reference(o, d, CUBE.to(device)[None])):
        t_min, t_max, hit = (x.reshape(()).item() for x in op())
        assert (t_min, t_max, hit) == (expected or (torch.inf, torch.inf, False))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(1, 4), st.integers(0, 2**31))
def test_sizes(n, boxes, seed):
    torch.manual_seed(seed)
    o, d = torch.randn(n, 3), torch.randn(n, 3).round()
    box = random_boxes(boxes)
    for a, b in zip(ray_box(o, d, box), ray_box_reference(o, d, box), strict=True):
        assert a.shape == (n, boxes)
        assert torch.allclose(a.float(), b.float(), atol=1e-4)


def test_shape_is_checked():
    with pytest.raises(ConfigError, match="boxes"):
        ray_box(torch.zeros(1, 3), torch.ones(1, 3), torch.zeros(6))
