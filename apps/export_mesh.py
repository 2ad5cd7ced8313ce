"""fieldlab export: the surface of a run as a mesh, a mesh in parts and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.apps.export import Export
    from fieldlab.apps.progress import Bar
    from fieldlab.mesh.mesh import Mesh
    from fieldlab.mesh.placement import Placement
    from fieldlab.mesh.surface.extract import MeshReport
    from fieldlab.render.model import RadianceModel
    from fieldlab.runs.load import RunInfo
    from fieldlab.segment.segmentation import Segmentation

FACES = 200_000  # of pages and textured meshes, unless another number is asked for
SMALLEST_TEXTURE, LARGEST_TEXTURE = 64, 16384
POSTER_SIDE = 900


def check_mesh_options(args: Export) -> None:
    """What cannot be written, before anything is computed.

    Raises:
        ConfigError: see the message.
    """
    from fieldlab.errors import ConfigError, require
    from fieldlab.export.web.page import check_page_path
    from fieldlab.mesh.write import check_mesh_path, check_parts_path

    if args.mesh is not None:
        check_mesh_path(args.mesh)
    if args.parts is not None:
        check_parts_path(args.parts)
    if args.html is not None:
        check_page_path(args.html)
    require(args.faces is None or args.faces >= 4, "--faces", args.faces, "4 or more")
    require(4 <= args.resolution <= 4096, "--resolution", args.resolution, "4 to 4096")
    require(args.level is None or 0 < args.level < float("inf"), "--level", args.level, "a number above 0")
    size = args.texture
    require(size is None or SMALLEST_TEXTURE <= size <= LARGEST_TEXTURE, "--texture", size,
            f"{SMALLEST_TEXTURE} to {LARGEST_TEXTURE}")  # fmt: skip
    if args.normal_map and size is None:
        raise ConfigError("a normal map needs a texture", field="--normal-map", hint="give --texture 2048 too")


def export_mesh(
    args: Export, model: RadianceModel, info: RunInfo, segmentation: Segmentation | None, placement: Placement,
    bar: Bar, console: Console,
) -> None:  # fmt: skip
    """Find the surface once, and write it in all the ways that were asked for."""
    from fieldlab.export.parts import leaves_of_faces, write_parts
    from fieldlab.mesh.write import write_mesh

    mesh, report = colored_mesh(args, model, info, bar)
    leaf = None
    if segmentation is not None and (args.parts is not None or args.html is not None):
        leaf = leaves_of_faces(mesh, segmentation.labeler)
    console.print(describe(mesh, report), highlight=False, soft_wrap=True)
    if args.mesh is not None:
        write_mesh(args.mesh, mesh, placement)
        console.print(f"{args.mesh}: the mesh", highlight=False, soft_wrap=True)
    if args.parts is not None:
        assert segmentation is not None
        assert leaf is not None
        write_parts(args.parts, mesh, leaf, segmentation.hierarchy, placement, args.closed)
        console.print(f"{args.parts}: {len(set(leaf.tolist()))} parts", highlight=False, soft_wrap=True)
    if args.html is not None:
        bar.share("page", 0.0)
        _write_page(args, mesh, model, info, segmentation, leaf)
        console.print(f"{args.html}: a page that opens without a server", highlight=False, soft_wrap=True)


def colored_mesh(args: Export, model: RadianceModel, info: RunInfo, bar: Bar) -> tuple[Mesh, MeshReport]:
    """The surface with the texture or the vertex colors that the options ask for."""
    from fieldlab.mesh.surface.extract import extract_surface
    from fieldlab.mesh.texture.field_colors import textured, vertex_colors

    faces = args.faces
    if faces is None and (args.texture is not None or args.html is not None):
        faces = FACES
    made = extract_surface(
        model, cameras=info.scene.cameras["train"], resolution=args.resolution, level=args.level, faces=faces,
        method=args.surface, closed=args.closed, on_progress=bar.share,
    )  # fmt: skip
    if args.texture is None:
        made.mesh.colors = vertex_colors(
            model, made.mesh, made.directions, made.near, made.far, lambda share: bar.share("color", share)
        )
        return made.mesh, made.report
    mesh = textured(
        model, made.mesh, args.texture, made.directions, near=made.near, far=made.far,
        normal_map=made.normals_at if args.normal_map else None, on_share=lambda share: bar.share("texture", share),
    )  # fmt: skip
    return mesh, made.report


def _write_page(
    args: Export, mesh: Mesh, model: RadianceModel, info: RunInfo, segmentation: Segmentation | None, leaf: object
) -> None:
    import numpy as np

    from fieldlab.export.web.page import write_page
    from fieldlab.pictures.camera_path import look_at_point, up_direction
    from fieldlab.pictures.sheets import to_uint8

    assert args.html is not None
    assert leaf is None or isinstance(leaf, np.ndarray)
    cameras = info.scene.cameras["train"].to("cpu")
    first = cameras[:1].scaled(min(1.0, POSTER_SIDE / int(cameras.size[0].max())))
    x, y, z = cameras.origins[0].tolist()
    tx, ty, tz = look_at_point(cameras, model.aabb).tolist()
    ux, uy, uz = up_direction(cameras).tolist()
    write_page(
        args.html, mesh, title=info.scene.name, leaf=leaf,
        tree=None if segmentation is None else segmentation.hierarchy,
        poster=to_uint8(model.render_image(first, 0)["rgb"]), up=(ux, uy, uz), view=((x, y, z), (tx, ty, tz)),
    )  # fmt: skip


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
    if report.cut:
        text += (
            f"\n  the box cuts through the surface at {', '.join(report.cut)}: it goes on there; train with a larger"
            " --aabb to have all of it"
        )
    return text
