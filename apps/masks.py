"""fieldlab masks: 2D masks of photographs by a model of the SAM family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fieldlab.apps.options import Device

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    from fieldlab.data.images import IMAGE_SUFFIXES
    from fieldlab.errors import ConfigError, DataError
    from fieldlab.files import write_json
    from fieldlab.ops.device import choose_device
    from fieldlab.segment.sam import MaskGenerator, sam_entries

    if args.points < 1:
        raise ConfigError("the model is asked at points", field="--points", found=args.points, expected="1 or more")
    console = Console(stderr=True)
    photographs = sorted(path for path in args.images.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not photographs:
        raise DataError("there are no photographs", file=args.images, expected=", ".join(IMAGE_SUFFIXES))
    stems = [path.stem for path in photographs]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise DataError("two photographs have one name", file=args.images, found=twice)
    waiting = [path for path in photographs if args.overwrite or not (args.out / f"{path.stem}.json").exists()]
    count = 0
    if waiting:
        with console.status("reading the model"):
            generate = MaskGenerator(args.model, choose_device(args.device), args.points, args.quality, args.stability)
    with progress_bar(console) as bar:
        for done, path in enumerate(waiting):
            bar.show("photographs", done, len(waiting))
            masks = generate(on_white(path))
            write_json(args.out / f"{path.stem}.json", sam_entries(masks))
            count += len(masks)
    had = len(photographs) - len(waiting)
    console.print(f"{count} masks of {len(waiting)} photographs" + (f", {had} had theirs" if had else ""),
                  highlight=False)  # fmt: skip
    if waiting and not count:
        console.print("[yellow]nothing was good enough; try a lower --quality or --stability[/]")
    console.print(f"[bold]{args.out}[/]: fieldlab segment RUN --masks {args.out}", highlight=False, soft_wrap=True)


def on_white(path: Path) -> NDArray[np.uint8]:
    """A picture [H,W,3], white behind what is transparent."""
    import numpy as np

    from fieldlab.data.images import read_image

    picture = read_image(path)
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.float32) / 255
    return (picture[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
