"""fieldlab export: what a run has learnt, as files for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fieldlab.apps.options import Device, OptionalFile, OptionalFloat, OptionalInt, RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from fieldlab.apps.progress import Bar
    from fieldlab.mesh.placement import Placement
    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.load import RunInfo
    from fieldlab.segment.segmentation import Segmentation


@dataclass
class Export:
    """Export what a run has learnt for other programs: a mesh with colors or a texture, a mesh in parts, a web page, a
    point cloud, labels, maps and cameras; in the scene's own world units and axes unless others are asked for."""

    run: RunFolder
    """The folder that fieldlab train, distill or segment made."""
    mesh: OptionalFile = None
    """Write a mesh: .glb, .obj, .ply or .stl."""
    parts: OptionalFile = None
    """Write a mesh in parts: .glb whose node tree is the hierarchy, .obj with groups, .ply with a node per face."""
    html: OptionalFile = None
    """Write the mesh, and of a segmented run its parts, as one page that opens in a browser without a server."""
    points: OptionalFile = None
    """Write an oriented point cloud with confidences: .ply; of a segmented run with the node of every point's finest
    part."""
    labels: OptionalFile = None
    """Write labels of views to this folder: arrays, 16-bit pictures and COCO annotations."""
    maps: OptionalFile = None
    """Write pictures, maps and cameras of views to this folder: a capture that other programs and fieldlab train on."""
    cameras: OptionalFile = None
    """Write the cameras for nerfstudio and COLMAP, with points, to this folder."""
    resolution: int = 256
    """Cells of the mesh along the longest side of the box."""
    surface: Literal["auto", "depth", "density"] = "auto"
    """Find the surface from the depth that the cameras agree on, or at a level of density; depth unless there is a
    --level."""
    level: OptionalFloat = None
    """Density of the surface per world unit. By default one at which a thin wall stops half the light, or less where
    the cameras see softer things."""
    closed: bool = False
    """Close the mesh where no camera looked, and every part where others were cut away."""
    faces: OptionalInt = None
    """Reduce the mesh to about this many triangles; by default textured meshes and pages to 200000."""
    texture: OptionalInt = None
    """Give meshes a texture of so many texels on a side, such as 2048, in place of vertex colors."""
    normal_map: bool = False
    """Give the texture a normal map of what is finer than the triangles."""
    axes: Literal["input", "y-up", "z-up", "opencv"] = "input"
    """Turn meshes and points until up is where other programs expect it: y-up for glTF and Unity, z-up for Blender,
    opencv for y down. Recorded in the file."""
    scale: float = 1.0
    """Length of the scene's unit in meshes and point clouds, such as 100 for centimeters from meters. Recorded in the
    file."""
    count: int = 300_000
    """Most points of the point cloud."""
    split: str = "test"
    """Whose views get labels: test, val or train."""
    thresholds: int = 16
    """Number of thresholds of the labels, spread over all different cuts."""
    views: str = "all"
    """Whose maps and cameras: train, test, val, all, or a camera path (.json)."""
    kinds: tuple[Literal["depth", "normal", "opacity", "label"], ...] = ("depth", "normal", "opacity")
    """Which maps besides the pictures."""
    map_format: Literal["exr", "png"] = "exr"
    """Of depth and normals: 32-bit floats, or 16 and 8 bits."""
    threshold: OptionalFloat = None
    """Of the label maps; the middle one of all different cuts by default."""
    device: Device = "auto"
    """Where to evaluate the field."""


def run(args: Export) -> None:
    """Export with progress and say what was made."""
    from rich.console import Console

    from fieldlab.apps.export_maps import export_cameras, export_maps
    from fieldlab.apps.export_mesh import export_mesh
    from fieldlab.apps.progress import progress_bar
    from fieldlab.apps.train import choose_device
    from fieldlab.mesh.placement import placement
    from fieldlab.pictures.camera_path import up_direction
    from fieldlab.runs.load import load_run
    from fieldlab.segment.files import read_hierarchy
    from fieldlab.segment.segmentation import Segmentation

    _check(args)
    console = Console(stderr=True)
    model, info = load_run(args.run, choose_device(args.device))
    segmented = args.parts is not None or args.labels is not None or is_segmented(info)
    segmentation = Segmentation(model, read_hierarchy(info.run.path)) if segmented else None
    _check_run(args, info)
    placed = placement(args.axes, args.scale, up_direction(info.scene.cameras["train"]))
    with progress_bar(console) as bar:
        if any(path is not None for path in (args.mesh, args.parts, args.html)):
            export_mesh(args, model, info, segmentation, placed, bar, console)
        if args.points is not None:
            _export_points(args.points, args.count, model, info, segmentation, placed, bar, console)
        if args.labels is not None:
            assert segmentation is not None
            _export_labels(args, info, segmentation, bar, console)
        if args.maps is not None:
            export_maps(args.maps, args.kinds, args.map_format, args.views, model, info, segmentation, args.threshold,
                        bar, console)  # fmt: skip
        if args.cameras is not None:
            export_cameras(args.cameras, args.views, model, info, bar, console)


