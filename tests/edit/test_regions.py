"""Edits by part: the region of a part is what is nearest to its points, also after earlier edits moved it."""

from __future__ import annotations

import pytest
import torch

from fieldlab.edit.edited import EditedConfig, EditedField
from fieldlab.edit.edits import PartPoints, parse_edit, part_named
from fieldlab.edit.regions import locate
from fieldlab.errors import ConfigError
from tests.scenes import tiny_field

BOX = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def field_with(edits=(), regions=()) -> EditedField:
    field = EditedField(EditedConfig(tiny_field(), tuple(edits), BOX), 2.0, seeded())
    with torch.no_grad():
        field.base.encoding.table.mul_(1e4)
    field.set_regions(regions)
    return field


def two_balls() -> PartPoints:
    """A small ball left of another that touches it: points on both."""
    d = torch.nn.functional.normalize(torch.randn(4000, 3, generator=seeded(1)), dim=1)
    return PartPoints(7, d[:2000] * 0.2 + torch.tensor([-0.2, 0, 0]), d[2000:] * 0.3 + torch.tensor([0.3, 0, 0]))


def world(n: int = 4000) -> torch.Tensor:
    return torch.rand(n, 3, generator=seeded(2)) * 1.2 - 0.6


def nearest_is_own(part: PartPoints, p: torch.Tensor):
    own, others = torch.cdist(p, part.own).amin(1), torch.cdist(p, part.others).amin(1)
    return own < others, (own - others).abs() > 0.02


@pytest.mark.slow
def test_a_region_is_what_is_nearest_to_its_points():
    part, p = two_balls(), world()
    text, region = locate(part, field_with(), 0.0)
    selection = parse_edit(f"remove {text}").selection
    low, high = selection.bounds()
    assert bool((part.own >= low).all() & (part.own <= high).all())
    inside = ((p >= low) & (p <= high)).all(1)
    own, clear = nearest_is_own(part, p)
    found = selection.contains(p, region)
    assert not bool(found[~inside].any())
    assert bool((found == own)[inside & clear].all())
    assert bool(found.any()) & bool((~found & inside).any())


@pytest.mark.slow
def test_a_part_is_found_where_earlier_edits_brought_it():
    part, p = two_balls(), world()
    moved = "move box -0.5 -0.3 -0.3 -0.05 0.3 0.3 by 0 0.3 0"  # most of the small ball
    text, region = locate(part, field_with([moved]), 0.0)
    found = parse_edit(f"remove {text}").selection.contains(p, region)
    away = torch.tensor([[-0.2, 0.3, 0.0], [-0.2, 0.48, 0.0]])
    assert bool(parse_edit(f"remove {text}").selection.contains(away, region).all())
    cleared = ((p > torch.tensor([-0.5, -0.3, -0.3])) & (p < torch.tensor([-0.05, -0.05, 0.3]))).all(1)
    assert not bool(found[cleared].any())
    with pytest.raises(ConfigError, match="earlier edits left nothing"):
        locate(part, field_with(["remove sphere -0.2 0 0 0.3"]), 0.0)


@pytest.mark.slow
def test_both_copies_of_a_part_are_found():
    part = two_balls()
    text, region = locate(part, field_with(["duplicate sphere -0.2 0 0 0.25 by 0 0.55 0"]), 0.0)
    centers = torch.tensor([[-0.2, 0.0, 0.0], [-0.2, 0.55, 0.0]])
    assert parse_edit(f"remove {text}").selection.contains(centers, region).tolist() == [True, True]


@pytest.mark.slow
def test_a_field_without_a_part_survives_its_arrays():
    part, p = two_balls(), world()
    text, region = locate(part, field_with(), 0.05)
    field = field_with([f"remove {text}"], [region])
    unit = (p + 1) / 2
    log_density, _ = field.geometry(unit)
    gone = field.edits[0].selection.contains(p, region)
    assert bool((log_density[gone] < -15).all())
    assert torch.equal(log_density[~gone], field.base.geometry(unit)[0][~gone])
    other = field_with([f"remove {text}"])
    other.resize_like(field.state_dict())
    other.load_state_dict(field.state_dict())
    assert torch.equal(other.geometry(unit)[0], log_density)


@pytest.mark.parametrize(
    ("text", "name"),
    [("remove part 12", "12"), ("move part leg by 0 0 1", "leg"), ("remove box 0 0 0 1 1 1", None),
     ("recolor part 3 0 0 0 1 1 1 to 1 0 0", None), ("remove part", None), ("paint part 3", None)],
)  # fmt: skip
def test_parts_that_are_only_named(text, name):
    assert part_named(text) == name


def test_a_part_that_is_nowhere_is_not_silently_nothing():
    with pytest.raises(ConfigError, match="not where it is"):
        parse_edit("remove part 3 0 0 0 1 1 1").selection.contains(world())
