"""Where everything goes in the folder of a reconstruction."""

from __future__ import annotations

from pathlib import Path


class Products:
    """Paths in the folder ``out``."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.state = out / "reconstruct.json"
        """The record of what is done."""
        self.scene, self.capture = out / "scene", out / "capture.json"
        """Camera poses and undistorted photographs; what capture came to."""
        self.run = out / "run"
        self.numbers, self.sheet = out / "eval.json", out / "sheet.jpg"
        self.video, self.mesh, self.page = out / "orbit.mp4", out / "mesh.glb", out / "index.html"
        self.picture, self.report = out / "summary.jpg", out / "report.html"

    def all(self) -> list[Path]:
        """Everything but the record."""
        return [path for path in vars(self).values() if path not in (self.out, self.state)]
