"""fieldlab eval: how well a run predicts photographs that were held out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fieldlab.apps.options import Device, OptionalBackground, OptionalFile, OptionalText, RunFolder
from fieldlab.apps.progress import progress_bar
from fieldlab.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from fieldlab.bench.photographs import Evaluation

SEGMENT_THRESHOLDS = 50


@dataclass
class Eval:
    """Measure PSNR, SSIM and LPIPS on held-out views, segments by exact labels, or an exported mesh."""

    run: RunFolder
    """The folder that fieldlab train made."""
    split: str = "test"
    """Which views: test, val or train."""
    json: OptionalFile = None
    """Write the numbers to this file."""
    sheet: OptionalFile = None
    """Write photographs, renders and error maps side by side to this picture (.png, .jpg); with --mesh photographs,
    renders, the mesh and its shape."""
    sheet_views: int = 8
    """How many views the sheet shows, evenly chosen."""
    data: OptionalFile = None
    """Where the scene is now, when it has moved since training."""
    background: OptionalBackground = None
    """What transparent photographs are put on; the scene's own by default (white for NeRF-Synthetic)."""
    segments: OptionalFile = None
    """Measure the segments of a segmented run instead, against exact labels in this folder: NAME.npz with ids [L,H,W]
    and depth [H,W], or pictures of labels in a folder per level."""
    mesh: OptionalFile = None
    """Measure this mesh of the run instead (.glb, .obj, .ply, .stl): triangles, components, watertightness, and its
    PSNR beside that of the field."""
    truth: OptionalFile = None
    """The true surface for --mesh, a mesh or points in world units: Chamfer distance, F-score, normal consistency."""
    truth_depth: OptionalFile = None
    """Folder of NAME.npz with depth [H,W] along the rays of the training views: recall counts only the surface that
    they see."""
    thresholds: OptionalText = None
    """With --mesh the distances of the F-score as shares of the diagonal of the truth (default: 0.005,0.01); with
    --segments the number of thresholds at which segments are measured, spread over all different cuts (default: 50)."""
    lpips_weights: OptionalFile = None
    """Safetensors file with LPIPS weights (AlexNet); the variable FIELDLAB_LPIPS names one too. LPIPS is left out
    without it."""
    device: Device = "auto"
    """Where to render."""


def run(args: Eval) -> object:
    """Evaluate, print a table, and write what was asked for."""
    _check(args)
    if args.segments is not None:
        return eval_segments(args)
    return eval_pictures(args) if args.mesh is None else eval_mesh(args)


def _check(args: Eval) -> None:
    """Refuse options that do not go together.

    Raises:
        ConfigError: some do not.
    """
    from fieldlab.pictures.sheets import check_picture_path

    if args.sheet_views < 1:
        raise ConfigError("a sheet must show one view or more", field="--sheet-views", found=args.sheet_views)
    if args.segments is not None and args.mesh is not None:
        raise ConfigError("segments and a mesh are measured one after the other", field="--segments, --mesh")
    if args.mesh is None and (args.truth is not None or args.truth_depth is not None):
        raise ConfigError("there is no mesh to compare with the true surface", field="--truth", hint="give --mesh too")
    if args.truth_depth is not None and args.truth is None:
        raise ConfigError("depths say what is seen of a true surface", field="--truth-depth", hint="give --truth too")
    if args.sheet is not None and args.segments is None:
        check_picture_path(args.sheet)


def eval_pictures(args: Eval) -> Evaluation:
    """Compare renders with photographs."""
    from rich.console import Console

    from fieldlab.bench.photographs import evaluate, report, table
    from fieldlab.files import write_json
    from fieldlab.ops.device import choose_device
    from fieldlab.pictures.sheets import sheet, write_picture
    from fieldlab.runs.load import load_run
    from fieldlab.runs.photographs import reload_views
    from fieldlab.training.lpips import chosen_lpips

    console = Console(stderr=True)
    model, info = load_run(args.run, choose_device(args.device))
    with console.status("reading the photographs"):
        views = reload_views(info, args.split, args.data)
    background, network = model.background(args.background), chosen_lpips(args.lpips_weights)
    with progress_bar(console) as bar:
        found = evaluate(model, views, background, n_rows=_rows(args), network=network,
                         tick=partial(bar.show, "rendering views"))  # fmt: skip
    if args.json is not None:
        write_json(args.json, report(found.scores, info, model, args.split))
    if args.sheet is not None:
        write_picture(args.sheet, sheet(list(found.rows.values())))
    Console().print(table(found.scores, f"{args.split} views of {info.scene.name}"))
    _say_files(args, console, sheet=True)
    return found


