"""What a visitor is shown: two runs of which one lacks something, exchanged ones, and what is out of date."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ball_subject

from fieldlab.view.visitor import Visitor
from tests.view.seeing import Client, drawn


@pytest.fixture
def visitor():
    return Visitor(Client(), [ball_subject(), ball_subject(parts=False)])


@pytest.mark.parametrize("channel", ["opacity", "features", "parts"])
def test_a_split_of_runs_of_which_one_lacks_the_channel(visitor, channel):
    told = visitor.handle.told
    visitor.alter(channel="color", compare="split")
    drawn(visitor)
    color = visitor.shown
    visitor.alter(channel=channel)
    assert drawn(visitor).full
    right = slice(color.shape[1] // 2 + 2, None)
    assert np.array_equal(visitor.shown[:, right], color[:, right]) == (channel != "opacity")
    assert len(told) == (channel != "opacity")
    assert (visitor.shown[:, color.shape[1] // 2] == 128).all()
    visitor.look_at(visitor.subjects[::-1])
    drawn(visitor)
    assert len(told) == 2 * (channel != "opacity")
    visitor.alter(compare="difference")
    drawn(visitor)
    assert len(told) == 2 * (channel != "opacity")


def test_parts_stay_those_of_their_run_when_runs_are_exchanged(visitor):
    drawn(visitor)
    whole = visitor.shown
    visitor.alter(hidden=frozenset({1}), chosen=frozenset({2}))
    drawn(visitor)
    assert np.abs(visitor.shown.astype(int) - whole).max() > 30
    visitor.look_at(visitor.subjects[::-1])
    drawn(visitor)
    assert np.array_equal(visitor.shown, whole)


def test_a_picture_that_was_begun_before_a_change_is_not_kept(visitor):
    see, first = visitor._see, visitor.subjects[0]

    def slow(*args):
        seen = see(*args)
        visitor.outdated()
        return seen

    visitor._see = slow
    drawn(visitor)
    visitor._see = see
    assert drawn(visitor).traced > 0
    assert drawn(visitor).traced == 0
    assert visitor.subjects[0] is first


def test_a_mesh_stands_in_only_while_the_camera_moves(visitor):
    moved: list[int] = []
    drawn(visitor)
    visitor.stand_in = SimpleNamespace(moving=lambda _: moved.append(1), resting=lambda *_: False)
    visitor.outdated()
    assert drawn(visitor, moving=True).traced > 0  # the field changed, the eye did not
    visitor.alter(compare="split")
    drawn(visitor, moving=True)
    assert not moved
    visitor.handle.look_from(1)
    assert drawn(visitor, moving=True).traced == 0
    assert moved
