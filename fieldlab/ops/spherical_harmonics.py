"""Real spherical harmonics of unit directions, the usual encoding of view (Müller et al. 2022, section 5.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation


def spherical_harmonics(directions: Tensor, degree: int) -> Tensor:
    """Evaluate all harmonics below ``degree``.

    Order and signs are tiny-cuda-nn's; unlike there the input is the direction itself, not (direction + 1) / 2.

    Args:
        directions: unit vectors, float32 [S,3].
        degree: number of bands, 1 to 4.

    Returns:
        float32 [S, degree^2]; differentiable in ``directions``.

    Raises:
        ConfigError: ``degree`` is not 1, 2, 3 or 4.
    """
    if degree not in (1, 2, 3, 4):
        raise ConfigError("spherical harmonics have degree 1 to 4 here", found=degree)
    if native.active(directions):
        return _spherical_harmonics(directions, degree)
    return spherical_harmonics_reference(directions, degree)


def spherical_harmonics_reference(directions: Tensor, degree: int) -> Tensor:
    """The same in plain PyTorch."""
    x, y, z = directions.unbind(-1)
    bands = [0.28209479177387814 + 0 * x]
    if degree > 1:
        c = 0.48860251190291987
        bands += [-c * y, c * z, -c * x]
    if degree > 2:
        c = 1.0925484305920792
        bands += [
            c * x * y,
            -c * y * z,
            0.94617469575755997 * z * z - 0.31539156525251999,
            -c * x * z,
            c / 2 * (x * x - y * y),
        ]
    if degree > 3:
        bands += [
            0.59004358992664352 * y * (-3 * x * x + y * y),
            2.8906114426405538 * x * y * z,
            0.45704579946446572 * y * (1 - 5 * z * z),
            0.3731763325901154 * z * (5 * z * z - 3),
            0.45704579946446572 * x * (1 - 5 * z * z),
            1.4453057213202769 * z * (x * x - y * y),
            0.59004358992664352 * x * (-x * x + 3 * y * y),
        ]
    return torch.stack(bands, -1)


@operation("spherical_harmonics")
def _spherical_harmonics(directions: Tensor, degree: int) -> Tensor:
    out = native.empty_samples(directions, len(directions), degree * degree)
    native.library.spherical_harmonics_forward(
        native.target(out), n=len(out), degree=degree, directions=native.array(directions), out=native.array(out)
    )
    return out


@operation("spherical_harmonics_backward")
def _spherical_harmonics_backward(directions: Tensor, grad_out: Tensor, degree: int) -> Tensor:
    grad = native.empty_samples(directions, len(directions), 3)
    native.library.spherical_harmonics_backward(
        native.target(grad),
        n=len(grad),
        degree=degree,
        directions=native.array(directions),
        grad_out=native.array(grad_out),
        grad_directions=native.array(grad),
    )
    return grad


@_spherical_harmonics.register_fake
def _(directions: Tensor, degree: int) -> Tensor:
    return native.empty_samples(directions, len(directions), degree * degree)


@_spherical_harmonics_backward.register_fake
def _(directions: Tensor, grad_out: Tensor, degree: int) -> Tensor:
    return native.empty_samples(directions, len(directions), 3)


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.degree = inputs[1]


def _backward(ctx, grad_out: Tensor):
    (directions,) = ctx.saved_tensors
    return _spherical_harmonics_backward(directions, grad_out, ctx.degree), None


_spherical_harmonics.register_autograd(_backward, setup_context=_setup_context)
