"""What the page may write where, and work that is done beside the drawing."""

from __future__ import annotations

import threading

import pytest

from fieldlab.errors import ConfigError
from fieldlab.view.places import place
from fieldlab.view.tasks import Task, Tasks


def test_places_are_inside_the_run(tmp_path):
    assert place(tmp_path, "exports", "my mesh", ".glb") == tmp_path / "exports" / "my mesh.glb"
    assert place(tmp_path, "exports", "my.GLB", ".glb") == tmp_path / "exports" / "my.glb"


BAD = ["", ".", "..", "../x", "a/b", "a\\b", "/etc/x", "a\0b", ".hidden", "x" * 81, "a..b", "\n"]


@pytest.mark.parametrize("name", BAD)
def test_names_that_lead_elsewhere(tmp_path, name):
    with pytest.raises(ConfigError, match="not a name"):
        place(tmp_path, "exports", name, ".glb")


def test_links_that_lead_elsewhere(tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    (run / "exports").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="leads out"):
        place(run, "exports", "mesh", ".glb")
    (run / "renders").mkdir()
    (run / "renders" / "film.mp4").symlink_to(elsewhere / "film.mp4")
    with pytest.raises(ConfigError, match="leads out"):
        place(run, "renders", "film", ".mp4")
    with pytest.raises(ConfigError, match="no folder"):
        place(None, "exports", "mesh")


@pytest.fixture
def tasks():
    made = Tasks()
    yield made
    made.stop()


def test_tasks_tell_and_finish(tasks):
    heard: list[tuple[str, float]] = []

    def work(task: Task) -> int:
        for i in range(3):
            task.tell("counting", i / 3)
        return 7

    task = tasks.add(Task("count", work, lambda t: heard.append((t.stage, t.share))))
    assert task.wait(60)
    assert (task.result, task.error, task.stage) == (7, None, "done")
    assert heard[-1] == ("done", 1.0)
    assert ("counting", 2 / 3) in heard


def test_tasks_are_cancelled_and_fail_without_harm(tasks):
    begun = threading.Event()

    def forever(task: Task) -> None:
        while True:
            task.tell("waiting", 0.5)
            begun.set()

    task = tasks.add(Task("forever", forever))
    assert begun.wait(60)
    task.cancel()
    assert task.wait(60)
    assert task.stage == "cancelled"

    def bad(task: Task) -> None:
        raise ConfigError("nothing has that density")

    def worse(task: Task) -> None:
        raise ZeroDivisionError("oh")

    failed = [tasks.add(Task("bad", bad)), tasks.add(Task("worse", worse)), tasks.add(Task("good", lambda t: 1))]
    assert all(each.wait(60) for each in failed)
    assert failed[0].error == "nothing has that density"
    assert "ZeroDivisionError" in str(failed[1].error)
    assert failed[2].result == 1
