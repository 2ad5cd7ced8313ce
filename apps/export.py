"""fieldlab export: meshes, point clouds and labels in the scene's own world units and axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldlab.apps.options import Device, OptionalFile, OptionalFloat, OptionalInt, RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from fieldlab.apps.progress import Bar
    from fieldlab.export.mesh import Mesh
    from fieldlab.export.surface.extract import MeshReport
    from fieldlab.render.model import RadianceModel
    from fieldlab.segment.segmentation import Segmentation
    from fieldlab.train.session import RunInfo


@dataclass
class Export:
    """Export a colored mesh or point cloud, in the scene's own world units and axes; of a segmented run also a mesh in
    parts and labels of views."""

    run: RunFolder
    """The folder that fieldlab train, distill or segment made."""
    mesh: OptionalFile = None
    """Write a mesh: .glb, .ply or .obj."""
    points: OptionalFile = None
    """Write an oriented point cloud: .ply; of a segmented run with the node of every point's finest part."""
    parts: OptionalFile = None
    """Write a mesh in parts: .glb whose node tree is the hierarchy, .obj with groups, .ply with a node per face."""
    labels: OptionalFile = None
    """Write labels of views to this folder: arrays, 16-bit pictures and COCO annotations."""
    split: str = "test"
    """Whose views get labels: test, val or train."""
    thresholds: int = 16
    """Number of thresholds of the labels, spread over all different cuts."""
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
    from fieldlab.segment.files import read_hierarchy
    from fieldlab.segment.segmentation import Segmentation
    from fieldlab.train.session import load_run

    _check(args)
    console = Console(stderr=True)
    model, info = load_run(args.run, choose_device(args.device))
    segmented = args.parts is not None or args.labels is not None or is_segmented(info)
    segmentation = Segmentation(model, read_hierarchy(info.run.path)) if segmented else None
    with progress_bar(console) as bar:
        if args.mesh is not None or args.parts is not None:
            _export_mesh(args, model, info, segmentation, bar, console)
        if args.points is not None:
            _export_points(args.points, args.count, model, info, segmentation, bar, console)
        if args.labels is not None:
            assert segmentation is not None
            _export_labels(args, info, segmentation, bar, console)


def _check(args: Export) -> None:
    """Say what cannot be written before anything is computed."""
    from fieldlab.errors import ConfigError
    from fieldlab.export.mesh_files import check_mesh_path, check_points_path

    if all(path is None for path in (args.mesh, args.points, args.parts, args.labels)):
        raise ConfigError("there is nothing to export", hint="give --mesh FILE.glb, --points FILE.ply, or both")
    for path in (args.mesh, args.parts):
        if path is not None:
            check_mesh_path(path)
    if args.points is not None:
        check_points_path(args.points)
    if args.labels is not None and args.labels.is_file():
        raise ConfigError("there is a file in the place of the folder", file=args.labels)
    if args.thresholds < 1:
        raise ConfigError("labels are of one threshold at least", field="--thresholds", found=args.thresholds)


def is_segmented(info: RunInfo) -> bool:
    """Whether a run has a tree of parts."""
    from fieldlab.segment.files import TREE

    return (info.run.path / TREE).is_file()


def _export_mesh(
    args: Export, model: RadianceModel, info: RunInfo, segmentation: Segmentation | None, bar: Bar, console: Console
) -> None:
    from fieldlab.export.mesh_files import write_mesh
    from fieldlab.export.parts import leaves_of_faces, write_parts
    from fieldlab.export.surface.extract import extract_mesh

    mesh, report = extract_mesh(
        model, cameras=info.scene.cameras["train"], resolution=args.resolution, level=args.level, faces=args.faces,
        on_progress=bar.share,
    )  # fmt: skip
    if args.mesh is not None:
        write_mesh(args.mesh, mesh)
        console.print(f"{args.mesh}: {describe(mesh, report)}", highlight=False, soft_wrap=True)
    if args.parts is not None:
        assert segmentation is not None
        leaf = leaves_of_faces(mesh, segmentation.labeler)
        write_parts(args.parts, mesh, leaf, segmentation.hierarchy)
        text = f"{len(set(leaf.tolist()))} parts\n  {describe(mesh, report)}"
        console.print(f"{args.parts}: {text}", highlight=False, soft_wrap=True)


def _export_points(
    path: Path, count: int, model: RadianceModel, info: RunInfo, segmentation: Segmentation | None, bar: Bar,
    console: Console,
) -> None:  # fmt: skip
    import torch

    from fieldlab.export.mesh_files import write_points
    from fieldlab.export.points import surface_points

    cloud = surface_points(model, info.scene.cameras["train"], count, lambda share: bar.share("points", share))
    nodes = None
    if segmentation is not None:
        nodes = segmentation.labeler.nodes(torch.from_numpy(cloud.positions).float()).numpy()
    write_points(path, cloud.positions, cloud.normals, cloud.colors, nodes)
    console.print(f"{path}: {len(cloud):,} points", highlight=False, soft_wrap=True)


def _export_labels(args: Export, info: RunInfo, segmentation: Segmentation, bar: Bar, console: Console) -> None:
    from fieldlab.errors import DataError
    from fieldlab.export.labels import write_labels

    assert args.labels is not None
    if args.split not in info.scene.cameras:
        raise DataError("the run has no such split of views", file=info.run.path, field="--split", found=args.split,
                        expected=", ".join(info.scene.cameras))  # fmt: skip
    names = info.scene.names[args.split]
    thresholds = segmentation.hierarchy.thresholds(args.thresholds)
    write_labels(args.labels, segmentation, info.scene.cameras[args.split], names, thresholds,
                 lambda done, total: bar.show("labels", done, total))  # fmt: skip
    console.print(f"{args.labels}: labels of {len(names)} views at {len(thresholds)} thresholds", highlight=False,
                  soft_wrap=True)  # fmt: skip


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
