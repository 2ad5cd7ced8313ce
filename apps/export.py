"""fieldlab export: a colored mesh or point cloud in the scene's own world units and axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldlab.apps.options import Device, OptionalFile, OptionalFloat, OptionalInt, RunFolder

if TYPE_CHECKING:
    from fieldlab.export.mesh import Mesh, MeshReport


@dataclass
class Export:
    """Export a colored mesh or point cloud, in the scene's own world units and axes."""

    run: RunFolder
    """The folder that fieldlab train made."""
    mesh: OptionalFile = None
    """Write a mesh: .glb, .ply or .obj."""
    points: OptionalFile = None
    """Write an oriented point cloud: .ply."""
    resolution: int = 256
    """Cells of the mesh along the longest side of the box."""
    level: OptionalFloat = None
    """Density of the surface per world unit. By default one at which a thin wall stops half the light, or less where
    the cameras see softer things."""
    faces: OptionalInt = None
    """Reduce the mesh to about this many triangles."""
    count: int = 300_000
    """Most points of the point cloud."""
    device: Device = "auto"
    """Where to evaluate the field."""


def run(args: Export) -> None:
    """Export with progress and say what was made."""
    from rich.console import Console

    from fieldlab.apps.progress import progress_bar
    from fieldlab.apps.train import choose_device
    from fieldlab.errors import ConfigError
    from fieldlab.export.mesh import extract_mesh
    from fieldlab.export.mesh_files import check_mesh_path, check_points_path, write_mesh, write_points
    from fieldlab.export.points import surface_points
    from fieldlab.train.session import load_run

    if args.mesh is None and args.points is None:
        raise ConfigError("there is nothing to export", hint="give --mesh FILE.glb, --points FILE.ply, or both")
    if args.mesh is not None:
        check_mesh_path(args.mesh)
    if args.points is not None:
        check_points_path(args.points)
    console = Console(stderr=True)
    model, info = load_run(args.run, choose_device(args.device))
    with progress_bar(console) as bar:
        if args.mesh is not None:
            mesh, report = extract_mesh(
                model,
                cameras=info.scene.cameras["train"],
                resolution=args.resolution,
                level=args.level,
                faces=args.faces,
                on_progress=bar.share,
            )
            write_mesh(args.mesh, mesh)
            console.print(f"{args.mesh}: {describe(mesh, report)}", highlight=False, soft_wrap=True)
        if args.points is not None:
            cameras = info.scene.cameras["train"]
            cloud = surface_points(model, cameras, args.count, lambda share: bar.share("points", share))
            write_points(args.points, cloud.positions, cloud.normals, cloud.colors)
            console.print(f"{args.points}: {len(cloud):,} points", highlight=False, soft_wrap=True)


def describe(mesh: Mesh, report: MeshReport) -> str:
    """A sentence on a mesh and how it was made."""
    how = "chosen automatically" if report.automatic else "as asked for"
    low, high = report.densities
    text = (
        f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces\n"
        f"  surface at a density of {report.level:.4g} per world unit, {how} (the grid holds {low:.2g} to {high:.2g}); "
        f"cells of {report.cell:.4g}"
    )
    if report.parts_removed:
        text += f"\n  {report.parts_removed} floaters with {report.faces_removed:,} faces removed"
    return text
