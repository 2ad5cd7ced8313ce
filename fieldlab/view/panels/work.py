"""Progress of what a visitor asked for, a button to cancel it, and the file when it is done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from fieldlab.view.tasks import Task

if TYPE_CHECKING:
    from fieldlab.view.server import Viewer
    from fieldlab.view.visitor import Visitor

LARGEST_DOWNLOAD = 256 << 20
TOLD_EVERY = 0.25


class Work:
    """A bar, a word, and a button; made where it stands in the page."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        gui = visitor.handle.gui
        self.bar = gui.add_progress_bar(0.0, visible=False)
        self.word = gui.add_markdown("", visible=False)
        self.stop = gui.add_button("Cancel", color="red", visible=False)
        self.stop.on_click(lambda _: self.cancel())
        self.task: Task | None = None
        self._told = self._began = 0.0
        visitor.leaving.append(self.cancel)  # nobody else could, and others wait for their turn

    def begin(self, task: Task) -> bool:
        """Do a task and show how it gets on; one at a time here. Whether it will be done."""
        if self.task is not None and not self.task.finished:
            self.visitor.tell("Busy", f"{self.task.name} is not done yet.")
            return False
        task.watch = self._watch
        self.task, self._began = task, time.perf_counter()
        for thing in (self.bar, self.word, self.stop):
            thing.visible = True
        self.word.content = f"{task.name}: waiting"
        self.viewer.tasks.add(task)
        return True

    def cancel(self) -> None:
        """Give up what is being done."""
        if self.task is not None:
            self.task.cancel()

    def _watch(self, task: Task) -> None:
        now = time.perf_counter()
        if not task.finished and now - self._told < TOLD_EVERY:
            return
        self._told = now
        self.bar.value = 100 * task.share  # type: ignore[misc]
        left = ""
        if 0.02 < task.share < 1:
            left = f", {(now - self._began) * (1 - task.share) / task.share:.0f} s left"
        self.word.content = f"{task.name}: {task.stage}{left}"
        if task.finished:
            self._end(task)

    def _end(self, task: Task) -> None:
        self.stop.visible = self.bar.visible = False
        if task.error is not None:
            self.word.content = f"{task.name}: {task.error}"
            if task.stage == "failed":
                self.visitor.tell(task.name, task.error)
        elif isinstance(task.result, Path):
            self.word.content = f"written: {task.result}"
            file = task.result
            if file.is_file() and file.stat().st_size <= LARGEST_DOWNLOAD:
                self.visitor.handle.send_file_download(file.name, file.read_bytes(), save_immediately=True)
