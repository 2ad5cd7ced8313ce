"""Timing calls against each other in one run, since machines are shared and noisy."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from fieldlab.ops import native


@dataclass(frozen=True)
class Row:
    """One measurement.

    Args:
        group: what it belongs to: an operation, training, pictures.
        name: what was measured.
        value: the native kernels' figure.
        unit: of ``value``.
        reference: the same of what it is compared with, or None.
        against: what that is.
        ratio: how many times better ``value`` is than ``reference``.
    """

    group: str
    name: str
    value: float
    unit: str
    reference: float | None = None
    against: str = ""

    @property
    def ratio(self) -> float | None:
        if self.reference is None or not self.reference or not self.value:
            return None
        faster_is_more = not self.unit.startswith(("ms", "s"))
        return self.value / self.reference if faster_is_more else self.reference / self.value


def seconds_of(call: Callable[[], object], device: torch.device, at_least: float = 0.5, runs: int = 3) -> float:
    """Median seconds of a call after one to warm up: at least ``runs`` calls and ``at_least`` seconds."""
    call()
    times: list[float] = []
    while len(times) < runs or sum(times) < at_least:
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - start)
    return median(times)


def rate_row(group: str, name: str, count: int, call: Callable[[], object], device: torch.device, quick: bool) -> Row:
    """Million items per second, native and by the PyTorch reference, which gets fewer runs."""
    fast = seconds_of(call, device, 0.1 if quick else 0.5)
    with native.use_backend("reference"):
        slow = seconds_of(call, device, 0.0, 1 if quick else 2)
    return Row(group, name, count / fast / 1e6, "M/s", count / slow / 1e6, "PyTorch reference")


def with_backward(forward: Callable[[], Tensor], grad: Tensor, *inputs: Tensor) -> Callable[[], None]:
    """A call that computes ``forward()`` and its derivatives by ``inputs``."""

    def call() -> None:
        torch.autograd.grad(forward(), inputs, grad)

    return call


def machine(device: torch.device) -> dict[str, str | int]:
    """What the figures were measured on."""
    facts: dict[str, str | int] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "kernels": native.library.instruction_set() if native.library is not None else "none",
        "date": time.strftime("%Y-%m-%d"),
    }
    return facts


def peak_memory() -> int | None:
    """Most bytes of main memory this process has held, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