def _check(args: Export) -> None:
    """Say what cannot be written before anything is computed."""
    from fieldlab.apps.export_maps import check_cameras_folder, check_maps_options, check_views
    from fieldlab.apps.export_mesh import check_mesh_options
    from fieldlab.errors import ConfigError
    from fieldlab.files import check_writable
    from fieldlab.mesh.placement import placement
    from fieldlab.mesh.write import check_points_path

    products = (args.mesh, args.parts, args.html, args.points, args.labels, args.maps, args.cameras)
    if all(path is None for path in products):
        raise ConfigError("there is nothing to export", hint="give --mesh FILE.glb, --points FILE.ply, or another")
    given = [path for path in products if path is not None]
    if len({path.resolve() for path in given}) < len(given):
        raise ConfigError("two exports have the same name", found=", ".join(map(str, given)))
    check_mesh_options(args)
    placement(args.axes, args.scale)
    if args.points is not None:
        check_points_path(args.points)
    if args.labels is not None and args.labels.is_file():
        raise ConfigError("there is a file in the place of the folder", file=args.labels)
    if args.thresholds < 1:
        raise ConfigError("labels are of one threshold at least", field="--thresholds", found=args.thresholds)
    if args.maps is not None:  # whether the run has parts is known once it is open
        check_maps_options(args.maps, args.kinds, args.map_format, args.views, args.threshold, segmented=True)
    if args.cameras is not None:
        check_cameras_folder(args.cameras)
        check_views(args.views)
    for path in given:
        check_writable(path)


def _check_run(args: Export, info: RunInfo) -> None:
    """Say what this run does not have, before anything is computed."""
    from fieldlab.apps.export_maps import check_maps_options, choose_views

    if args.labels is not None:
        _check_split(args, info)
    if args.maps is not None or args.cameras is not None:
        choose_views(args.views, info)
    if args.maps is not None:
        check_maps_options(args.maps, args.kinds, args.map_format, args.views, args.threshold, is_segmented(info))


def _check_split(args: Export, info: RunInfo) -> None:
    from fieldlab.errors import DataError

    if args.split not in info.scene.cameras:
        raise DataError("the run has no such split of views", file=info.run.path, field="--split", found=args.split,
                        expected=", ".join(info.scene.cameras))  # fmt: skip


def is_segmented(info: RunInfo) -> bool:
    """Whether a run has a tree of parts."""
    from fieldlab.segment.files import TREE

    return (info.run.path / TREE).is_file()


def _export_points(
    path: Path, count: int, model: RadianceModel, info: RunInfo, segmentation: Segmentation | None,
    placed: Placement, bar: Bar, console: Console,
) -> None:  # fmt: skip
    import torch

    from fieldlab.export.points import surface_points
    from fieldlab.mesh.write import write_points

    cloud = surface_points(model, info.scene.cameras["train"], count, lambda share: bar.share("points", share))
    nodes = None
    if segmentation is not None:
        nodes = segmentation.labeler.nodes(torch.from_numpy(cloud.positions).float()).numpy()
    write_points(path, cloud.positions, cloud.normals, cloud.colors, nodes, cloud.confidence, placed)
    console.print(f"{path}: {len(cloud):,} points", highlight=False, soft_wrap=True)


def _export_labels(args: Export, info: RunInfo, segmentation: Segmentation, bar: Bar, console: Console) -> None:
    from fieldlab.export.labels import write_labels

    assert args.labels is not None
    names = info.scene.names[args.split]
    thresholds = segmentation.hierarchy.thresholds(args.thresholds)
    write_labels(args.labels, segmentation, info.scene.cameras[args.split], names, thresholds,
                 lambda done, total: bar.show("labels", done, total))  # fmt: skip
    console.print(f"{args.labels}: labels of {len(names)} views at {len(thresholds)} thresholds", highlight=False,
                  soft_wrap=True)  # fmt: skip
