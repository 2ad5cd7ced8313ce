"""A visitor's page: tabs with controls, in the order people need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldlab.view.panels.compare import ComparePanel
from fieldlab.view.panels.display import DisplayPanel
from fieldlab.view.panels.edit import EditPanel
from fieldlab.view.panels.export import ExportPanel
from fieldlab.view.panels.path import PathPanel
from fieldlab.view.panels.scene import ScenePanel
from fieldlab.view.panels.segments import SegmentsPanel
from fieldlab.view.panels.training import TrainingPanel

if TYPE_CHECKING:
    from fieldlab.view.server import Viewer
    from fieldlab.view.training import Training
    from fieldlab.view.visitor import Visitor


class Page:
    """All controls of one visitor.

    Args:
        viewer: that serves the page.
        visitor: whose page it is.
        training: whose curves are shown, if the run is being trained.
    """

    def __init__(self, viewer: Viewer, visitor: Visitor, training: Training | None = None) -> None:
        tabs = visitor.handle.gui.add_tab_group()
        if training is not None:
            with tabs.add_tab("Training"):
                panel = TrainingPanel(training, visitor)
                visitor.leaving.append(panel.leave)
        with tabs.add_tab("Display"):
            self.display = DisplayPanel(viewer, visitor)
        if visitor.runs[0].hierarchy is not None:
            with tabs.add_tab("Segments"):
                self.segments = SegmentsPanel(viewer, visitor)
        with tabs.add_tab("A/B"):
            self.compare = ComparePanel(viewer, visitor)
        if training is None:  # an edited field is a copy around the same weights, which then would learn no more
            with tabs.add_tab("Edit"):
                self.edit = EditPanel(viewer, visitor)
        with tabs.add_tab("Scene"):
            self.scene = ScenePanel(viewer, visitor)
        with tabs.add_tab("Path"):
            self.path = PathPanel(viewer, visitor)
        with tabs.add_tab("Export"):
            self.export = ExportPanel(viewer, visitor)
