"""Data-parallel training of one scene through torch.distributed; one process is the ordinary case."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn

from fieldlab.errors import BackendError


class World:
    """The processes that train together: all draw the same random numbers and each takes its share of the rays."""

    rank = 0
    size = 1

    def sum(self, values: list[float]) -> list[float]:
        """Sums over all processes."""
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place."""

    def barrier(self) -> None:
        """Wait for all processes."""


class ProcessGroup(World):
    """The world of an initialised torch.distributed process group.

    Raises:
        BackendError: there is none.
    """

    def __init__(self) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise BackendError("data-parallel training needs an initialised process group", hint="start with torchrun")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        nccl = dist.get_backend() == "nccl"
        self._device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")

    def sum(self, values: list[float]) -> list[float]:
        packed = torch.tensor(values, dtype=torch.float64, device=self._device)
        dist.all_reduce(packed)
        return packed.tolist()

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter.grad is None:  # every process has to take part
                parameter.grad = torch.zeros_like(parameter)
            [sparse] = self.sum([float(parameter.grad.is_sparse)])
            if parameter.grad.is_sparse:  # the processes touch different rows
                parameter.grad = parameter.grad.to_dense()
            if not parameter.grad.is_contiguous():
                parameter.grad = parameter.grad.contiguous()
            dist.all_reduce(parameter.grad)
            if sparse:  # as a field with such gradients expects them
                parameter.grad = parameter.grad.to_sparse(1)

    def barrier(self) -> None:
        dist.barrier()


def connect(device: torch.device) -> ProcessGroup:
    """Join the process group torchrun describes: gloo on the CPU, NCCL on CUDA.

    Raises:
        BackendError: the group cannot be formed.
    """
    try:
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise BackendError("the processes could not connect", found=error, hint="start with torchrun") from error
    return ProcessGroup()


def disconnect() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
