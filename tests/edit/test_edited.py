"""Edits: what is said of them, and that a field with edits is the field looked up where things were."""

from __future__ import annotations

import math

import pytest
import torch

from fieldlab.edit.edited import EditedConfig, EditedField, tinted
from fieldlab.edit.edits import parse_edit
from fieldlab.errors import ConfigError
from fieldlab.fields.registry import config_from_dict, config_to_dict
from tests.scenes import tiny_field

BOX = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)
PART = "box -0.5 -0.5 -0.5 0 0 0"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def edited(*edits: str, unbounded: bool = False) -> EditedField:
    config = EditedConfig(tiny_field(), edits, BOX, unbounded)
    field = EditedField(config, 2.0, seeded())
    with torch.no_grad():
        field.base.encoding.table.mul_(1e4)  # something to see
    return field


def world(n: int = 2000) -> torch.Tensor:
    return torch.rand(n, 3, generator=seeded(1)) * 2 - 1


def unit(points: torch.Tensor) -> torch.Tensor:
    return (points + 1) / 2


def seen(field, points, directions):
    """Density and color at world points; the color where something is."""
    log_density, latent = field.geometry(unit(points))
    return log_density, field.color(latent, unit(points), directions)


def directions(n: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=seeded(2)), dim=1)


def in_part(points):
    return ((points >= -0.5) & (points <= 0)).all(1)


def test_without_edits_it_is_the_field():
    field, p, d = edited(), world(), directions(2000)
    log_density, rgb = seen(field, p, d)
    wanted, latent = field.base.geometry(unit(p))
    assert torch.allclose(log_density, wanted, atol=1e-6)
    assert torch.allclose(rgb, field.base.color(latent, unit(p), d), atol=1e-6)


@pytest.mark.parametrize(("verb", "gone"), [("remove", True), ("keep", False)])
def test_what_is_removed_is_empty(verb, gone):
    field, p = edited(f"{verb} {PART}"), world()
    log_density, _ = field.geometry(unit(p))
    empty = in_part(p) == gone
    assert float(log_density[empty].max()) < -15
    assert torch.allclose(log_density[~empty], field.base.geometry(unit(p))[0][~empty], atol=1e-6)
    assert float(field.density(unit(p))[empty].max()) < 1e-6


def brute(text: str, field, p, d):
    """A moved part, point by point: the densest of what stayed and what came."""
    edit = parse_edit(text)
    c = torch.tensor([-0.25, -0.25, -0.25])
    rotation, shift = torch.tensor(edit.rotation), torch.tensor(edit.shift)
    out_s, out_c = [], []
    for point, direction in zip(p, d, strict=True):
        stayed = edit.verb == "duplicate" or not bool(in_part(point[None]))
        source = rotation.t() @ (point - c - shift) / edit.scale + c
        came = bool(in_part(source[None])) and bool((source.abs() <= 1).all())
        best, color = -math.inf, torch.zeros(3)
        ways = ((point, direction, stayed, 1.0), (source, rotation.t() @ direction, came, edit.scale))
        for there, turned, ok, scale in ways:
            if ok:
                s, latent = field.base.geometry(unit(there[None]))
                s = float(s) - math.log(scale)
                if s > best:
                    best, color = s, field.base.color(latent, unit(there[None]), turned[None])[0]
        out_s.append(best)
        out_c.append(color)
    return torch.tensor(out_s), torch.stack(out_c)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["by 0.4 0.1 0.3", "turn 1 2 0.5 40", "scale 1.5", "by 0.2 0 0 turn 0 0 1 90 scale 0.5"]
)
@pytest.mark.parametrize("verb", ["move", "duplicate"])
def test_what_is_moved_is_looked_up_where_it_was(verb, change):
    text = f"{verb} {PART} {change}"
    field, p, d = edited(text), world(400), directions(400)
    with torch.no_grad():
        log_density, rgb = seen(field, p, d)
        wanted, color = brute(text, field, p, d)
    there = wanted > -math.inf
    assert torch.allclose(log_density[there], wanted[there], atol=1e-4)
    assert torch.allclose(rgb[there], color[there], atol=1e-4)
    assert bool((log_density[~there] < -15).all())