def eval_mesh(args: Eval) -> dict[str, Any]:
    """Measure a mesh of the run: by itself, against a true surface, and drawn from where photographs were taken."""
    from rich.console import Console

    from fieldlab.bench.meshes import draw, drawable, report, score_truth, tables, threshold_shares
    from fieldlab.files import write_json
    from fieldlab.mesh.metrics import mesh_shape
    from fieldlab.mesh.read import read_mesh
    from fieldlab.ops.device import choose_device
    from fieldlab.pictures.sheets import sheet, write_picture
    from fieldlab.runs.load import load_run
    from fieldlab.runs.photographs import reload_views

    assert args.mesh is not None
    shares, console = threshold_shares(args.thresholds), Console(stderr=True)
    with console.status("reading the mesh"):
        mesh = read_mesh(args.mesh)
        truth = None if args.truth is None else read_mesh(args.truth, points=True)
    model, info = load_run(args.run, choose_device(args.device))
    with console.status("reading the photographs"):
        views = reload_views(info, args.split, args.data)
    with console.status("measuring the surface"):
        shape = mesh_shape(mesh)
        score = None if truth is None else score_truth(mesh, truth, info, args.truth_depth, shares)
    pictures = None
    if drawable(views):
        with progress_bar(console) as bar:
            pictures = draw(mesh, model, views, model.background(args.background), n_rows=_rows(args),
                            tick=partial(bar.show, "rendering views"))  # fmt: skip
    else:
        console.print("the mesh is not compared with photographs: meshes are drawn by perspective cameras only")
    values = report(args.mesh, shape, args.truth, score, pictures, args.split)
    if args.json is not None:
        write_json(args.json, values)
    if args.sheet is not None and pictures is not None:
        write_picture(args.sheet, sheet(pictures.rows))
    for table in tables(shape, score, pictures):
        Console().print(table)
    _say_files(args, console, sheet=pictures is not None)
    return values


def eval_segments(args: Eval) -> dict[str, Any]:
    """Measure segments against exact labels."""
    from rich.console import Console

    from fieldlab.bench.segments import levels_table
    from fieldlab.files import write_json
    from fieldlab.ops.device import choose_device
    from fieldlab.segment.evaluate import evaluate
    from fieldlab.segment.segmentation import Segmentation

    count = SEGMENT_THRESHOLDS if args.thresholds is None else args.thresholds
    if not str(count).isdecimal() or int(count) < 1:
        raise ConfigError("segments are measured at one threshold at least", field="--thresholds", found=count)
    assert args.segments is not None
    if not args.segments.is_dir():
        raise DataError("there are no labels", file=args.segments, expected="a folder of NAME.npz")
    console = Console(stderr=True)
    segmentation, info = Segmentation.load(args.run, choose_device(args.device))
    if args.split not in info.scene.cameras:
        raise DataError("the run has no such split of views", file=info.run.path, field="--split", found=args.split,
                        expected=", ".join(info.scene.cameras))  # fmt: skip
    cameras, names = info.scene.cameras[args.split], info.scene.names[args.split]
    thresholds = segmentation.hierarchy.thresholds(int(count))
    with progress_bar(console) as bar:
        found = evaluate(lambda i: segmentation.labels(cameras, i, thresholds).numpy(), cameras, names, args.segments,
                         tick=partial(bar.show, "views"))  # fmt: skip
    values = {name: asdict(measured) for name, measured in found.items()}
    if args.json is not None:
        write_json(args.json, {**values, "views": len(names), "thresholds": thresholds.tolist(), "split": args.split})
    Console().print(levels_table(values))
    return values


def _rows(args: Eval) -> int:
    """How many rows the sheet has."""
    return 0 if args.sheet is None else args.sheet_views


def _say_files(args: Eval, console: Console, *, sheet: bool) -> None:
    """Say where what was asked for is."""
    for label, path in (("numbers", args.json), ("sheet", args.sheet if sheet else None)):
        if path is not None:
            console.print(f"{label}: {path}", highlight=False, soft_wrap=True)
