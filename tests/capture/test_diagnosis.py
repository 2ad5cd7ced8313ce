"""What is said about a result."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from fieldlab.capture.diagnosis import listed, notes_on
from fieldlab.capture.mapping import Model
from fieldlab.capture.parallax import _as_turn

pycolmap = pytest.importorskip("pycolmap")


def model(names, baseline=1.0):
    """Two placed photographs that see points at distance 5, and the names of others."""
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs = 1
    options.num_cameras_per_rig = 1
    options.num_frames_per_rig = 4
    options.num_points3D = 50
    made = pycolmap.synthesize_dataset(options)
    if baseline != 1.0:  # points far away: the same as cameras close together
        for point in made.points3D.values():
            point.xyz = point.xyz / baseline
    return Model(None, made, names)


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "database.db"
    pycolmap.Database.open(path).close()
    with sqlite3.connect(path) as tables:
        for i, (name, count) in enumerate((("a.jpg", 900), ("b.jpg", 30), ("c.jpg", 500)), start=1):
            tables.execute("INSERT INTO cameras VALUES (?, 1, 10, 10, x'', 0)", (i,))
            tables.execute("INSERT INTO images VALUES (?, ?, ?)", (i, name, i))
            tables.execute("INSERT INTO keypoints VALUES (?, ?, 6, x'')", (i, count))
    return path


def test_nothing_to_say(database):
    assert notes_on([model(["a.jpg", "b.jpg", "c.jpg"])], ["a.jpg", "b.jpg", "c.jpg"], 0.8, database) == []


def test_photographs_without_detail(database):
    notes = notes_on([model(["a.jpg", "c.jpg"])], ["a.jpg", "b.jpg", "c.jpg"], 0.6, database)
    assert len(notes) == 1
    assert notes[0].startswith("b.jpg: hardly any detail")


def test_parts_that_do_not_meet(database):
    largest, other = model(["a", "b", "c", "d"]), model(["d", "e", "f", "g"])
    notes = notes_on([largest, other], list("abcdefg"), 0.5, database)
    assert len(notes) == 1
    assert notes[0].startswith("3 photographs (e, f, g) fit together but not to the 4")


def test_little_parallax(database):
    notes = notes_on([model(["a"], baseline=0.001)], ["a"], 0.8, database)
    assert len(notes) == 1
    assert "hardly moved" in notes[0]


def test_turns_are_told_from_steps():
    camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", 300.0, 320, 240)
    k = camera.calibration_matrix()
    a = np.radians(12)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    spread, angle = _as_turn(3 * k @ turn @ np.linalg.inv(k), 300 / 320, (320, 240), (320, 240))
    assert spread == pytest.approx(0, abs=1e-6)
    assert angle == pytest.approx(12)
    step = turn + np.outer([0.3, 0, 0], [0, 0, 1])  # before a wall at distance 1
    assert _as_turn(k @ step @ np.linalg.inv(k), 300 / 320, (320, 240), (320, 240))[0] > 0.1


def test_long_lists_are_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
