"""One HTML file that shows a mesh of a run without any server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fieldlab.export.mesh import Mesh
from fieldlab.files import write_text
from fieldlab.view.ports import LOCAL, free_port

if TYPE_CHECKING:
    from fieldlab.view.subject import Subject


def standalone_page(path: Path, subject: Subject, mesh: Mesh) -> None:
    """Write the page: the mesh with its colors, the box of the scene, and the first photograph's camera to look from.

    Raises:
        RunFolderError: the file cannot be written.
    """
    import viser

    server = viser.ViserServer(host=LOCAL, port=free_port(LOCAL, 0), verbose=False)
    try:
        server.scene.set_up_direction(tuple(subject.up.tolist()))
        server.scene.add_mesh_trimesh("/mesh", mesh.to_trimesh())
        first = subject.scene.cameras["train"][0].camera_to_world[0]
        server.initial_camera.position = tuple(first[:, 3].tolist())
        server.initial_camera.look_at = tuple(subject.middle.tolist())
        server.initial_camera.up = tuple(subject.up.tolist())
        write_text(path, server.scene.as_html())
    finally:
        server.stop()
