"""Segments: a slider over the threshold, the segment under the cursor, and the hierarchy to walk in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fieldlab.errors import FieldlabError
from fieldlab.files import write_json
from fieldlab.segment.files import TREE, tree_of

if TYPE_CHECKING:
    import viser

    from fieldlab.segment.hierarchy import Hierarchy
    from fieldlab.view.server import Viewer
    from fieldlab.view.visitor import Visitor

LEVELS = 60
MOST_CHILDREN = 10  # shown as buttons


class SegmentsPanel:
    """Controls of the segments of the run that is the first one when the page opens, wherever it is shown later."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        self.run = visitor.parted
        self._growing = threading.Lock()  # anybody's renaming makes the tree anew, on a thread of its own
        tree = self.run.hierarchy
        assert tree is not None
        self.tree: Hierarchy = tree
        self.thresholds = tree.thresholds(LEVELS).tolist()
        self.pointed: int | None = None  # row of the finest segment that was pointed at
        gui = visitor.handle.gui
        start = LEVELS // 2
        visitor.set_display(threshold=self.thresholds[start])
        self.slider = gui.add_slider(
            "Threshold", 0, LEVELS - 1, 1, start, hint="Finer segments left, coarser ones right"
        )
        self.count = gui.add_markdown("")
        self.tint = gui.add_slider("Tint", 0.0, 1.0, 0.05, visitor.display.tint)
        self.many = gui.add_checkbox("Select several", False, hint="A click adds to the selection, or takes from it")
        self.chosen = gui.add_markdown("Click on a segment.")
        self.walk = gui.add_button_group("Go to", ("parent", "child"), hint="Up, or back down towards what was clicked")
        self.act = gui.add_button_group("Selection", ("isolate", "hide", "show all", "clear"))
        self.name = gui.add_text("Name", "")
        self.rename = gui.add_button("Rename")
        self.folder = gui.add_folder("Hierarchy")
        self._buttons: list[viser.GuiButtonHandle] = []
        self.slider.on_update(lambda _: self._set_threshold())
        self.tint.on_update(lambda _: viewer.show(visitor, tint=float(self.tint.value)))
        self.walk.on_click(lambda event: self._walk(event.target.value))
        self.act.on_click(lambda event: self._act(event.target.value))
        self.rename.on_click(lambda _: self._rename())
        visitor.handle.scene.on_click()(self._click)
        visitor.renamed.append(self._say)
        self._say()

    def _set_threshold(self) -> None:
        self.viewer.show(self.visitor, threshold=self.thresholds[int(self.slider.value)])
        self._say()

    def _click(self, event: viser.SceneClickEvent) -> None:
        run = self.run
        if self.visitor.display.compare != "one run" or self.visitor.runs[0] is not run:
            return
        point = self.visitor.point_at(event.ray_origin, event.ray_direction)
        if point is None:
            return
        assert run.labeler is not None
        leaf = int(run.labeler.leaves(point[None])[0])
        if leaf >= 0:
            self.pointed = leaf
            self.choose(int(self.tree.cut(self.visitor.display.threshold)[leaf]))

    def choose(self, row: int) -> None:
        """Choose a segment, or take it away again where several may be chosen."""
        node = int(self.tree.ids[row])
        now = self.visitor.display.chosen
        made = now ^ {node} if self.many.value else frozenset({node})
        self.viewer.show(self.visitor, chosen=frozenset(made))
        self._say()

    def _walk(self, way: str) -> None:
        row = self._one()
        if row is None:
            return
        if way == "parent":
            to = int(self.tree.parent[row])
        else:
            to = self._towards_pointed(row)
        if to >= 0:
            self.viewer.show(self.visitor, chosen=frozenset({int(self.tree.ids[to])}))
            self._say()

    def _towards_pointed(self, row: int) -> int:
        """The child of a segment that holds what was clicked, or its largest; -1 for none."""
        at = self.pointed
        while at is not None and at >= 0 and int(self.tree.parent[at]) != row:
            at = int(self.tree.parent[at])
        if at is not None and at >= 0:
            return at
        children = self.tree.children(row)
        sizes = self.tree.sizes
        return max(children, key=lambda child: int(sizes[child]), default=-1)

    def _act(self, what: str) -> None:
        display = self.visitor.display
        if what == "clear":
            self.viewer.show(self.visitor, chosen=frozenset())
        elif what == "show all":
            self.viewer.show(self.visitor, only=frozenset(), hidden=frozenset())
        elif what == "isolate" and display.chosen:
            self.viewer.show(self.visitor, only=display.chosen, hidden=frozenset())
        elif what == "hide" and display.chosen:
            self.viewer.show(self.visitor, hidden=display.hidden | display.chosen, chosen=frozenset())
        self._say()

    def _rename(self) -> None:
        row, name = self._one(), self.name.value.strip()
        if row is None or not name:
            return
        self.tree.names[row] = name[:200]
        folder = self.run.folder
        try:
            if folder is not None:
                write_json(folder / TREE, tree_of(self.tree))
        except FieldlabError as error:
            self.visitor.tell("The name could not be saved", str(error))
        self.viewer.renamed()

    def _one(self) -> int | None:
        chosen = self.visitor.display.chosen
        return self.tree.row_of(next(iter(chosen))) if len(chosen) == 1 else None

    def _say(self) -> None:
        with self._growing:
            self._tell()

    def _tell(self) -> None:
        display, there = self.visitor.display, self.visitor.runs[0] is self.run
        of = "" if there else f" of {self.run.name}, which is not the first run shown: select in the hierarchy"
        count = len(self.tree.parts(display.threshold))
        self.count.content = f"{count} segments at threshold {display.threshold:.3f}{of}"
        row = self._one()
        if row is None:
            self.chosen.content = (
                f"{len(display.chosen)} segments are selected." if display.chosen else "Click on a segment."
            )
        else:
            sizes = self.tree.sizes
            self.chosen.content = (
                f"**{self.tree.names[row]}** (node {int(self.tree.ids[row])}), {int(sizes[row]):,} points, "
                f"from threshold {float(self.tree.birth[row]):.3f} on"
            )
            self.name.value = self.tree.names[row]  # type: ignore[misc]
        self._grow(row)

    def _grow(self, row: int | None) -> None:
        """The tree around a segment: those above it, and its children, all to be clicked."""
        for button in self._buttons:
            button.remove()
        self._buttons.clear()
        at = int((self.tree.parent < 0).nonzero()[0]) if row is None else row
        above: list[int] = []
        up = int(self.tree.parent[at])
        while up >= 0:
            above.insert(0, up)
            up = int(self.tree.parent[up])
        sizes = self.tree.sizes
        children = sorted(self.tree.children(at), key=lambda child: -int(sizes[child]))
        gui = self.visitor.handle.gui
        with self.folder:
            for depth, each in enumerate([*above[-4:], at]):
                self._buttons.append(self._button(gui, each, depth, each == at))
            for child in children[:MOST_CHILDREN]:
                self._buttons.append(self._button(gui, child, min(len(above), 4) + 1, False))

    def _button(self, gui: viser.GuiApi, row: int, depth: int, here: bool) -> viser.GuiButtonHandle:
        label = "\u00b7 " * depth + self.tree.names[row] + (" ←" if here else "")
        color = tuple(int(v) for v in self.tree.colors[row])
        made = gui.add_button(label, color=color)  # type: ignore[arg-type]
        made.on_click(lambda _: self.choose(row))
        return made
