"""fieldlab masks: 2D masks of photographs by a model of the SAM family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fieldlab.apps.options import Device

Images = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]


@dataclass
class Masks:
    """Find all masks of a folder of photographs with a model of the SAM family from a local folder, and write a JSON
    file each, as fieldlab segment reads them. Photographs that have one already are left out, so an interrupted call
    goes on where it was. Needs pip install 'fieldlab[sam]'; nothing is downloaded."""

    images: Images
    """Folder of photographs."""
    out: Out
    """Folder for the masks."""
    model: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder with the model: config.json, model.safetensors, preprocessor_config.json."""
    points: int = 32
    """Points along each side of a photograph at which the model is asked."""
    quality: float = 0.88
    """Least quality that the model itself expects of a mask, 0 to 1."""
    stability: float = 0.95
    """Least stability of a mask's border, 0 to 1."""
    overwrite: bool = False
    """Do photographs again that have masks already."""
    device: Device = "auto"
    """Where to run the model."""


def run(args: Masks) -> None:
    """Write the masks, with progress on the terminal."""
    from rich.console import Console

    from fieldlab.apps.progress import progress_bar
    from fieldlab.errors import ConfigError
    from fieldlab.ops.device import choose_device
    from fieldlab.segment.photograph_folder import PhotographFolder
    from fieldlab.segment.sam import MaskGenerator

    if args.points < 1:
        raise ConfigError("points must be 1 or more", field="--points", found=args.points)
    console, folder = Console(stderr=True), PhotographFolder.read(args.images, args.out)
    waiting, count = list(folder.photographs) if args.overwrite else folder.waiting(), 0
    if waiting:
        with console.status("reading the model"):
            generate = MaskGenerator(args.model, choose_device(args.device), args.points, args.quality, args.stability)
        with progress_bar(console) as bar:
            for done, found in enumerate(folder.find_masks(generate, waiting)):
                count += found
                bar.show("photographs", done + 1, len(waiting))
    had = len(folder.photographs) - len(waiting)
    console.print(f"{count} masks of {len(waiting)} photographs" + (f", {had} had theirs" if had else ""),
                  highlight=False)  # fmt: skip
    if waiting and not count:
        console.print("[yellow]nothing was good enough; try a lower --quality or --stability[/]")
    console.print(f"[bold]{args.out}[/]: fieldlab segment RUN --masks {args.out}", highlight=False, soft_wrap=True)
