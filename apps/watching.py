"""Training that somebody watches in a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console

from fieldlab.data.scene import Scene
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.runs.session import Session
from fieldlab.training.trainer import TrainEvent


@contextmanager
def watched(
    session: Session[TrainEvent], scene: Scene, view: bool, port: int, console: Console
) -> Iterator[Iterator[TrainEvent]]:
    """The session's events; with ``view`` also a page, which stays after training until somebody interrupts."""
    if not view or not session.writes:
        yield session.events()
        return
    from fieldlab.view.page import Page
    from fieldlab.view.scene_source import LoadedScene
    from fieldlab.view.server import Viewer
    from fieldlab.view.shown_run import ShownRun
    from fieldlab.view.training import Training
    from fieldlab.view.turns import Turns

    training = Training(session, Turns())
    subject = ShownRun(session.run.path.resolve().name, session.model, SceneRecord.of(scene), folder=session.run.path,
                      source=LoadedScene(scene), facts=(session.model.field.kind,))  # fmt: skip
    viewer = Viewer([subject], port=port, turns=training.turns, panels=[partial(Page, training=training)])
    training.refreshed = viewer.changed
    console.print(f"[bold]{viewer.address}[/]", highlight=False)
    try:
        yield training.events()
        if not session.loop.stop_requested:
            console.print(f"training is done; {viewer.address} stays until Ctrl-C", highlight=False)
        while not session.loop.stop_requested:
            time.sleep(0.1)
    finally:
        viewer.stop()
