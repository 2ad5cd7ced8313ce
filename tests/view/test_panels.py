"""Controls without a browser: what they write, and that they show what is the case."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fieldlab.mesh.mesh import Mesh
from fieldlab.segment.files import TREE
from fieldlab.view.keyframes import Flight, Keyframe, write_flight
from fieldlab.view.page import Page
from fieldlab.view.panels import display, edit
from fieldlab.view.server import Viewer
from fieldlab.view.turns import Turns
from fieldlab.view.visitor import Visitor
from tests.view.ball import ball_run
from tests.view.clients import Client
from tests.view.waiting import wait

RED = "recolor sphere 0 0 0 2 to 1 0 0"


@pytest.fixture(scope="module")
def served():
    made = Viewer([ball_run(parts=False)], port=16000 + os.getpid() % 1000)
    yield made
    made.stop()


@pytest.fixture
def page(served, tmp_path):
    """Of two runs with parts, both in folders."""
    runs = [ball_run(folder=tmp_path / name) for name in ("first", "second")]
    for run in runs:
        run.folder.mkdir()
        run.info = SimpleNamespace(run=SimpleNamespace(path=run.folder))
    made = Page(served, Visitor(Client(server=served.server), runs))
    made.visitor, made.runs = made.display.visitor, runs
    return made


@pytest.mark.parametrize("holds_out", [False, True])
def test_nobody_edits_what_is_being_trained(served, holds_out):
    training = SimpleNamespace(turns=Turns(), watchers=[], last=None, holds_out=holds_out)
    visitor = Visitor(Client(server=served.server), [ball_run(parts=False)])
    page = Page(served, visitor, training)
    assert not hasattr(page, "edit")
    assert training.watchers
    training.last = SimpleNamespace(step=3, psnr=20.0, validation=19.0 if holds_out else None, seconds_left=None)
    training.finished = True
    training.curve, training.held_out_curve = lambda: ([1, 3], [0.1, 0.01], [10.0, 20.0]), lambda: ([3], [19.0])
    [say] = training.watchers
    say()
    panel = say.__self__
    assert "20.00 dB" in panel.word.content
    assert (panel.held_out is not None) == holds_out
    if holds_out:
        assert [values.tolist() for values in panel.held_out.data] == [[3.0], [19.0]]
    visitor.leave()
    assert not training.watchers


def test_a_name_is_written_to_the_run_of_the_tree(page):
    first, second = page.runs
    page.segments.choose(2)
    page.compare._swap()
    assert page.visitor.runs == [second, first]
    assert not page.visitor.display.chosen
    assert "not the first run shown" in page.segments.count.content
    page.segments.choose(2)
    page.segments.name.value = "the far south"
    page.segments._rename()
    assert "the far south" in (first.folder / TREE).read_text()
    assert not (second.folder / TREE).exists()
    page.segments._click(SimpleNamespace(ray_origin=(0.0, 0.0, 3.0), ray_direction=(0.0, 0.0, -1.0)))
    assert page.visitor.display.chosen == {2}  # the click was at the other run


def test_the_tree_is_made_anew_by_many_at_once(page):
    threads = [threading.Thread(target=page.segments._say) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(page.segments._buttons) == 3  # the ball and its halves


def test_what_is_kept_is_the_edited_run_and_under_a_name_of_its_own(page, monkeypatch):
    written: list[tuple[Path, object]] = []
    monkeypatch.setattr(edit, "write_edited_run", lambda out, made, info: (out.mkdir(parents=True),
                                                                       written.append((out, made))))  # fmt: skip
    model = ball_run(parts=False).model
    monkeypatch.setattr(edit, "edited_model", lambda *_: model)
    monkeypatch.setattr(edit, "spelled", lambda _: "a ball")
    page.display.channel.value = "depth"
    assert wait(lambda: page.visitor.display.channel == "depth")
    page.edit._apply([RED])
    assert wait(lambda: page.edit.edited is not None and page.edit.work.task.finished)
    edited = page.visitor.runs[0]
    assert edited not in page.runs
    assert page.display.channel.value == page.visitor.display.channel == "color"
    page.compare._swap()
    for _ in range(2):
        page.edit._save()
        assert wait(lambda: page.edit.work.task.finished)
        assert page.edit.work.task.error is None
    folder = page.runs[0].folder / "edited"
    assert written == [(folder / "edited", edited.model), (folder / "edited-2", edited.model)]
    page.edit._undo("undo all")
    page.edit._save()
    assert len(written) == 2
    assert "Nothing was saved" in page.visitor.handle.told[-1]


def test_the_scale_is_that_of_what_is_shown(served, page):
    scales = []
    for changes in ({"channel": "depth"}, {"compare": "difference"}, {"gain": 9.0}, {"compare": "one run"}):
        served.show(page.visitor, **changes)
        assert page.display.scale.visible
        scales.append(np.asarray(page.display.scale.image))
    assert not any(a.shape == b.shape and (a == b).all() for a, b in pairwise(scales))
    assert (scales[0] == scales[-1]).all()
    served.show(page.visitor, channel="color")
    assert not page.display.scale.visible


def test_a_path_brings_its_settings(page, tmp_path):
    file, eye = tmp_path / "path.json", page.visitor.eye()
    write_flight(file, Flight((Keyframe("a", eye), Keyframe("b", eye)), 23.976, (96, 54), True))
    heard, settings = [], page.path._settings
    page.path._settings = lambda **changes: (settings(**changes), heard.extend(changes))
    page.path._load(json.dumps(json.loads(file.read_text())).encode())
    wait(lambda: {"loop", "fps"} <= set(heard))  # what the controls set off
    assert page.path.loop.value
    assert page.path.fps.value == page.path.flight.fps == 23.976
    assert page.path.flight.loop
    assert len(page.path.flight.keys) == 2
    page.path.fps.value = 12.0
    assert wait(lambda: page.path.flight.fps == 12.0)
    assert page.path.flight.loop


def test_a_camera_that_is_clicked_shows_its_photograph(served, page):
    page.scene._clicked(3, None)
    assert page.visitor.cover == (3, 0.5)
    page.scene.photo.value = 0.2
    assert wait(lambda: page.visitor.cover == (3, 0.2))
    page.scene._clicked(2, None)
    assert page.visitor.cover == (2, 0.2)
    page.scene.jump(1000)
    assert page.visitor.cover == (7, 0.2)
    alone = ball_run(parts=False)
    alone.scene.cameras["train"] = alone.scene.cameras["train"][:1]
    page = Page(served, Visitor(Client(server=served.server), [alone]))
    assert not page.scene.view.visible


def test_a_mesh_goes_with_the_field_it_is_of(page, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def extract(*_, on_progress, **__):
        begun.set()
        go.wait(60)
        corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        return Mesh(corners, np.array([[0, 1, 2]]), np.full((3, 3), 200, np.uint8)), None

    monkeypatch.setattr(display, "extract_mesh", extract)
    panel, visitor = page.display, page.visitor
    changes = {"off": partial(setattr, panel.mesh, "value", False), "trained": visitor.invalidate,
               "hidden": partial(visitor.set_display, only=frozenset({1})),
               "exchanged": page.compare._swap}  # fmt: skip
    for early in (True, False):
        for name, change in changes.items():
            visitor.set_display(only=frozenset())
            begun.clear()
            go.clear() if early else go.set()
            panel.mesh.value = True
            assert begun.wait(60), name
            assert early or wait(lambda: visitor.proxy is not None), name
            change()
            assert wait(lambda: not panel.mesh.value and panel._meshing is None), name
            go.set()
            assert wait(lambda: panel.work.task.finished), name
            assert visitor.proxy is None, name
