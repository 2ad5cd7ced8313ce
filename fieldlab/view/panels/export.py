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
from fieldlab.view.panels.work import Work
from fieldlab.view.places import place
from fieldlab.view.seen import see
from fieldlab.view.tasks import Task

if TYPE_CHECKING:
    from fieldlab.view.server import Viewer
    from fieldlab.view.subject import Subject
    from fieldlab.view.visitor import Visitor

MESH, PARTS, POINTS, LABELS, PICTURE, PAGE = ("mesh", "mesh in parts", "point cloud", "labels of test views", "picture",
                                              "web page")  # fmt: skip
SUFFIXES = {MESH: MESH_SUFFIXES, PARTS: PARTS_SUFFIXES, POINTS: (".ply",), LABELS: ("",),
            PICTURE: (".png", ".jpg"), PAGE: (".html",)}  # fmt: skip
DETAIL = {"128": 128, "256": 256, "384": 384, "512": 512}
MOST_LABELS = 8  # thresholds of labels
PICTURE_HEIGHT = 1080


class ExportPanel:
    """Controls of exports."""

    def __init__(self, viewer: Viewer, visitor: Visitor) -> None:
        self.viewer, self.visitor = viewer, visitor
        gui, segmented = visitor.handle.gui, visitor.subjects[0].hierarchy is not None
        kinds = [kind for kind in SUFFIXES if segmented or kind not in (PARTS, LABELS)]
        self.kind = gui.add_dropdown("What", tuple(kinds), initial_value=MESH)
        self.suffix = gui.add_dropdown("As", SUFFIXES[MESH])
        self.detail = gui.add_dropdown("Cells a side", tuple(DETAIL), initial_value="256", hint="Of a mesh")
        self.name = gui.add_text("File", visitor.subjects[0].name[:60], hint="In the run's folder: exports/")
        self.go = gui.add_button("Export", color="green")
        self.work = Work(viewer, visitor)
        self.kind.on_update(lambda _: self._kind())
        self.go.on_click(lambda _: self._begin())

    def _kind(self) -> None:
        suffixes = SUFFIXES[self.kind.value]
        self.suffix.options = tuple(suffix or "folder" for suffix in suffixes)
        self.detail.visible = self.kind.value in (MESH, PARTS, PAGE)

    def _begin(self) -> None:
        kind, subject = str(self.kind.value), self.visitor.subjects[0]
        if kind in (PARTS, LABELS) and subject.hierarchy is None:
            self.visitor.tell("There are no parts", "Parts are those of the run before its edits; undo them first.")
            return
        suffix = "" if self.suffix.value == "folder" else str(self.suffix.value)
        try:
            path = place(subject.folder, "exports", str(self.name.value), suffix)
        except FieldlabError as error:
            self.visitor.tell("That is no place to write", str(error))
            return
        detail = DETAIL[self.detail.value]
        makers = {MESH: partial(_mesh, subject, path, detail), PARTS: partial(_parts, subject, path, detail),
                  POINTS: partial(_points, subject, path), LABELS: partial(_labels, subject, path),
                  PICTURE: partial(self._picture, path), PAGE: partial(_page, subject, path, detail)}  # fmt: skip
        self.work.begin(Task(f"{kind} {path.name}", makers[kind]))

    def _picture(self, path: Path, task: Task) -> Path:
        visitor = self.visitor
        subject, eye = visitor.subjects[0], visitor.eye()
        look = visitor.fitting(subject, visitor.look)
        width, height = round(PICTURE_HEIGHT * eye.aspect), PICTURE_HEIGHT
        task.tell("drawing", 0.1)
        seen = see(subject.visible(look.hidden, look.only), eye.cameras(width, height), turn=self.viewer.turns.urgent)
        assert seen is not None
        write_picture(path, to_uint8(paint(seen, subject, look)))
        return path


def _surface(subject: Subject, detail: int, task: Task, faces: int | None = None) -> Mesh:
    options = MeshOptions(detail, faces=faces)
    return colored_mesh(subject.model, subject.scene.cameras["train"], options, task.tell)[0]


def _mesh(subject: Subject, path: Path, detail: int, task: Task) -> Path:
    write_mesh(path, _surface(subject, detail, task))
    return path


def _parts(subject: Subject, path: Path, detail: int, task: Task) -> Path:
    assert subject.hierarchy is not None
    assert subject.labeler is not None
    mesh = _surface(subject, detail, task)
    task.tell("parts", 0.9)
    write_parts(path, mesh, leaves_of_faces(mesh, subject.labeler), subject.hierarchy)
    return path


def _points(subject: Subject, path: Path, task: Task) -> Path:
    cameras = subject.scene.cameras["train"]
    cloud = surface_points(subject.model, cameras, on_share=lambda share: task.tell("points", share))
    write_cloud(path, cloud, subject.labeler)
    return path


def _labels(subject: Subject, path: Path, task: Task) -> Path:
    tree = subject.hierarchy
    assert tree is not None
    split = "test" if "test" in subject.scene.cameras else "train"
    write_labels(path, Segmentation(subject.model, tree), subject.scene.cameras[split], subject.scene.names[split],
                 tree.thresholds(MOST_LABELS), lambda done, total: task.tell("views", done / total))  # fmt: skip
    return path


def _page(subject: Subject, path: Path, detail: int, task: Task) -> Path:
    mesh = _surface(subject, detail, task, FACES)
    task.tell("page", 0.9)
    leaf = None if subject.labeler is None else leaves_of_faces(mesh, subject.labeler)
    write_run_page(path, subject.model, subject.scene.cameras["train"], mesh, title=subject.name, leaf=leaf,
                   tree=subject.hierarchy)  # fmt: skip
    return path
