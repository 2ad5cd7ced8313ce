"""The surface of a run as a colored mesh, in the way that options ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError, require
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.surface.extract import extract_surface
from fieldlab.mesh.surface.report import MeshReport
from fieldlab.mesh.texture.field_colors import textured, vertex_colors
from fieldlab.render.model import RadianceModel

SMALLEST_TEXTURE, LARGEST_TEXTURE = 64, 16384


@dataclass(frozen=True)
class MeshOptions:
    """How a surface becomes a mesh.

    Args:
        resolution: grid cells along the longest side of the box.
        surface: ``depth`` from depth pictures, ``density`` at a level of density, or ``auto``.
        level: density of the surface per world unit; chosen automatically when absent.
        closed: keep the surface also where no camera looked.
        faces: reduce it to about so many triangles.
        texture: texels along a side of the texture; vertex colors when absent.
        normal_map: of what is finer than the triangles; needs a texture.
    """

    resolution: int = 256
    surface: str = "auto"
    level: float | None = None
    closed: bool = False
    faces: int | None = None
    texture: int | None = None
    normal_map: bool = False

    def check(self) -> None:
        """Whether such a mesh can be made, before anything is computed.

        Raises:
            ConfigError: a number is out of its range, or there is a normal map without a texture.
        """
        require(self.faces is None or self.faces >= 4, "--faces", self.faces, "4 or more")
        require(4 <= self.resolution <= 4096, "--resolution", self.resolution, "4 to 4096")
        require(self.level is None or 0 < self.level < math.inf, "--level", self.level, "a number above 0")
        size = self.texture
        require(size is None or SMALLEST_TEXTURE <= size <= LARGEST_TEXTURE, "--texture", size,
                f"{SMALLEST_TEXTURE} to {LARGEST_TEXTURE}")  # fmt: skip
        if self.normal_map and size is None:
            raise ConfigError("a normal map needs a texture", field="--normal-map", hint="give --texture 2048 too")


def colored_mesh(
    model: RadianceModel, cameras: Cameras, options: MeshOptions, on_progress: Callable[[str, float], object]
) -> tuple[Mesh, MeshReport]:
    """The surface with the texture or the vertex colors that the options ask for.

    Args:
        cameras: of the photographs.
        on_progress: called with the stage and the share of it that is done.

    Raises:
        ConfigError: there is no surface.
    """
    made = extract_surface(
        model, cameras=cameras, resolution=options.resolution, level=options.level, faces=options.faces,
        method=options.surface, closed=options.closed, on_progress=on_progress,
    )  # fmt: skip
    if options.texture is None:
        made.mesh.colors = vertex_colors(
            model, made.mesh, made.directions, made.near, made.far, lambda share: on_progress("color", share)
        )
        return made.mesh, made.report
    mesh = textured(
        model, made.mesh, options.texture, made.directions, near=made.near, far=made.far,
        normal_map=made.normals_at if options.normal_map else None,
        on_share=lambda share: on_progress("texture", share),
    )  # fmt: skip
    return mesh, made.report
