"""Color without a network: spherical harmonics with a coefficient per band and channel, then a sigmoid.

Plenoxels (Fridovich-Keil, Yu et al. 2022, section 3.1) adds 0.5 to the sum and cuts off below zero; a sigmoid keeps
colors in range on both sides and has a derivative everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation
from fieldlab.ops.spherical_harmonics import spherical_harmonics_reference


def harmonic_color(coefficients: Tensor, directions: Tensor) -> Tensor:
    """sigmoid(sum_k coefficients[c,k] * Y_k(direction)) for the three channels c.

    Args:
        coefficients: float32 [S, 3 * degree^2], channel by channel, degree 1 to 4; harmonics in the order of
            :func:`fieldlab.ops.spherical_harmonics.spherical_harmonics`.
        directions: unit vectors, float32 [S,3].

    Returns:
        float32 [S,3] in [0,1]; differentiable in both.

    Raises:
        ConfigError: the number of coefficients belongs to no degree.
    """
    if coefficients.shape[1] not in (3, 12, 27, 48):
        raise ConfigError("harmonic colors have 3, 12, 27 or 48 coefficients", found=coefficients.shape[1])
    if native.active(coefficients, directions):
        return _harmonic_color(coefficients, directions)
    return harmonic_color_reference(coefficients, directions)


def harmonic_color_reference(coefficients: Tensor, directions: Tensor) -> Tensor:
    """The same in plain PyTorch."""
    bands = coefficients.shape[1] // 3
    harmonics = spherical_harmonics_reference(directions, round(bands**0.5))
    return torch.einsum("sck,sk->sc", coefficients.reshape(-1, 3, bands), harmonics).sigmoid()


def _degree(coefficients: Tensor) -> int:
    return round((coefficients.shape[1] // 3) ** 0.5)


@operation("harmonic_color")
def _harmonic_color(coefficients: Tensor, directions: Tensor) -> Tensor:
    out = native.empty_samples(directions, len(directions), 3)
    native.library.harmonic_color_forward(
        native.target(out),
        n=len(out),
        degree=_degree(coefficients),
        coefficients=native.array(coefficients),
        directions=native.array(directions),
        out=native.array(out),
    )
    return out


@operation("harmonic_color_backward")
def _harmonic_color_backward(
    coefficients: Tensor, directions: Tensor, out: Tensor, grad_out: Tensor, with_directions: bool
) -> tuple[Tensor, Tensor]:
    grad_coefficients = native.empty_samples(directions, *coefficients.shape)
    grad_directions = native.empty_samples(directions, len(out) if with_directions else 0, 3)
    native.library.harmonic_color_backward(
        native.target(out),
        n=len(out),
        degree=_degree(coefficients),
        coefficients=native.array(coefficients),
        directions=native.array(directions),
        out=native.array(out),
        grad_out=native.array(grad_out),
        grad_coefficients=native.array(grad_coefficients),
        grad_directions=native.array(grad_directions if with_directions else None),
    )
    return grad_coefficients, grad_directions


@_harmonic_color.register_fake
def _(coefficients, directions):
    return native.empty_samples(directions, directions.shape[0], 3)


@_harmonic_color_backward.register_fake
def _(coefficients, directions, out, grad_out, with_directions):
    return (
        native.empty_samples(directions, coefficients.shape[0], coefficients.shape[1]),
        native.empty_samples(directions, out.shape[0] if with_directions else 0, 3),
    )


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs, output)


def _backward(ctx, grad_out: Tensor):
    with_directions = ctx.needs_input_grad[1]
    grad_coefficients, grad_directions = _harmonic_color_backward(*ctx.saved_tensors, grad_out, with_directions)
    return grad_coefficients, grad_directions if with_directions else None


_harmonic_color.register_autograd(_backward, setup_context=_setup_context)
