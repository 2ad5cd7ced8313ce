"""What a visitor is shown: two runs of which one lacks something, exchanged ones, and what is out of date."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fieldlab.view.visitor import Visitor
from tests.view.ball import ball_run
from tests.view.clients import Client, drawn


@pytest.fixture
def visitor():
    return Visitor(Client(), [ball_run(), ball_run(parts=False)])


@pytest.mark.parametrize("channel", ["opacity", "features", "segments"])
def test_a_split_of_runs_of_which_one_lacks_the_channel(visitor, channel):
    told = visitor.handle.told
    visitor.set_display(channel="color", compare="split")
    drawn(visitor)
    color = visitor.shown
    visitor.set_display(channel=channel)
    assert drawn(visitor).full
    right = slice(color.shape[1] // 2 + 2, None)
    assert np.array_equal(visitor.shown[:, right], color[:, right]) == (channel != "opacity")
    assert len(told) == (channel != "opacity")
    assert (visitor.shown[:, color.shape[1] // 2] == 128).all()
    visitor.show_runs(visitor.runs[::-1])
    drawn(visitor)
    assert len(told) == 2 * (channel != "opacity")
    visitor.set_display(compare="difference")
    drawn(visitor)
    assert len(told) == 2 * (channel != "opacity")


def test_parts_stay_those_of_their_run_when_runs_are_exchanged(visitor):
    drawn(visitor)
    whole = visitor.shown
    visitor.set_display(hidden=frozenset({1}), chosen=frozenset({2}))
    drawn(visitor)
    assert np.abs(visitor.shown.astype(int) - whole).max() > 30
    visitor.show_runs(visitor.runs[::-1])
    drawn(visitor)
    assert np.array_equal(visitor.shown, whole)


def test_a_picture_that_was_begun_before_a_change_is_not_kept(visitor):
    draw, first = visitor._draw, visitor.runs[0]

    def slow(*args):
        made = draw(*args)
        visitor.invalidate()
        return made

    visitor._draw = slow
    drawn(visitor)
    visitor._draw = draw
    assert drawn(visitor).traced > 0
    assert drawn(visitor).traced == 0
    assert visitor.runs[0] is first


def test_a_mesh_stands_in_only_while_the_camera_moves(visitor):
    moved: list[int] = []
    drawn(visitor)
    visitor.proxy = SimpleNamespace(moving=lambda _: moved.append(1), resting=lambda *_: False)
    visitor.invalidate()
    assert drawn(visitor, moving=True).traced > 0  # the field changed, the eye did not
    visitor.set_display(compare="split")
    drawn(visitor, moving=True)
    assert not moved
    visitor.handle.look_from(1)
    assert drawn(visitor, moving=True).traced == 0
    assert moved
