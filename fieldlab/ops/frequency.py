"""Frequency encoding of coordinates (Mildenhall et al. 2020, equation 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldlab.ops import native
from fieldlab.ops.operation import operation


@dataclass(frozen=True)
class FrequencyPlan:
    """The encoding of 2 x - 1, those values included, as the fused renderer takes it."""

    n_frequencies: int

    @property
    def n_out(self) -> int:
        return 3 * (1 + 2 * self.n_frequencies)

    def tensors(self) -> list[Tensor]:
        return []

    def native(self) -> Any:
        return native.library.frequency_encoder(frequencies=self.n_frequencies)

    def reference(self, x: Tensor) -> Tensor:
        return frequency_encode_reference(2 * x - 1, self.n_frequencies, include_input=True)


def frequency_encode(x: Tensor, n_frequencies: int, include_input: bool = False) -> Tensor:
    """Encode every coordinate by sines and cosines of pi 2^k x, k = 0 ... n_frequencies-1.

    Args:
        x: float32 [S,D].
        n_frequencies: number of octaves, at least 1.
        include_input: whether ``x`` itself comes first.

    Returns:
        float32 [S, D * 2 * n_frequencies], D more with ``x``, in tiny-cuda-nn's order: dimension, then octave, then
        (sin, cos). Differentiable in ``x``.
    """
    if native.active(x):
        return _frequency(x, n_frequencies, include_input)
    return frequency_encode_reference(x, n_frequencies, include_input)


def frequency_encode_reference(x: Tensor, n_frequencies: int, include_input: bool = False) -> Tensor:
    """The same in plain PyTorch. Arguments are reduced modulo 2 first: float32 pi times 2^k x would lose the phase."""
    octaves = 2.0 ** torch.arange(n_frequencies, dtype=x.dtype, device=x.device)
    phase = x[..., None] * octaves
    phase = (phase - 2.0 * torch.round(phase.detach() / 2.0)) * math.pi
    waves = torch.stack([phase.sin(), phase.cos()], -1).flatten(1)
    return torch.cat([x, waves], 1) if include_input else waves


@operation("frequency_encode")
def _frequency(x: Tensor, n_frequencies: int, include_input: bool) -> Tensor:
    samples, dimensions = x.shape
    out = native.empty_samples(x, samples, dimensions * (2 * n_frequencies + include_input))
    native.library.frequency_forward(
        native.target(x),
        n=samples,
        dimensions=dimensions,
        frequencies=n_frequencies,
        include_input=include_input,
        x=native.array(x),
        out=native.array(out),
    )
    return out


@operation("frequency_encode_backward")
def _frequency_backward(x: Tensor, grad_out: Tensor, n_frequencies: int, include_input: bool) -> Tensor:
    samples, dimensions = x.shape
    grad = native.empty_samples(x, samples, dimensions)
    native.library.frequency_backward(
        native.target(x),
        n=samples,
        dimensions=dimensions,
        frequencies=n_frequencies,
        include_input=include_input,
        x=native.array(x),
        grad_out=native.array(grad_out),
        grad_x=native.array(grad),
    )
    return grad


@_frequency.register_fake
def _(x: Tensor, n_frequencies: int, include_input: bool) -> Tensor:
    return native.empty_samples(x, x.shape[0], x.shape[1] * (2 * n_frequencies + include_input))


@_frequency_backward.register_fake
def _(x: Tensor, grad_out: Tensor, n_frequencies: int, include_input: bool) -> Tensor:
    return native.empty_samples(x, x.shape[0], x.shape[1])


def _setup_context(ctx, inputs, output) -> None:
    x, *ctx.settings = inputs
    ctx.save_for_backward(x)


def _backward(ctx, grad_out: Tensor):
    (x,) = ctx.saved_tensors
    return _frequency_backward(x, grad_out, *ctx.settings), None, None


_frequency.register_autograd(_backward, setup_context=_setup_context)
