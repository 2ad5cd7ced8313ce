"""What a run can be saved as, made by the server and handed to the browser."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fieldlab.errors import FieldlabError
from fieldlab.export.labels import write_labels
from fieldlab.export.meshes import MeshOptions, colored_mesh
from fieldlab.export.parts import leaves_of_faces, write_parts
from fieldlab.export.points import surface_points, write_cloud
from fieldlab.export.web.run_page import FACES, write_run_page
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.write import MESH_SUFFIXES, PARTS_SUFFIXES, write_mesh
from fieldlab.pictures.sheets import to_uint8, write_picture
from fieldlab.segment.segmentation import Segmentation
from fieldlab.view.channels import paint
from fieldlab.view.gbuffer import render_gbuffer
from fieldlab.view.panels.work import Work
from fieldlab.view.places import place
from fieldlab.view.tasks import Task

if TYPE_CHECKING:
    from fieldlab.view.server import Viewer
    from fieldlab.view.shown_run import ShownRun
    from fieldlab.view.visitor import Visitor

MESH, PARTS, POINTS = "mesh", "mesh in segments", "point cloud"
LABELS, PICTURE, PAGE = "labels of test views", "picture", "web page"
SUFFIXES = {MESH: MESH_SUFFIXES, PARTS: PARTS_SUFFIXES, POINTS: (".ply",), LABELS: ("",),
            PICTURE: (".png", ".jpg"), PAGE: (".html",)}  # fmt: skip
DETAIL = {"128": 128, "256": 256, "384": 384, "512": 512}
MOST_LABELS = 8  # thresholds of labels
PICTURE_HEIGHT = 1080


class ExportPanel:
    """Controls of exports."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        gui, segmented = visitor.handle.gui, visitor.runs[0].hierarchy is not None
        kinds = [kind for kind in SUFFIXES if segmented or kind not in (PARTS, LABELS)]
        self.kind = gui.add_dropdown("What", tuple(kinds), initial_value=MESH)
        self.suffix = gui.add_dropdown("As", SUFFIXES[MESH])
        self.detail = gui.add_dropdown(
            "Resolution", tuple(DETAIL), initial_value="256", hint="Grid cells along a side of the box"
        )
        self.name = gui.add_text("File", visitor.runs[0].name[:60], hint="In the run's folder: exports/")
        self.go = gui.add_button("Export", color="green")
        self.work = Work(viewer, visitor)
        self.kind.on_update(lambda _: self._kind())
        self.go.on_click(lambda _: self._begin())

    def _kind(self) -> None:
        suffixes = SUFFIXES[self.kind.value]
        self.suffix.options = tuple(suffix or "folder" for suffix in suffixes)
        self.detail.visible = self.kind.value in (MESH, PARTS, PAGE)

    def _begin(self) -> None:
        kind, run = str(self.kind.value), self.visitor.runs[0]
        if kind in (PARTS, LABELS) and run.hierarchy is None:
            self.visitor.tell("There are no segments", "They belong to the run before its edits; undo those first.")
            return
        suffix = "" if self.suffix.value == "folder" else str(self.suffix.value)
        try:
            path = place(run.folder, "exports", str(self.name.value), suffix)
        except FieldlabError as error:
            self.visitor.tell("The file cannot be written", str(error))
            return
        detail = DETAIL[self.detail.value]
        makers = {MESH: partial(_mesh, run, path, detail), PARTS: partial(_parts, run, path, detail),
                  POINTS: partial(_points, run, path), LABELS: partial(_labels, run, path),
                  PICTURE: partial(self._picture, path), PAGE: partial(_page, run, path, detail)}  # fmt: skip
        self.work.begin(Task(f"{kind} {path.name}", makers[kind]))

    def _picture(self, path: Path, task: Task) -> Path:
        visitor = self.visitor
        run, eye = visitor.runs[0], visitor.eye()
        display = visitor.fitting(run, visitor.display)
        width, height = round(PICTURE_HEIGHT * eye.aspect), PICTURE_HEIGHT
        task.tell("rendering", 0.1)
        model, cameras = run.visible(display.hidden, display.only), eye.cameras(width, height)
        pixels = render_gbuffer(model, cameras, turn=self.viewer.turns.urgent)
        assert pixels is not None
        write_picture(path, to_uint8(paint(pixels, run, display)))
        return path


def _surface(run: ShownRun, detail: int, task: Task, faces: int | None = None) -> Mesh:
    options = MeshOptions(detail, faces=faces)
    return colored_mesh(run.model, run.scene.cameras["train"], options, task.tell)[0]


def _mesh(run: ShownRun, path: Path, detail: int, task: Task) -> Path:
    write_mesh(path, _surface(run, detail, task))
    return path


def _parts(run: ShownRun, path: Path, detail: int, task: Task) -> Path:
    assert run.hierarchy is not None
    assert run.labeler is not None
    mesh = _surface(run, detail, task)
    task.tell("segments", 0.9)
    write_parts(path, mesh, leaves_of_faces(mesh, run.labeler), run.hierarchy)
    return path


def _points(run: ShownRun, path: Path, task: Task) -> Path:
    cameras = run.scene.cameras["train"]
    cloud = surface_points(run.model, cameras, on_share=lambda share: task.tell("points", share))
    write_cloud(path, cloud, run.labeler)
    return path


def _labels(run: ShownRun, path: Path, task: Task) -> Path:
    tree = run.hierarchy
    assert tree is not None
    split = "test" if "test" in run.scene.cameras else "train"
    write_labels(path, Segmentation(run.model, tree), run.scene.cameras[split], run.scene.names[split],
                 tree.thresholds(MOST_LABELS), lambda done, total: task.tell("views", done / total))  # fmt: skip
    return path


def _page(run: ShownRun, path: Path, detail: int, task: Task) -> Path:
    mesh = _surface(run, detail, task, FACES)
    task.tell("page", 0.9)
    leaf = None if run.labeler is None else leaves_of_faces(mesh, run.labeler)
    write_run_page(path, run.model, run.scene.cameras["train"], mesh, title=run.name, leaf=leaf,
                   tree=run.hierarchy)  # fmt: skip
    return path
