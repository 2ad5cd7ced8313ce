"""fieldlab edit: remove, keep, move, duplicate or recolor segments or regions of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from fieldlab.apps.options import Device, OptionalFolder, RunFolder, optional


@dataclass
class Edit:
    """Write a run that shows another one with edits. Each edit is one argument: a verb (remove, keep, move, duplicate,
    recolor), a selection (box x0 y0 z0 x1 y1 z1, or sphere x y z radius, in world units; of a segmented run also part
    and its id or name, as fieldlab select says them), and for the last three what to do: by x y z, turn x y z degrees
    (about an axis), scale s; to r g b. The result can be rendered, exported, edited again, and turned into an ordinary
    field of any kind by fieldlab distill."""

    run: RunFolder
    """The run to edit; it stays as it is."""
    edits: Annotated[tuple[str, ...], tyro.conf.Positional, optional("EDIT ...")]
    """Edits in the order they are done, each in quotation marks."""
    out: OptionalFolder = None
    """Folder for the edited run; <run>-edited beside it by default."""
    overwrite: bool = False
    """Replace what is in --out."""
    seed: int = 0
    """Seed of all random numbers."""
    device: Device = "auto"
    """Where to look at the field."""


def run(args: Edit) -> None:
    """Check the edits, write the run, and say what they uncovered."""
    import torch
    from rich.console import Console

    from fieldlab.edit.editing import edited_model, uncovered
    from fieldlab.errors import ConfigError
    from fieldlab.fields.registry import spelled
    from fieldlab.ops.device import choose_device
    from fieldlab.runs.folder import place_beside
    from fieldlab.runs.load import load_run
    from fieldlab.segment.edited import write_edited_run
    from fieldlab.segment.files import stored_hierarchy
    from fieldlab.segment.finder import finder

    console, generator = Console(stderr=True), torch.Generator().manual_seed(args.seed)
    if not args.edits:
        raise ConfigError("there is nothing to do", field="EDIT", expected='such as "remove box -1 -1 0 1 1 2"')
    out = place_beside(args.run, args.out, "edited")
    model, info = load_run(args.run, choose_device(args.device))
    find = finder(stored_hierarchy(args.run))
    with console.status("editing"):
        made = edited_model(model, args.edits, generator, find)
        goes = any(text.split()[0] in ("remove", "move") for text in args.edits)
        found = uncovered(model, made, info.scene.cameras["train"], generator) if goes else None
    write_edited_run(out, made, info, overwrite=args.overwrite)
    for text in made.field.config.edits:  # type: ignore[attr-defined]
        console.print(f"  {text}", highlight=False, soft_wrap=True)
    if found is not None and found.rays and found.nothing + found.unseen > 0.005:
        console.print(
            f"of what was seen of what is gone, {found.nothing:.0%} now shows nothing and "
            f"{found.unseen:.0%} what no photograph saw: a hole, or a guess", highlight=False, soft_wrap=True,
        )  # fmt: skip
    console.print(f"[bold]{out}[/]: an ordinary field of it is made by", highlight=False, soft_wrap=True)
    console.print(f"  fieldlab distill {out} --to {spelled(model.field.shown.config)}", highlight=False, soft_wrap=True)
