"""fieldlab view: look at runs in a browser."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fieldlab.apps.options import Device, RunFolder

OTHER = Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RUN2]", help_behavior_hint="")]


@dataclass
class View:
    """Serve a page to look at a run, or at two runs side by side: fluid while the camera moves and full when it rests;
    depth, normals, features and segments; a hierarchy of segments to click in; edits; camera paths and videos;
    exports."""

    run: RunFolder
    """The run to look at."""
    run2: OTHER = None
    """Another run of the same scene, to compare with: a student, or the run before an edit."""
    port: int = 8080
    """Port of the page, or the first free one above it."""
    host: str = "127.0.0.1"
    """Address to listen at. Only this machine reaches the default; others let anybody on the network look and write
    into the run's folder."""
    open: bool = False
    """Open the page in this machine's browser."""
    device: Device = "auto"
    """Where to render."""


def run(args: View) -> None:
    """Serve until interrupted."""
    from rich.console import Console

    from fieldlab.apps.interrupt import stopping
    from fieldlab.ops.device import choose_device
    from fieldlab.view.page import Page
    from fieldlab.view.ports import LOCAL
    from fieldlab.view.server import Viewer
    from fieldlab.view.shown_run import ShownRun

    console, device = Console(stderr=True), choose_device(args.device)
    with console.status("reading the run"):
        runs = [ShownRun.load(path, device) for path in (args.run, args.run2) if path is not None]
    viewer = Viewer(runs, host=args.host, port=args.port, panels=[Page])
    if args.host != LOCAL:
        console.print(f"[yellow]listening at {args.host}: whoever reaches this machine can look, and write into "
                      f"{runs[0].folder}[/]", soft_wrap=True)  # fmt: skip
    console.print(f"[bold]{viewer.address}[/]  (Ctrl-C ends)", highlight=False, soft_wrap=True)
    if args.open:
        import webbrowser

        webbrowser.open(viewer.address)
    ended: list[bool] = []
    try:
        with stopping(lambda: ended.append(True)):
            while not ended:
                time.sleep(0.1)
    finally:
        viewer.stop()
