"""Gradients that have only some rows of a parameter."""

from __future__ import annotations

from torch import Tensor


def coalesced(grad: Tensor) -> Tensor:
    """A sparse gradient [N,...] with ascending rows, each once.

    Autograd forgets that a gradient was coalesced when it hands it to a parameter. Most are, and looking is much
    cheaper than sorting.
    """
    if grad.is_coalesced():
        return grad
    rows = grad._indices()[0]
    if bool((rows[1:] > rows[:-1]).all()):
        return grad._coalesced_(True)
    return grad.coalesce()
