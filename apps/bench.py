"""fieldlab bench: how fast and how good, on this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fieldlab.apps.options import OptionalFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from fieldlab.bench.measure import Row


@dataclass
class Bench:
    """Measure this machine: every stage and the whole job, against the PyTorch references in the same run."""

    scene: str = "robot"
    """The scene to train on: a procedural scene or a folder of photographs with poses."""
    seconds: list[float] = field(default_factory=lambda: [30.0])
    """Training times after which the test PSNR is measured; each is a run of its own."""
    only: Literal["everything", "operations", "distillation"] = "everything"
    """operations: leave out training and pictures. distillation: what its steps cost and how much sooner its students
    are as good, over the longest of --seconds (600 to quote)."""
    viewer: bool = False
    """Measure only the viewer: how soon it answers websocket clients, with a hash grid trained for the longest of
    --seconds, or with --run."""
    run: OptionalFile = None
    """With --viewer: a run to look at instead; one that is segmented is recolored too."""
    quick: bool = False
    """A few seconds in all: to see that everything runs, not to quote."""
    log2_table: int = 17
    """Size of the hash table of the encoding benchmarks, as a power of two."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to measure."""
    kernels: Literal["widest", "avx512", "avx2", "baseline"] = "widest"
    """Instruction set of the CPU kernels; the widest one this processor has is what all other commands use."""
    json: Path | None = None
    """Write the figures to this file."""


def run(args: Bench) -> None:
    """Measure, and print each figure as soon as it is known."""
    from rich.console import Console

    from fieldlab.bench.distillation import distillation_rows
    from fieldlab.bench.measure import machine
    from fieldlab.bench.operations import operation_rows
    from fieldlab.bench.whole import whole_rows
    from fieldlab.errors import BackendError, ConfigError
    from fieldlab.files import write_json
    from fieldlab.ops import native
    from fieldlab.ops.device import choose_device
    from fieldlab.sources.load import load_scene

    console, device = Console(), choose_device(args.device)
    if args.kernels != "widest" and not (native.library and native.library.choose_instruction_set(args.kernels)):
        raise BackendError("this processor or build has no such kernels", field="--kernels", found=args.kernels)
    facts = machine(device)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()), highlight=False, soft_wrap=True)
    if args.run is not None and not args.viewer:
        raise ConfigError("a run is measured with --viewer only", field="--run", found=args.run)
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        console.print(line(row), highlight=False, soft_wrap=True)

    if args.viewer:
        for row in _viewer_rows(args, device):
            add(row)
    elif args.only != "distillation":
        for row in operation_rows(device, args.log2_table, args.quick):
            add(row)
    if args.only != "operations" and not args.viewer:
        with console.status("reading the scene"):
            scene = load_scene(args.scene)
    if args.only == "distillation" and not args.viewer:
        for row in distillation_rows(scene, device, 1.0 if args.quick else max(args.seconds), args.quick):
            add(row)
    if args.only == "everything" and not args.viewer:
        for row in whole_rows(scene, device, [1.0] if args.quick else sorted(args.seconds), args.quick):
            add(row)
    if args.json is not None:
        figures = [{**asdict(row), "ratio": row.ratio} for row in rows]
        write_json(args.json, {"machine": facts, "scene": args.scene, "rows": figures})


def _viewer_rows(args: Bench, device: torch.device) -> Iterator[Row]:
    from fieldlab.bench.viewer import viewer_rows
    from fieldlab.bench.whole import make_trainer
    from fieldlab.runs.scene_record import SceneRecord
    from fieldlab.sources.load import load_scene
    from fieldlab.train.config import TrainConfig
    from fieldlab.view.capture import InMemory
    from fieldlab.view.subject import Subject

    if args.run is not None:
        return viewer_rows(Subject.load(args.run, device))
    scene = load_scene(args.scene)
    trainer = make_trainer(scene, device, TrainConfig(seconds=1.0 if args.quick else max(args.seconds)))
    for _ in trainer.events():
        pass
    model = trainer.model.eval().requires_grad_(False)
    return viewer_rows(Subject(scene.name, model, SceneRecord.of(scene), capture=InMemory(scene)))


def line(row: Row) -> str:
    """One figure for the terminal."""
    text = f"{row.name:<52} {row.value:>9.3g} {row.unit}"
    if row.reference is not None and row.ratio is not None:
        text += f"   {row.ratio:.1f}x the {row.against} ({row.reference:.3g})"
    return text
