"""Frequency encoding of coordinates (Mildenhall et al. 2020, equation 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.ops import native


def frequency_encode(x: Tensor, n_frequencies: int) -> Tensor:
    """Encode every coordinate by sines and cosines of pi 2^k x, k = 0 ... n_frequencies-1.

    Args:
        x: float32 [S,D].
        n_frequencies: number of octaves, at least 1.

    Returns:
        float32 [S, D * 2 * n_frequencies], in tiny-cuda-nn's order: dimension, then octave, then (sin, cos).
        Differentiable in ``x``.
    """
    if native.active(x):
        return _frequency(x, n_frequencies)
    return frequency_encode_reference(x, n_frequencies)


def frequency_encode_reference(x: Tensor, n_frequencies: int) -> Tensor:
    """The same in plain PyTorch. Arguments are reduced modulo 2 first: float32 pi times 2^k x would lose the phase."""
    octaves = 2.0 ** torch.arange(n_frequencies, dtype=x.dtype, device=x.device)
    phase = x[..., None] * octaves
    phase = (phase - 2.0 * torch.round(phase.detach() / 2.0)) * math.pi
    return torch.stack([phase.sin(), phase.cos()], -1).flatten(1)


@torch.library.custom_op("fieldlab::frequency_encode", mutates_args=())
def _frequency(x: Tensor, n_frequencies: int) -> Tensor:
    samples, dimensions = x.shape
    out = native.empty_samples(x, samples, dimensions * 2 * n_frequencies)
    native.library.frequency_forward(
        native.target(x), samples, dimensions, n_frequencies, native.array(x), native.array(out)
    )
    return out


@torch.library.custom_op("fieldlab::frequency_encode_backward", mutates_args=())
def _frequency_backward(x: Tensor, grad_out: Tensor, n_frequencies: int) -> Tensor:
    samples, dimensions = x.shape
    grad = native.empty_samples(x, samples, dimensions)
    native.library.frequency_backward(
        native.target(x), samples, dimensions, n_frequencies, native.array(x), native.array(grad_out),
        native.array(grad),
    )  # fmt: skip
    return grad


@_frequency.register_fake
def _(x: Tensor, n_frequencies: int) -> Tensor:
    return native.empty_samples(x, x.shape[0], x.shape[1] * 2 * n_frequencies)


@_frequency_backward.register_fake
def _(x: Tensor, grad_out: Tensor, n_frequencies: int) -> Tensor:
    return native.empty_samples(x, x.shape[0], x.shape[1])


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.n_frequencies = inputs[1]


def _backward(ctx, grad_out: Tensor):
    (x,) = ctx.saved_tensors
    return _frequency_backward(x, grad_out, ctx.n_frequencies), None


_frequency.register_autograd(_backward, setup_context=_setup_context)
