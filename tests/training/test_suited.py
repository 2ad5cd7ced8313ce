"""The representation that suits a scene, where nobody names one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fieldlab.training.build import FieldChoice
from fieldlab.training.suited import AUTO, suited
from tests.scenes import ball_scene


@pytest.mark.parametrize(("unbounded", "kind"), [(False, "vm"), (True, "hashgrid")])
def test_by_what_is_outside_the_box(unbounded, kind):
    scene = replace(ball_scene(), unbounded=unbounded)
    choice, why = suited(FieldChoice(AUTO, n_parameters=1000), scene)
    assert choice == FieldChoice(kind, n_parameters=1000)
    assert why.startswith(f"the representation is {kind}: ")
    assert "--field" in why


def test_what_is_named_stays():
    named = FieldChoice("voxel+vm", ("a=1",))
    assert suited(named, ball_scene()) == (named, None)
