"""fieldlab capture: from a folder of photographs to a scene with camera poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Capture:
    """Find the camera poses of a folder of photographs."""

    photos: Annotated[Path, tyro.conf.Positional]
    """Folder of photographs, also in folders beneath it."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the new scene. An unfinished capture there goes on where it stopped."""
    camera_model: Literal["SIMPLE_RADIAL", "SIMPLE_PINHOLE", "PINHOLE", "RADIAL", "OPENCV", "OPENCV_FISHEYE"] = (
        "SIMPLE_RADIAL"
    )
    """Lens model to estimate; the photographs of the scene are undistorted with it. RADIAL and OPENCV bend more, and
    place fewer photographs where the focal length in the files is wrong."""
    matcher: Literal["auto", "exhaustive", "sequential"] = "auto"
    """exhaustive compares every pair, sequential neighbors in order of name, as from a video."""
    single_camera: bool = True
    """All photographs were taken with one camera at one zoom."""
    max_features: int = 8192
    """Most features per photograph."""
    seed: int = 0
    """Makes mapping repeatable."""


def run(args: Capture) -> None:
    """Run structure from motion with progress and say what came out."""
    from rich.console import Console

    from fieldlab.apps.progress import progress_bar
    from fieldlab.data.capture import run_capture

    console = Console(stderr=True)
    with progress_bar(console) as bar:
        report = run_capture(
            args.photos, args.out, camera_model=args.camera_model, matcher=args.matcher,
            single_camera=args.single_camera, max_features=args.max_features, seed=args.seed, progress=bar.show,
        )  # fmt: skip
    console.print(
        f"{report.scene}: {report.registered} of {report.total} photographs placed, {report.points:,} points, "
        f"reprojection error {report.error:.2f} pixels",
        highlight=False,
        soft_wrap=True,
    )
    for note in report.notes:
        console.print(f"[dim]note: {note}[/]")
    if report.missing:
        names = ", ".join(report.missing[:8]) + (" ..." if len(report.missing) > 8 else "")
        console.print(f"[yellow]without a pose: {names}[/]")
    console.print(f"  fieldlab train {report.scene} --out runs/{report.scene.name}", highlight=False, soft_wrap=True)
