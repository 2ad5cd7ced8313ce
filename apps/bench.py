"""fieldlab bench: how fast and how good, on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fieldlab.apps.options import OptionalFile


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
    json: OptionalFile = None
    """Write the figures to this file, after each of them."""


def run(args: Bench) -> None:
    """Measure, and print each figure as soon as it is known."""
    from rich.console import Console

    from fieldlab.bench.everything import Plan, use_kernels
    from fieldlab.bench.measure import machine
    from fieldlab.bench.record import Record, line
    from fieldlab.errors import ConfigError
    from fieldlab.ops.device import choose_device

    console, device = Console(), choose_device(args.device)
    use_kernels(args.kernels)
    if args.run is not None and not args.viewer:
        raise ConfigError("a run is measured with --viewer only", field="--run", found=args.run)
    facts = machine(device)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()), highlight=False, soft_wrap=True)
    plan = Plan(args.scene, tuple(args.seconds), device, args.log2_table, args.quick)
    record = Record({"machine": facts, "scene": args.scene}, args.json)
    for figure in plan.viewer_figures(args.run) if args.viewer else plan.figures(args.only):
        record.add(figure)
        console.print(line(figure), highlight=False, soft_wrap=True, markup=False)
