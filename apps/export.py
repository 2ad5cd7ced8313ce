"""fieldlab export: what a run has learnt, as files for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fieldlab.apps.options import Device, OptionalFile, OptionalFloat, OptionalInt, RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from fieldlab.apps.progress import Bar
    from fieldlab.export.meshes import MeshOptions
    from fieldlab.mesh.mesh import Mesh
    from fieldlab.mesh.placement import Placement
    from fieldlab.mesh.surface.report import MeshReport
    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.load import RunInfo
    from fieldlab.segment.segmentation import Segmentation


@dataclass
class Export:
    """Export what a run has learnt for other programs: a mesh with colors or a texture, a mesh split into segments, a
    web page, a point cloud, labels, maps and cameras; in the scene's own world units and axes unless others are asked
    for."""

    run: RunFolder
    """The folder that fieldlab train, distill or segment made."""
    mesh: OptionalFile = None
    """Write a mesh: .glb, .obj, .ply or .stl."""
    parts: OptionalFile = None
    """Write a mesh split into segments: .glb whose node tree is the hierarchy, .obj with groups, .ply with a node per
    face."""
    html: OptionalFile = None
    """Write the mesh, and of a segmented run its segments, as one page that opens in a browser without a server."""
    points: OptionalFile = None
    """Write an oriented point cloud with confidences: .ply; of a segmented run with the node of every point's finest
    segment."""
    labels: OptionalFile = None
    """Write labels of views to this folder: arrays, 16-bit pictures and COCO annotations."""
    maps: OptionalFile = None
    """Write pictures, maps and cameras of views to this folder: a capture that other programs and fieldlab train on."""
    cameras: OptionalFile = None
    """Write the cameras for nerfstudio and COLMAP, with points, to this folder."""
    resolution: int = 256
    """Cells of the mesh along the longest side of the box."""
    surface: Literal["auto", "depth", "density"] = "auto"
    """Find the surface by fusing the depth that the cameras see, or as an isosurface of the density; depth unless there
    is a --level."""
    level: OptionalFloat = None
    """Density of the isosurface per world unit. By default one at which a thin wall stops half the light, or less where
    the cameras see softer things."""
    closed: bool = False
    """Close the mesh where no camera saw the surface, and every segment where others were cut away."""
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
    """Number of thresholds of the labels, spread over all different cuts of the hierarchy."""
    views: str = "all"
    """Whose maps and cameras: train, test, val, all, or a camera path (.json)."""
    kinds: tuple[Literal["depth", "normal", "opacity", "label"], ...] = ("depth", "normal", "opacity")
    """Which maps besides the pictures."""
    map_format: Literal["exr", "png"] = "exr"
    """Of depth and normals: 32-bit floats, or 16 and 8 bits."""
    threshold: OptionalFloat = None
    """Of the label maps: higher ones give coarser segments; the middle one of all different cuts by default."""
    device: Device = "auto"
    """Where to evaluate the field."""


def run(args: Export) -> None:
    """Export with progress and say what was made."""
    from functools import partial

    from rich.console import Console

    from fieldlab.apps.notes import tell
    from fieldlab.apps.progress import progress_bar
    from fieldlab.export.captures import export_cameras, export_maps
    from fieldlab.export.labels import write_labels
    from fieldlab.export.points import surface_points, write_cloud
    from fieldlab.mesh.placement import placement
    from fieldlab.ops.device import choose_device
    from fieldlab.pictures.camera_path import up_direction
    from fieldlab.runs.load import load_run
    from fieldlab.segment.files import has_hierarchy, read_hierarchy
    from fieldlab.segment.segmentation import Segmentation

    options = _check(args)
    console = Console(stderr=True)
    say = partial(console.print, highlight=False, soft_wrap=True)
    model, info = load_run(args.run, choose_device(args.device))
    segmented = args.parts is not None or args.labels is not None or has_hierarchy(info.run.path)
    segmentation = Segmentation(model, read_hierarchy(info.run.path)) if segmented else None
    _check_run(args, info, segmented)
    cameras = info.scene.cameras["train"]
    placed = placement(args.axes, args.scale, up_direction(cameras))
    with progress_bar(console) as bar:
        if any(path is not None for path in (args.mesh, args.parts, args.html)):
            _export_mesh(args, options, model, info, segmentation, placed, bar, say, partial(tell, console))
        if args.points is not None:
            cloud = surface_points(model, cameras, args.count, lambda share: bar.share("points", share))
            write_cloud(args.points, cloud, None if segmentation is None else segmentation.labeler, placed)
            say(f"{args.points}: {len(cloud):,} points")
        if args.labels is not None:
            assert segmentation is not None
            names, thresholds = info.scene.names[args.split], segmentation.hierarchy.thresholds(args.thresholds)
            write_labels(args.labels, segmentation, info.scene.cameras[args.split], names, thresholds,
                         lambda done, total: bar.show("labels", done, total))  # fmt: skip
            say(f"{args.labels}: labels of {len(names)} views at {len(thresholds)} thresholds")
        if args.maps is not None:
            count, notes = export_maps(args.maps, model, info, args.views, args.kinds, args.map_format, segmentation,
                                       args.threshold, bar.show)  # fmt: skip
            kinds = ", ".join(args.kinds) or "no maps"
            say("; ".join([f"{args.maps}: pictures of {count} views with {kinds} and cameras", *notes]))
        if args.cameras is not None:
            count, notes = export_cameras(args.cameras, model, info, args.views, bar.show)
            text = (f"{args.cameras}: {count} cameras for nerfstudio and COLMAP; their pictures belong in "
                    f"{args.cameras / 'images'}")  # fmt: skip
            say("; ".join([text, *notes]))


def _check(args: Export) -> MeshOptions:
    """Say what cannot be written before anything is computed."""
    from fieldlab.errors import ConfigError
    from fieldlab.export.captures import check_folder, check_maps_options
    from fieldlab.export.meshes import MeshOptions
    from fieldlab.export.views import check_views
    from fieldlab.export.web.page import check_page_path
    from fieldlab.export.web.run_page import FACES
    from fieldlab.files import check_writable
    from fieldlab.mesh.placement import placement
    from fieldlab.mesh.write import check_mesh_path, check_parts_path, check_points_path

    products = (args.mesh, args.parts, args.html, args.points, args.labels, args.maps, args.cameras)
    given = [path for path in products if path is not None]
    if not given:
        raise ConfigError("there is nothing to export", hint="give --mesh FILE.glb, --points FILE.ply, or another")
    if len({path.resolve() for path in given}) < len(given):
        raise ConfigError("two exports have the same name", found=", ".join(map(str, given)))
    checks = ((args.mesh, check_mesh_path), (args.parts, check_parts_path), (args.html, check_page_path),
              (args.points, check_points_path), (args.labels, check_folder), (args.cameras, check_folder))  # fmt: skip
    for path, check in checks:
        if path is not None:
            check(path)
    faces = args.faces
    if faces is None and (args.texture is not None or args.html is not None):
        faces = FACES
    options = MeshOptions(args.resolution, args.surface, args.level, args.closed, faces, args.texture, args.normal_map)
    options.check()
    placement(args.axes, args.scale)
    if args.thresholds < 1:
        raise ConfigError("labels are of one threshold at least", field="--thresholds", found=args.thresholds)
    if args.maps is not None:  # whether the run has segments is known once it is open
        check_maps_options(args.maps, args.kinds, args.map_format, args.views, args.threshold, segmented=True)
    if args.cameras is not None:
        check_views(args.views)
    for path in given:
        check_writable(path)
    return options


def _check_run(args: Export, info: RunInfo, segmented: bool) -> None:
    """Say what this run does not have, before anything is computed."""
    from fieldlab.errors import DataError
    from fieldlab.export.captures import check_maps_options
    from fieldlab.export.views import choose_views

    if args.labels is not None and args.split not in info.scene.cameras:
        raise DataError("the run has no such split of views", file=info.run.path, field="--split", found=args.split,
                        expected=", ".join(info.scene.cameras))  # fmt: skip
    if args.maps is not None or args.cameras is not None:
        choose_views(args.views, info)
    if args.maps is not None:
        check_maps_options(args.maps, args.kinds, args.map_format, args.views, args.threshold, segmented)


def _export_mesh(
    args: Export, options: MeshOptions, model: RadianceModel, info: RunInfo, segmentation: Segmentation | None,
    placed: Placement, bar: Bar, say: Callable[[str], object], warn: Callable[[str], object],
) -> None:  # fmt: skip
    """Find the surface once, and write it in all the ways that were asked for."""
    from fieldlab.export.meshes import colored_mesh
    from fieldlab.export.parts import leaves_of_faces, write_parts
    from fieldlab.export.web.run_page import write_run_page
    from fieldlab.mesh.write import write_mesh

    cameras = info.scene.cameras["train"]
    mesh, report = colored_mesh(model, cameras, options, bar.share)
    leaf = tree = None
    if segmentation is not None and (args.parts is not None or args.html is not None):
        leaf, tree = leaves_of_faces(mesh, segmentation.labeler), segmentation.hierarchy
    say(describe(mesh, report))
    if (cut := cut_in_words(report)) is not None:
        warn(cut)
    if args.mesh is not None:
        write_mesh(args.mesh, mesh, placed)
        say(f"{args.mesh}: the mesh")
    if args.parts is not None:
        assert leaf is not None
        assert tree is not None
        write_parts(args.parts, mesh, leaf, tree, placed, args.closed)
        say(f"{args.parts}: {len(set(leaf.tolist()))} segments")
    if args.html is not None:
        bar.share("page", 0.0)
        write_run_page(args.html, model, cameras, mesh, title=info.scene.name, leaf=leaf, tree=tree)
        say(f"{args.html}: a page that opens without a server")


def describe(mesh: Mesh, report: MeshReport) -> str:
    """What a mesh is and how it was made."""
    text = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces; cells of {report.cell:.4g}"
    if report.faces_before_decimation > len(mesh.faces):
        text += f"\n  reduced from {report.faces_before_decimation:,} faces; --faces sets the number"
    if report.level is None:
        text += f"\n  surface from the depth of {report.views} views"
    else:
        how = "chosen automatically" if report.automatic else "as asked for"
        text += f"\n  surface at a density of {report.level:.4g} per world unit, {how}"
    cleaning = report.cleaning
    if cleaning.parts_removed:
        text += f"\n  {cleaning.parts_removed} floaters with {cleaning.faces_removed:,} faces removed"
    if cleaning.unseen_removed:
        text += f"\n  {cleaning.unseen_removed:,} faces that no camera saw left out; --closed keeps them"
    return text


def cut_in_words(report: MeshReport) -> str | None:
    """Where the box cuts through the surface, if it does."""
    if not report.cut:
        return None
    return (
        f"the box cuts through the surface at {', '.join(report.cut)}: it goes on there; train with a larger --aabb to"
        " have all of it"
    )
