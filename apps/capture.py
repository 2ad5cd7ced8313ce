"""fieldlab capture: from photographs or a video to a scene with camera poses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fieldlab.apps.options import OptionalFile


@dataclass
class Capture:
    """Find the camera poses of photographs, or of frames of a video.

    Take 30 to 100 photographs from all sides, each overlapping the next by 70 %, and move between them: turning on the
    spot shows no depth. HEIC and AVIF files, several cameras and turned photographs are taken care of.
    """

    photos: Annotated[Path, tyro.conf.Positional]
    """Folder of photographs, also in folders beneath it, or a video."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the new scene. An unfinished capture there goes on where it stopped."""
    frames: int | None = None
    """How many frames to take of a video, the sharpest of as many intervals. If not given: 2.5 for each second, but
    40 at least and 150 at most."""
    camera_model: Literal["SIMPLE_RADIAL", "SIMPLE_PINHOLE", "PINHOLE", "RADIAL", "OPENCV", "OPENCV_FISHEYE"] = (
        "SIMPLE_RADIAL"
    )
    """Lens model to estimate; the photographs of the scene are undistorted with it. RADIAL and OPENCV bend more and are
    fitted once the poses are known; OPENCV_FISHEYE is for lenses that see 120 degrees and more."""
    matcher: Literal["auto", "exhaustive", "sequential", "retrieval"] = "auto"
    """exhaustive asks every pair, sequential neighbors in order of name, as from a video, retrieval neighbors and
    those that look alike. auto is exhaustive up to 200 photographs, then retrieval."""
    single_camera: bool = True
    """Photographs that tell the same maker, model, focal length and size share one lens; otherwise each has its own."""
    max_features: int = 4096
    """Most features per photograph. More take longer, by the square, and place photographs of poor detail."""
    seed: int = 0
    """Makes mapping repeatable."""
    json: OptionalFile = None
    """Write what came out to this file."""


def run(args: Capture) -> None:
    """Run structure from motion with progress and say what came out."""
    from rich.console import Console

    from fieldlab.apps.notes import tell
    from fieldlab.apps.progress import progress_bar
    from fieldlab.capture.capture import run_capture
    from fieldlab.files import check_writable, write_json

    console = Console(stderr=True)
    if args.json is not None:
        check_writable(args.json)
    with progress_bar(console) as bar:
        report = run_capture(
            args.photos, args.out, camera_model=args.camera_model, matcher=args.matcher,
            single_camera=args.single_camera, max_features=args.max_features, frames=args.frames, seed=args.seed,
            progress=bar.show,
        )  # fmt: skip
    if args.json is not None:
        write_json(args.json, {**asdict(report), "scene": str(report.scene)})
    console.print(
        f"{report.scene}: {report.registered} of {report.total} photographs placed, {report.points:,} points, "
        f"reprojection error {report.error:.2f} pixels",
        highlight=False,
        soft_wrap=True,
    )
    if len(report.tried) > 1:
        console.print(f"tried {'; '.join(report.tried)}", highlight=False, soft_wrap=True)
    for note in report.notes:
        tell(console, f"note: {note}")
    if report.missing:
        names = ", ".join(report.missing[:8]) + (" ..." if len(report.missing) > 8 else "")
        tell(console, f"without a pose: {names}", "yellow")
    console.print(f"  fieldlab train {report.scene} --out runs/{report.scene.name}", highlight=False, soft_wrap=True)
