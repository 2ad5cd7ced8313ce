"""The distortion loss, which draws each ray's weight together (Barron et al. 2022, equation 15), on packed samples."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation
from fieldlab.ops.samples import Samples, packed, sum_before


def distortion_loss(weights: Tensor, samples: Samples) -> Tensor:
    """``sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 dt_i`` of each ray, m the samples' middles.

    Args:
        weights: [S], as ``composite`` gives them.
        samples: S samples on N rays.

    Returns:
        [N], in world units (mip-NeRF 360 measures distance as a fraction of the ray); differentiable in ``weights``.

    Raises:
        ConfigError: there is not one weight per sample.
    """
    if weights.shape != samples.t_starts.shape:
        raise ConfigError("there is one weight per sample", found=tuple(weights.shape), expected=(len(samples),))
    if native.active(weights):
        return _distortion(weights, samples.ray_offsets, samples.t_starts, samples.t_ends)
    return distortion_loss_reference(weights, samples)


def distortion_loss_reference(weights: Tensor, samples: Samples) -> Tensor:
    """The same in plain PyTorch."""
    middles = samples.middles
    weight_before = sum_before(weights, samples.ray_offsets, samples.ray_indices)
    moment_before = sum_before(weights * middles, samples.ray_offsets, samples.ray_indices)
    terms = 2 * weights * (middles * weight_before - moment_before) + weights**2 * samples.lengths / 3
    return weights.new_zeros(samples.n_rays).index_add(0, samples.ray_indices, terms)


@operation("distortion")
def _distortion(weights: Tensor, ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor) -> Tensor:
    loss = weights.new_empty(len(ray_offsets) - 1)
    weights = weights.contiguous()
    native.library.distortion_forward(
        native.target(loss),
        samples=packed(ray_offsets, t_starts, t_ends),
        weights=native.pointer(weights),
        loss=native.pointer(loss),
    )
    return loss


@operation("distortion_backward")
def _distortion_backward(
    weights: Tensor, ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor, grad_loss: Tensor
) -> Tensor:
    grad_weights = torch.empty_like(t_starts)
    weights, grad_loss = weights.contiguous(), grad_loss.contiguous()
    native.library.distortion_backward(
        native.target(weights),
        samples=packed(ray_offsets, t_starts, t_ends),
        weights=native.pointer(weights),
        grad_loss=native.pointer(grad_loss),
        grad_weights=native.pointer(grad_weights),
    )
    return grad_weights


@_distortion.register_fake
def _(weights: Tensor, ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor) -> Tensor:
    return weights.new_empty(len(ray_offsets) - 1)


@_distortion_backward.register_fake
def _(weights: Tensor, ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor, grad_loss: Tensor) -> Tensor:
    return torch.empty_like(t_starts)


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad_loss: Tensor):
    return _distortion_backward(*ctx.saved_tensors, grad_loss), None, None, None


_distortion.register_autograd(_backward, setup_context=_setup_context)
