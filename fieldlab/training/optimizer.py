"""Adam over the parameter groups of a field, on the fused native kernel."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import Tensor

from fieldlab.errors import CheckpointError
from fieldlab.fields.base import ParamGroup
from fieldlab.ops.adam import adam_step
from fieldlab.runs.checkpoint import Checkpoint

BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-15


P = TypeVar("P")


class Adam:
    """Adam (Kingma & Ba 2015) with the settings of Müller et al. 2022, section 4.

    Args:
        groups: what to optimise; learning-rate scale, weight decay and sparsity per group.
    """

    def __init__(self, groups: list[ParamGroup]) -> None:
        self.groups = groups
        self.step_count = 0
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}
        self._of: dict[str, torch.nn.Parameter] = {}
        self.regroup(groups)

    def regroup(self, groups: list[ParamGroup]) -> None:
        """Go on with these groups; parameters that are the same as before, by name and identity, keep their moments,
        the others begin with none."""
        self.groups = groups
        moments, of = self._moments, self._of
        self._moments, self._of = {}, {}
        for name, p, _ in self._entries():
            zero = torch.zeros_like(p.detach())
            self._moments[name] = moments[name] if of.get(name) is p else (zero, zero.clone())
            self._of[name] = p

    def step(self, learning_rate: float) -> None:
        """One update of every parameter that has a gradient; gradients are gone afterwards."""
        self.step_count += 1
        for name, parameter, group in self._entries():
            if parameter.grad is None:
                continue
            m, v = self._moments[name]
            adam_step(
                parameter.detach(), parameter.grad, m, v, self.step_count, learning_rate * group.lr_scale,
                BETA1, BETA2, EPSILON, group.weight_decay, group.sparse,
            )  # fmt: skip
            parameter.grad = None

    def parameters(self) -> list[torch.nn.Parameter]:
        """All parameters in a fixed order."""
        return [parameter for _, parameter, _ in self._entries()]

    def state(self) -> dict[str, Tensor]:
        """First and second moments by name."""
        arrays = {}
        for name, (m, v) in self._moments.items():
            arrays[f"{name}.m"], arrays[f"{name}.v"] = m, v
        return arrays

    def load_state(self, arrays: dict[str, Tensor], step_count: int) -> None:
        """Take over what ``state`` gave.

        Raises:
            CheckpointError: arrays are missing or have other shapes.
        """
        for name, (m, v) in self._moments.items():
            for suffix, mine in (("m", m), ("v", v)):
                other = arrays.get(f"{name}.{suffix}")
                if other is None or other.shape != mine.shape:
                    found = None if other is None else tuple(other.shape)
                    raise CheckpointError(
                        "the optimizer's state does not fit", field=f"{name}.{suffix}", found=found,
                        expected=tuple(mine.shape),
                    )  # fmt: skip
                mine.copy_(other)
        self.step_count = step_count

    def _entries(self) -> list[tuple[str, torch.nn.Parameter, ParamGroup]]:
        return [(f"{g.name}.{i}", p, g) for g in self.groups for i, p in enumerate(g.parameters)]


def loop_state(
    name: str, module: torch.nn.Module, progress: Any, optimizer: Adam, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Arrays, the module's under ``name``, and plain values from which :func:`restore_loop` goes on."""
    arrays = {f"{name}.{key}": array for key, array in module.state_dict().items()}
    arrays |= {f"optimizer.{key}": array for key, array in optimizer.state().items()}
    arrays["random_state"] = generator.get_state()
    return arrays, {"progress": asdict(progress), "optimizer_steps": optimizer.step_count}


def restore_loop(checkpoint: Checkpoint, progress: type[P], optimizer: Adam, generator: torch.Generator) -> P:
    """The counters of a loop from its checkpoint; its optimizer and random numbers go on from there too.

    Raises:
        CheckpointError: something is missing, or does not fit.
    """
    try:
        header = checkpoint.header["training"]
        made = progress(**header["progress"])
        optimizer.load_state(checkpoint.part("optimizer"), int(header["optimizer_steps"]))
        generator.set_state(checkpoint.arrays["random_state"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            "a checkpoint lacks what is needed to go on training", file=checkpoint.path, found=error
        ) from error
    return made
