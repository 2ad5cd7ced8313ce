"""Two runs side by side: a movable split, or their difference, with what each costs and reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldlab.view.display import COMPARISONS

if TYPE_CHECKING:
    from fieldlab.view.server import Viewer
    from fieldlab.view.visitor import Visitor


class ComparePanel:
    """Controls of the comparison of a visitor's two runs."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        gui = visitor.handle.gui
        self.how = gui.add_dropdown("Show", COMPARISONS, initial_value="one run",
                                    hint="Left of the split is the first run, right the second")  # fmt: skip
        self.split = gui.add_slider("Split", 0.0, 1.0, 0.01, 0.5)
        self.gain = gui.add_slider("Gain", 1.0, 20.0, 0.5, visitor.display.gain, hint="Of differences and errors")
        self.swap = gui.add_button("Swap")
        self.table = gui.add_markdown("")
        self.how.on_update(lambda _: viewer.show(visitor, compare=self.how.value))
        self.split.on_update(lambda _: viewer.show(visitor, split=float(self.split.value)))
        self.gain.on_update(lambda _: viewer.show(visitor, gain=float(self.gain.value)))
        self.swap.on_click(lambda _: self._swap())
        visitor.renamed.append(self.say)
        self.say()

    def _swap(self) -> None:
        if len(self.visitor.runs) == 2:
            self.visitor.set_display(chosen=frozenset(), hidden=frozenset(), only=frozenset())
            self.visitor.show_runs(list(reversed(self.visitor.runs)))
            self.viewer.redraw(self.visitor)

    def say(self) -> None:
        """What is compared."""
        if len(self.visitor.runs) < 2:
            self.table.content = "Nothing to compare with: `fieldlab view RUN RUN2`, or make an edit."
            return
        first, second = self.visitor.runs[:2]
        rows = max(len(first.facts), len(second.facts))
        lines = [f"| {first.name} | {second.name} |", "|---|---|"]
        for i in range(rows):
            cells = [run.facts[i] if i < len(run.facts) else "" for run in (first, second)]
            lines.append(f"| {cells[0]} | {cells[1]} |")
        self.table.content = "\n".join(lines)