def test_edits_follow_each_other():
    there = "box 0.5 -0.5 -0.5 1 0 0"
    there_and_back = edited(f"remove {there}", f"move {PART} by 1 0 0", f"move {there} by -1 0 0")
    p = world()
    calm = (p[:, 0] < 0.49) | ~((p[:, 1:] > -0.51) & (p[:, 1:] < 0.01)).all(1)  # but for the place that was cleared
    log_density, _ = there_and_back.geometry(unit(p[calm]))
    assert torch.allclose(log_density, there_and_back.base.geometry(unit(p[calm]))[0], atol=1e-3)


def test_recoloring_keeps_brightness_and_other_parts():
    field, p, d = edited(f"recolor {PART} to 1 0 0"), world(), directions(2000)
    _, rgb = seen(field, p, d)
    _, latent = field.base.geometry(unit(p))
    before = field.base.color(latent, unit(p), d)
    inside = in_part(p)
    assert torch.allclose(rgb[~inside], before[~inside], atol=1e-6)
    assert torch.allclose(rgb[inside], tinted(before[inside], torch.tensor([1.0, 0, 0])), atol=1e-6)
    assert float(rgb[inside][:, 1:].max()) == 0


def test_a_recolored_part_keeps_its_color_when_it_moves():
    field = edited(f"recolor {PART} to 0 0 1", f"move {PART} by 0.75 0 0")
    p = world()
    moved = ((p >= torch.tensor([0.25, -0.5, -0.5])) & (p <= torch.tensor([0.75, 0.0, 0.0]))).all(1)
    _, latent = field.geometry(unit(p))
    rgb = field.color(latent, unit(p), directions(2000))
    came = moved & (latent[:, field.base.latent_size + 3] > 0)
    assert bool(came.any())
    assert float(rgb[came][:, :2].max()) == 0


def test_unbounded_scenes_are_edited_in_world_units():
    field = edited("remove sphere 3 0 0 0.5", unbounded=True)
    p = torch.tensor([[3.0, 0.1, 0.0], [3.0, 0.6, 0.0], [0.0, 0.0, 0.0]])
    log_density, _ = field.geometry(field.to_unit(p))
    assert (log_density < -15).tolist() == [True, False, False]


def test_what_the_base_never_learnt_is_not_shown():
    field, p = edited("duplicate box -1 -1 -1 0 1 1 by 1 0 0"), world()
    mask = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    mask[:, :4] = True  # x below -0.5
    field.occupied = mask
    log_density, _ = field.geometry(unit(p))
    there = (p[:, 0] < -0.5) | ((p[:, 0] > 0) & (p[:, 0] < 0.5))
    assert bool((log_density[~there] < -15).all())
    assert bool((log_density[there] > -15).all())
    other = edited("duplicate box -1 -1 -1 0 1 1 by 1 0 0")
    other.resize_like(field.state_dict())
    other.load_state_dict(field.state_dict())
    assert torch.equal(other.geometry(unit(p))[0], log_density)


def test_configurations_survive():
    config = EditedConfig(tiny_field(), (f"remove {PART}", "keep sphere 0 0 0 1"), BOX)
    assert config_from_dict(config_to_dict(config)) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with what to do"),
        ("paint box 0 0 0 1 1 1", "begins with what to do"),
        ("remove cube 0 0 0 1", "what it is about"),
        ("remove box 0 0 0 1 1", "takes 6 numbers"),
        ("remove box 0 0 0 1 1 nan", "takes 6 numbers"),
        ("remove box 0 0 0 1 1 -1", "low and a high corner"),
        ("keep sphere 0 0 0 0", "has a radius"),
        ("move sphere 0 0 0 1", "takes other changes"),
        ("duplicate sphere 0 0 0 1 by 0 0 0", "changes nothing"),
        ("move sphere 0 0 0 1 turn 0 0 1 360 scale 1", "changes nothing"),
        ("remove sphere 0 0 0 1 by 1 0 0", "takes other changes"),
        ("move sphere 0 0 0 1 scale 0", "above zero"),
        ("move sphere 0 0 0 1 turn 0 0 0 9", "about an axis"),
        ("move sphere 0 0 0 1 by 1 0 0 by 1 0 0", "no change"),
        ("recolor sphere 0 0 0 1 to 2 0 0", "from 0 to 1"),
    ],
)
def test_lines_that_make_no_sense(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_edit(text)
