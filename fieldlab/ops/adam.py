"""One step of Adam (Kingma & Ba 2015) over a flat parameter array, in place and in one pass over memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fieldlab.ops import native
from fieldlab.ops.sparse_rows import coalesced


@torch.no_grad()
def adam_step(
    param: Tensor, grad: Tensor, first: Tensor, second: Tensor, step: int, lr: float, beta1: float = 0.9,
    beta2: float = 0.99, eps: float = 1e-15, weight_decay: float = 0.0, sparse: bool = False,
) -> None:  # fmt: skip
    """Update ``param`` and the running moments ``first`` and ``second`` in place.

    Args:
        param, grad, first, second: contiguous float32 arrays of one shape. A gradient may be a sparse array of
            rows (as of :func:`fieldlab.ops.sparse_grid.sparse_grid`): then only those rows are looked at.
        step: number of this step, from 1.
        lr, beta1, beta2, eps: as in the paper; the defaults are Instant-NGP's.
        weight_decay: L2 penalty added to the gradient.
        sparse: leave entries alone whose gradient is exactly zero, moments included, as Instant-NGP does for its hash
            table: an entry no sample touched keeps its momentum until one does.
    """
    settings = {
        "rate": lr / (1 - beta1**step), "root_correction": 1 / math.sqrt(1 - beta2**step), "beta1": beta1,
        "beta2": beta2, "epsilon": eps, "decay": weight_decay, "sparse": sparse,
    }  # fmt: skip
    if grad.is_sparse:
        _adam_rows(param, coalesced(grad), first, second, settings)
    elif native.active(param):
        native.library.adam_step(native.target(param), **_arrays(param, grad, first, second), **settings)
    else:
        adam_step_reference(param, grad, first, second, **settings)


def adam_step_reference(
    param: Tensor, grad: Tensor, first: Tensor, second: Tensor, rate: float, root_correction: float, beta1: float,
    beta2: float, epsilon: float, decay: float, sparse: bool,
) -> None:  # fmt: skip
    """The same in plain PyTorch; ``rate`` and ``root_correction`` hold the bias corrections."""
    g = grad + decay * param
    m = first + (1 - beta1) * (g - first)
    v = second + (1 - beta2) * (g * g - second)
    p = param - rate * m / (v.sqrt() * root_correction + epsilon)
    for old, new in ((param, p), (first, m), (second, v)):
        old.copy_(torch.where(grad != 0, new, old) if sparse else new)


def _adam_rows(param: Tensor, grad: Tensor, first: Tensor, second: Tensor, settings: dict[str, Any]) -> None:
    """The rows of a coalesced sparse gradient; the others are left alone."""
    rows, values = grad.indices()[0], grad.values()
    if native.active(param):
        native.library.adam_rows(
            native.target(param), n=len(rows), rows=native.pointer(rows, torch.int64), width=values[:1].numel(),
            step={**_arrays(param, values, first, second), **settings},
        )  # fmt: skip
        return
    old = [t[rows] for t in (param, first, second)]
    adam_step_reference(old[0], values, old[1], old[2], **settings)
    for whole, part in zip((param, first, second), old, strict=True):
        whole[rows] = part


def _arrays(param: Tensor, grad: Tensor, first: Tensor, second: Tensor) -> dict[str, Any]:
    """Arrays as the native module takes them, and how many values the gradient has."""
    return {
        "n": grad.numel(), "param": native.pointer(param), "grad": native.pointer(grad.contiguous()),
        "first": native.pointer(first), "second": native.pointer(second),
    }  # fmt: skip
