"""Which views are trained on, which say how good training is, and which are kept for the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fieldlab.data.cameras import CameraModel
from fieldlab.data.frames import Frame, Lens
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import check_options
from fieldlab.data.splits import split_frames
from fieldlab.errors import ConfigError
from fieldlab.runs.upgrade import upgraded_config


def ring(n: int) -> list[Frame]:
    """Frames whose cameras stand on a circle, in the order of their names."""
    frames = []
    for i in range(n):
        pose = np.eye(4)[:3].copy()
        pose[:, 3] = np.cos(2 * np.pi * i / n), np.sin(2 * np.pi * i / n), 0
        lens = Lens(CameraModel.PERSPECTIVE, focal=(1.0, 1.0))
        frames.append(Frame(f"{i:03d}", Path(f"{i}.png"), pose, lens, Path("t.json"), f"frames[{i}]"))
    return frames


def split(frames: list[Frame], **options) -> tuple[dict[str, list[int]], list[str]]:
    notes: list[str] = []
    found = split_frames(frames[::-1], SceneOptions(**options), notes)
    return {name: [int(frame.name) for frame in members] for name, members in found.items()}, notes


def test_every_view_is_in_one_split_and_those_held_out_are_spread():
    found, notes = split(ring(48))
    assert found["test"] == [0, 8, 16, 24, 32, 40]
    assert len(found["val"]) == 2
    assert sorted(found["train"] + found["test"] + found["val"]) == list(range(48))
    # Neighbors of those for validation are trained on.
    assert all({i - 1, i + 1} <= set(found["train"]) | set(found["test"]) for i in found["val"])
    assert any("2 of the training views" in note for note in notes)


@pytest.mark.parametrize(("n", "options"), [(10, {}), (48, {"validation": 0.0}), (48, {"test_every": 0})])
def test_few_views_keep_all_for_training(n, options):
    assert "val" not in split(ring(n), **options)[0]


def test_a_sector_is_of_neighbors():
    found, notes = split(ring(32), holdout="sector")
    assert len(found["test"]) == 4
    assert {0, 1, 31} < set(found["test"]) <= {0, 1, 2, 30, 31}
    assert "from one side" in notes[0]
    assert len(split(ring(3), holdout="sector", test_every=1)[0]["train"]) == 1


def test_splits_of_a_data_set_are_left_alone():
    frames = ring(20)
    for i, frame in enumerate(frames):
        frame.split = "test" if i < 4 else "train"
    assert set(split(frames)[0]) == {"train", "test"}


@pytest.mark.parametrize("options", [{"holdout": "some"}, {"validation": -0.1}, {"validation": 0.9}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        check_options(SceneOptions(**options))


def test_runs_of_earlier_versions_held_out_none_for_validation():
    assert upgraded_config({"kind": "trained", "scene": {"downscale": 2}})["scene"] == {
        "validation": 0.0, "downscale": 2,
    }  # fmt: skip
    assert upgraded_config({"kind": "trained", "scene": {"validation": 0.1}})["scene"]["validation"] == 0.1
