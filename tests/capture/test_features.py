"""Cameras that are shared, photographs that get another look, and threads that memory allows."""

from __future__ import annotations

import sqlite3

import pytest

from fieldlab.capture import features
from fieldlab.capture.features import forget_poor
from fieldlab.capture.photographs import Photograph


def photograph(name, camera):
    return Photograph(None, name, (8, 6), camera, True)


def test_photographs_of_one_camera_share_it():
    taken = [photograph("a", "x"), photograph("b", "y"), photograph("c", "x")]
    assert features._camera_groups(taken, True) == [["a", "c"], ["b"]]
    assert features._camera_groups(taken, False) == [["a"], ["b"], ["c"]]


def test_poor_photographs_lose_their_features(tmp_path):
    with sqlite3.connect(tmp_path / "database.db") as tables:
        tables.execute("CREATE TABLE images (image_id INTEGER PRIMARY KEY, name TEXT)")
        for name in ("keypoints", "descriptors"):
            tables.execute(f"CREATE TABLE {name} (image_id INTEGER PRIMARY KEY, rows INTEGER)")
        for i, (name, rows) in enumerate((("good", 1000), ("poor", 999), ("lost", None))):
            tables.execute("INSERT INTO images VALUES (?, ?)", (i, name))
            if rows is not None:
                tables.execute("INSERT INTO keypoints VALUES (?, ?)", (i, rows))
                tables.execute("INSERT INTO descriptors VALUES (?, ?)", (i, rows))
    for _ in range(2):  # the same, should the call before have been interrupted
        assert forget_poor(tmp_path / "database.db") == ["lost", "poor"]
    with sqlite3.connect(tmp_path / "database.db") as tables:
        assert tables.execute("SELECT image_id FROM descriptors").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("size", "doubled", "memory", "expected"),
    [
        ((1000, 1000), False, 10**9, 7),
        ((1000, 1000), True, 10**9, 1),
        ((64000, 48000), False, 2 * 10**9, 1),
        ((6400, 4800), False, 10**10, 9),
        ((6400, 4800), False, None, 16),
        ((100, 100), False, 10**10, 16),
    ],
)
def test_threads_that_memory_allows(size, doubled, memory, expected, monkeypatch):
    monkeypatch.setattr(features, "available_memory", lambda: memory)
    monkeypatch.setattr(features.os, "cpu_count", lambda: 16)
    assert features._threads(size, doubled) == expected
