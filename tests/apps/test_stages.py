"""Stages of commands that are made of others: what is remembered of them."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from fieldlab.apps import main
from fieldlab.apps.notes import heard, tell
from fieldlab.apps.stages import Stages
from fieldlab.errors import ConfigError, RunFolderError

NAMES = ["first", "second", "third"]


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What is called; ``write FILE`` writes a file, ``fail`` fails, ``stop`` is interrupted."""
    called = []

    def call(command):
        called.append(command[0])
        tell(Console(quiet=True), f"note: {command[0]} was called")
        if command[0] == "fail":
            raise ConfigError("there is no surface")
        if command[0] == "stop":
            raise KeyboardInterrupt
        (tmp_path / "out" / command[1]).write_text("made")

    monkeypatch.setattr(main, "call", call)
    return called


def stages(tmp_path, **settings) -> Stages:
    return Stages(tmp_path / "out" / "state.json", {"source": "toys", **settings}, NAMES, Console(quiet=True))


def test_what_is_told_is_heard_by_those_who_listen():
    tell(Console(quiet=True), "note: before")
    with heard() as outer, heard() as inner:
        tell(Console(quiet=True), "note: meanwhile")
    tell(Console(quiet=True), "after")
    assert outer == inner == ["meanwhile"]


def test_a_stage_is_done_once_and_again_when_its_file_is_gone(commands, tmp_path):
    file = tmp_path / "out" / "a"
    for _ in range(2):
        stages(tmp_path).need("first", ["write", "a"], [file])
    assert commands == ["write"]
    file.unlink()
    stages(tmp_path).need("first", ["write", "a"], [file])
    assert commands == ["write", "write"]
    record = json.loads((tmp_path / "out" / "state.json").read_text())["stages"]["first"]
    assert record["done"]
    assert record["notes"] == ["write was called"]
    assert record["command"] == "fieldlab write a"


def test_stages_that_build_on_one_that_is_done_again_are_done_again(commands, tmp_path):
    a, b = tmp_path / "out" / "a", tmp_path / "out" / "b"
    for _ in range(2):
        made = stages(tmp_path)
        made.need("first", ["write", "a"], [a])
        made.attempt("second", ["write", "b"], [b])
        a.unlink()
    assert commands == ["write"] * 4


def test_a_failure_is_remembered_and_tried_again(commands, tmp_path):
    file = tmp_path / "out" / "a"
    made = stages(tmp_path)
    file.write_text("of an earlier state")
    made.attempt("second", ["fail"], [file])
    assert not file.exists()
    assert stages(tmp_path).failures() == {"second": "there is no surface"}
    again = stages(tmp_path)
    again.attempt("second", ["write", "a"], [file])
    assert again.failures() == stages(tmp_path).failures() == {}


def test_an_interruption_is_remembered_with_its_time(commands, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stages(tmp_path).need("first", ["stop"], [tmp_path / "out" / "a"])
    state = tmp_path / "out" / "state.json"
    known = json.loads(state.read_text())
    assert known["stages"]["first"]["seconds"] > 0
    known["stages"]["first"]["seconds"] = 100.0
    state.write_text(json.dumps(known))
    again = stages(tmp_path)
    assert again.begun("first")
    again.need("first", ["write", "a"], [tmp_path / "out" / "a"])
    assert 100 < again.records["first"].seconds < 200
    assert not again.begun("first")


def test_what_appears_whole_need_not_be_made_again(commands, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stages(tmp_path).need("first", ["stop"], [tmp_path / "out" / "a"])
    (tmp_path / "out" / "a").write_text("made just before the interruption")
    stages(tmp_path).need("first", ["write", "a"], [tmp_path / "out" / "a"], whole=True)
    assert commands == ["stop"]
    stages(tmp_path).need("second", ["write", "b"], [tmp_path / "out" / "a"], whole=True)  # never begun
    assert commands == ["stop", "write"]


def test_other_settings_and_other_files_are_refused(commands, tmp_path):
    stages(tmp_path, quality="fast")
    with pytest.raises(ConfigError, match=r"found: quality best(?s:.*)expected: quality fast(?s:.*)--overwrite"):
        stages(tmp_path, quality="best")
    (tmp_path / "out" / "state.json").write_text("{}")
    with pytest.raises(RunFolderError, match="cannot be read"):
        stages(tmp_path)
    (tmp_path / "out" / "state.json").rename(tmp_path / "out" / "thesis.txt")
    with pytest.raises(RunFolderError, match="holds something else"):
        stages(tmp_path)
