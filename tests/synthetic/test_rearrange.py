"""Rearranged procedural scenes."""

from __future__ import annotations

import pytest
import torch

from fieldlab.errors import ConfigError
from fieldlab.synthetic.load import scene_model
from fieldlab.synthetic.rearrange import about, copied, moved, without

CENTER = (-0.78, -0.48, 0.27)  # of the ball
RADIUS = 0.27


def distance(scene, *points) -> list[float]:
    return scene.distance(torch.tensor(points).unbind(1)).tolist()


def names(scene) -> list[str]:
    return [thing.name for thing in scene.objects]


def test_an_object_goes():
    toys = scene_model("toys")
    gone = without(toys, "ball")
    assert names(gone) == [name for name in names(toys) if name != "ball"]
    assert distance(toys, CENTER)[0] == pytest.approx(-RADIUS, abs=1e-5)
    assert distance(gone, CENTER)[0] > 0.2
    assert len(gone.parts) == len(toys.parts) - 1


def test_an_object_moves_and_takes_its_texture_along():
    toys = scene_model("toys")
    there = moved(toys, "ball", about(CENTER, 90, 0.5)(0.0, 0.0, 0.7))
    at = (CENTER[0], CENTER[1], CENTER[2] + 0.7)
    found = distance(there, CENTER, at)
    assert found[0] > 0.2
    assert found[1] == pytest.approx(-RADIUS / 2, abs=1e-5)
    old, new = (next(p for p in scene.parts if p.name == "skin").shape for scene in (toys, there))
    offset = torch.tensor([0.1, 0.02, -0.05])
    turned = torch.tensor([-offset[1], offset[0], offset[2]]) * 0.5  # a quarter about z
    before = torch.stack(old.local(tuple((torch.tensor(CENTER) + offset)[:, None])))
    after = torch.stack(new.local(tuple((torch.tensor(at) + turned)[:, None])))
    assert torch.allclose(before, after, atol=1e-5)


def test_an_object_is_copied():
    toys = scene_model("toys")
    both = copied(toys, "ball", about(CENTER)(0.0, 0.0, 0.7))
    assert distance(both, CENTER, (CENTER[0], CENTER[1], CENTER[2] + 0.7)) == pytest.approx([-RADIUS] * 2, abs=1e-5)
    assert names(both)[-1] == "ball_copy"


def test_only_what_is_there():
    with pytest.raises(ConfigError, match="no such object"):
        without(scene_model("toys"), "bal")
