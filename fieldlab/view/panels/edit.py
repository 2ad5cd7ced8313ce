"""Edits: select a box, a sphere or a segment, say what becomes of it, see the result, save it as a run."""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from fieldlab.edit.editing import edited_model
from fieldlab.errors import ConfigError, FieldlabError
from fieldlab.fields.registry import spelled
from fieldlab.segment.edited import write_edited_run
from fieldlab.segment.finder import finder
from fieldlab.view.panels.work import Work
from fieldlab.view.places import place
from fieldlab.view.shown_run import ShownRun
from fieldlab.view.tasks import Task

if TYPE_CHECKING:
    from pathlib import Path

    from fieldlab.view.server import Viewer
    from fieldlab.view.visitor import Visitor

VERBS = ("remove", "keep", "move", "duplicate", "recolor")
SHAPES = ("box", "sphere", "selected segment")


class EditPanel:
    """Controls of edits. The gizmo at the selection moves it; the one beside it says where a moved or duplicated thing
    goes."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        self.original = visitor.runs[0]
        self.edits: list[str] = []
        self.edited: ShownRun | None = None  # the run with these edits
        low, high = self.original.box
        self.center, self.reach = (low + high) / 2, float((high - low).max())
        gui = visitor.handle.gui
        shapes = SHAPES if self.original.hierarchy is not None else SHAPES[:2]
        self.shape = gui.add_dropdown("Select by", shapes)
        self.shown = gui.add_checkbox("Show the selection", False)
        self.size = gui.add_vector3("Size", (round(self.reach / 4, 4),) * 3, min=(1e-4, 1e-4, 1e-4), step=1e-3,
                                    hint="Of a box; of a sphere the first is its diameter")  # fmt: skip
        self.verb = gui.add_dropdown("Operation", VERBS)
        self.color = gui.add_rgb("Color", (230, 60, 40), visible=False)
        self.scale = gui.add_number("Scale", 1.0, min=0.01, max=100.0, step=0.01, visible=False)
        self.add = gui.add_button("Apply", color="green")
        self.undo = gui.add_button_group("Edits", ("undo last", "undo all"))
        self.list = gui.add_markdown("No edits yet.")
        self.name = gui.add_text("Name", "edited", hint="In the run's folder: edited/")
        self.save = gui.add_button("Save as a run")
        self.said = gui.add_markdown("")
        self.work = Work(viewer, visitor)
        self._nodes: dict[str, Any] = {}
        self.shown.on_update(lambda _: self._show())
        self.shape.on_update(lambda _: self._show())
        self.size.on_update(lambda _: self._resize())
        self.verb.on_update(lambda _: self._verb())
        self.add.on_click(lambda _: self._add())
        self.undo.on_click(lambda event: self._undo(str(event.target.value)))
        self.save.on_click(lambda _: self._save())

    def _verb(self) -> None:
        moves = self.verb.value in ("move", "duplicate")
        self.color.visible = self.verb.value == "recolor"
        self.scale.visible = moves
        self.shown.value = True  # type: ignore[misc]
        self._show()

    def _show(self) -> None:
        """Gizmos and the outline of the selection, as far as they are wanted."""
        scene, length = self.visitor.handle.scene, 0.12 * self.reach
        if "from" not in self._nodes:
            at = self.center.numpy()
            beside = at + np.array([self.reach / 4, 0, 0])
            self._nodes["from"] = scene.add_transform_controls("/edit/from", length, position=at,
                                                               disable_rotations=True)  # fmt: skip
            self._nodes["to"] = scene.add_transform_controls("/edit/to", length, position=beside, visible=False)
            self._resize()
        by_hand, moves = self.shape.value != SHAPES[2], self.verb.value in ("move", "duplicate")
        on = bool(self.shown.value)
        self._nodes["from"].visible = on and by_hand
        self._nodes["outline"].visible = on and by_hand
        self._nodes["to"].visible = on and moves
        self.visitor.thing("edit", on)
        self.viewer.redraw(self.visitor)

    def _resize(self) -> None:
        if "from" not in self._nodes:
            return
        scene, size = self.visitor.handle.scene, np.array(self.size.value, float)
        if "outline" in self._nodes:
            self._nodes["outline"].remove()
        if self.shape.value == SHAPES[1]:
            made = scene.add_icosphere("/edit/from/outline", float(size[0]) / 2, (230, 120, 20), wireframe=True)
        else:
            made = scene.add_box("/edit/from/outline", (230, 120, 20), size, wireframe=True)  # type: ignore[assignment]
        self._nodes["outline"] = made

    def line(self) -> str:
        """The edit as a line.

        Raises:
            FieldlabError: not exactly one segment is selected.
        """
        if self.shape.value == SHAPES[2]:
            chosen = self.visitor.display.chosen
            if len(chosen) != 1:
                raise ConfigError(
                    "one segment is edited at a time", found=f"{len(chosen)} selected", hint="click on one"
                )
            node = next(iter(chosen))
            selection, middle = f"part {node}", self._middle_of(node)
        else:
            self._show()
            middle = np.asarray(self._nodes["from"].position, float)
            size = np.array([float(v) for v in self.size.value])
            sphere = self.shape.value == SHAPES[1]
            numbers = [*middle, size[0] / 2] if sphere else [*(middle - size / 2), *(middle + size / 2)]
            selection = f"{self.shape.value} " + " ".join(f"{v:.6g}" for v in numbers)
        return f"{self.verb.value} {selection}{self._change(middle)}"

    def _middle_of(self, node: int) -> np.ndarray:
        tree = self.original.hierarchy
        assert tree is not None
        points = tree.points[tree.within(tree.row_of(node))]
        return ((points.amin(0) + points.amax(0)) / 2).numpy().astype(float)

    def _change(self, middle: np.ndarray) -> str:
        """What follows the selection: where it goes, or its color."""
        if self.verb.value == "recolor":
            return " to " + " ".join(f"{v / 255:.3f}" for v in self.color.value)
        if self.verb.value not in ("move", "duplicate"):
            return ""
        to = self._nodes["to"]
        words = " by " + " ".join(f"{v:.6g}" for v in np.asarray(to.position, float) - middle)
        w, x, y, z = (float(v) for v in to.wxyz)
        turn = Rotation.from_quat([x, y, z, w]).as_rotvec(degrees=True)
        degrees = float(np.linalg.norm(turn))
        if degrees > 0.1:
            words += " turn " + " ".join(f"{v / degrees:.6g}" for v in turn) + f" {degrees:.6g}"
        return words if abs(self.scale.value - 1) < 1e-6 else f"{words} scale {float(self.scale.value):.6g}"

    def _add(self) -> None:
        try:
            line = self.line()
        except FieldlabError as error:
            self.visitor.tell("Nothing was done", str(error))
            return
        self._apply([*self.edits, line])

    def _undo(self, what: str) -> None:
        self._apply([] if what == "undo all" else self.edits[:-1])

    def _apply(self, edits: list[str]) -> None:
        """Show the visitor the run with these edits, and the original beside it."""
        if not edits:
            self._show_edited(edits, None, [self.original, *self.viewer.runs[1:]])
            return

        def work(task: Task) -> None:
            task.tell("editing", 0.2)
            generator = torch.Generator().manual_seed(0)
            with self.viewer.turns.urgent():
                made = edited_model(self.original.model, edits, generator, finder(self.original.hierarchy))
            run = ShownRun(f"{self.original.name}, edited", made, self.original.scene, folder=self.original.folder,
                              source=self.original.source, facts=(f"{len(edits)} edits",))  # fmt: skip
            self._show_edited(edits, run, [run, self.original])

        self.work.begin(Task("edit", work))

    def _show_edited(self, edits: list[str], edited: ShownRun | None, runs: list[ShownRun]) -> None:
        self.edits, self.edited = edits, edited
        self.list.content = "\n".join(f"{i + 1}. `{text}`" for i, text in enumerate(edits)) or "No edits yet."
        self.visitor.set_display(chosen=frozenset(), hidden=frozenset(), only=frozenset(), channel="color")
        self.visitor.show_runs(runs)
        self.viewer.redraw(self.visitor)

    def _save(self) -> None:
        info = self.original.info
        if self.edited is None or info is None:
            self.visitor.tell("Nothing was saved", "There are no edits of a finished run.")
            return
        edited, name = self.edited.model, str(self.name.value)

        def work(task: Task) -> Path:
            task.tell("writing", 0.5)
            out = self._free(name)
            write_edited_run(out, edited, info)
            kind = spelled(edited.field.shown.config)
            self.said.content = f"A field of its own: `fieldlab distill {out} --to {kind}`"
            return out

        self.work.begin(Task(f"run {name}", work))

    def _free(self, name: str) -> Path:
        """Where nothing is yet: at a name, or at the first number after it.

        Raises:
            ConfigError: it is no name.
        """
        tried = chain([name], (f"{name}-{i}" for i in count(2)))
        places = (place(self.original.folder, "edited", each) for each in tried)
        return next(out for out in places if not out.exists())
