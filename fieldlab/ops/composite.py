"""Compositing packed samples into pixels: emission and absorption (Max 1995; Mildenhall et al. 2020, equation 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation
from fieldlab.ops.samples import Samples, packed, sum_before

_OPAQUE = 100.0  # exp(-100) is nothing in float32; deeper samples would drown the others' digits in a running sum


@dataclass(frozen=True)
class Composite:
    """What N rays see. Light that passed all samples is ``1 - opacity``; there is no background in here."""

    values: Tensor  # [N,C], sum of weight * value
    opacity: Tensor  # [N], sum of weights
    depth: Tensor  # [N], sum of weight * middle of the sample; divide by opacity for a mean distance
    weights: Tensor  # [S]


def composite(sigmas: Tensor, values: Tensor | None, samples: Samples, early_stop: float = 1e-4) -> Composite:
    """Blend samples front to back.

    With ``alpha = 1 - exp(-sigma * (t_end - t_start))`` and ``T`` the product of ``1 - alpha`` over the samples in
    front, a sample's weight is ``T * alpha`` if ``T >= early_stop``, else 0. Differentiable in ``sigmas`` and
    ``values`` from all four results; which samples count is taken as given.

    Args:
        sigmas: density per world unit, not negative, [S].
        values: what to blend, [S,C] with any strides, or None for C = 0.
        samples: S samples on N rays.
        early_stop: transmittance below which nothing counts any more; 0 lets all samples count.

    Raises:
        ConfigError: the arrays' lengths differ from the number of samples.
    """
    _check(sigmas, samples)
    if values is not None and (values.dim() != 2 or len(values) != len(samples)):
        raise ConfigError("values have shape [S,C]", found=tuple(values.shape), expected=(len(samples), "C"))
    if not native.active(sigmas):
        return composite_reference(sigmas, values, samples, early_stop)
    blended, opacity, depth, weights, _ = _composite(
        sigmas, values, samples.ray_offsets, samples.t_starts, samples.t_ends, early_stop
    )
    return Composite(blended, opacity, depth, weights)


def composite_reference(sigmas: Tensor, values: Tensor | None, samples: Samples, early_stop: float = 1e-4) -> Composite:
    """The same in plain PyTorch."""
    light, alphas = transmittance_reference(sigmas, samples)
    weights = torch.where(light >= early_stop, light, 0) * alphas
    columns = [weights, weights * samples.middles]
    if values is not None:
        columns += [weights * v for v in values.unbind(1)]
    sums = weights.new_zeros((samples.n_rays, len(columns))).index_add(0, samples.ray_indices, torch.stack(columns, 1))
    return Composite(sums[:, 2:], sums[:, 0], sums[:, 1], weights)


def transmittance_reference(sigmas: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """Transmittance in front of each sample and its alpha, both [S], in plain PyTorch."""
    thickness = (sigmas * samples.lengths).clamp_max(_OPAQUE)
    before = sum_before(thickness, samples.ray_offsets, samples.ray_indices)
    return torch.exp(-before), -torch.expm1(-thickness)


def visible(sigmas: Tensor, samples: Samples, early_stop: float = 1e-4, least_alpha: float = 0.0) -> Tensor:
    """Which samples count: transmittance in front of them at least ``early_stop``, and alpha at least ``least_alpha``.

    Returns:
        bool [S]; ``keep(samples, mask)`` drops the others.
    """
    _check(sigmas, samples)
    if native.active(sigmas):
        return _visible(sigmas.detach(), samples.ray_offsets, samples.t_starts, samples.t_ends, early_stop, least_alpha)
    return visible_reference(sigmas.detach(), samples, early_stop, least_alpha)


def visible_reference(sigmas: Tensor, samples: Samples, early_stop: float = 1e-4, least_alpha: float = 0.0) -> Tensor:
    """The same in plain PyTorch."""
    light, alphas = transmittance_reference(sigmas, samples)
    return (light >= early_stop) & (alphas >= least_alpha)


def _check(per_sample: Tensor, samples: Samples) -> None:
    if per_sample.shape != samples.t_starts.shape:
        raise ConfigError("there is one density per sample", found=tuple(per_sample.shape), expected=(len(samples),))


@operation("composite")
def _composite(
    sigmas: Tensor, values: Tensor | None, ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor, early_stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rays = len(ray_offsets) - 1
    channels = 0 if values is None else values.shape[1]
    out = native.empty_samples(sigmas, rays, channels)
    opacity, depth = sigmas.new_empty(rays), sigmas.new_empty(rays)
    weights = torch.empty_like(t_starts)
    transmittance = torch.empty_like(t_starts)
    sigmas = sigmas.contiguous()
    native.library.composite_forward(
        native.target(out),
        samples=packed(ray_offsets, t_starts, t_ends),
        channels=channels,
        early_stop=early_stop,
        sigmas=native.pointer(sigmas),
        values=native.array(values),
        out=native.array(out),
        opacity=native.pointer(opacity),
        depth=native.pointer(depth),
        weights=native.pointer(weights),
        transmittance=native.pointer(transmittance),
    )
    return out, opacity, depth, weights, transmittance


@operation("composite_backward")
def _composite_backward(
    sigmas: Tensor,
    values: Tensor | None,
    ray_offsets: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    weights: Tensor,
    transmittance: Tensor,
    grad_out: Tensor | None,
    grad_opacity: Tensor | None,
    grad_depth: Tensor | None,
    grad_weights: Tensor | None,
    want_values: bool,
) -> tuple[Tensor, Tensor]:
    if values is None or grad_out is None:
        values = grad_out = None
    grad_sigmas = torch.empty_like(t_starts)
    channels = 0 if values is None else values.shape[1]
    grad_values = native.empty_samples(sigmas, len(t_starts) if want_values else 0, channels)
    per_ray = [native.pointer(None if g is None else g.contiguous()) for g in (grad_opacity, grad_depth, grad_weights)]
    sigmas = sigmas.contiguous()
    native.library.composite_backward(
        native.target(sigmas),
        samples=packed(ray_offsets, t_starts, t_ends),
        channels=channels,
        sigmas=native.pointer(sigmas),
        values=native.array(values),
        weights=native.pointer(weights),
        transmittance=native.pointer(transmittance),
        grad_out=native.array(grad_out),
        grad_opacity=per_ray[0],
        grad_depth=per_ray[1],
        grad_weights=per_ray[2],
        grad_sigmas=native.pointer(grad_sigmas),
        grad_values=native.array(grad_values if want_values and values is not None else None),
    )
    return grad_sigmas, grad_values


@_composite.register_fake
def _(sigmas, values, ray_offsets, t_starts, t_ends, early_stop):
    rays = len(ray_offsets) - 1
    out = native.empty_samples(sigmas, rays, 0 if values is None else values.shape[1])
    per_ray, per_sample = sigmas.new_empty(rays), torch.empty_like(t_starts)
    return out, per_ray, torch.empty_like(per_ray), per_sample, torch.empty_like(per_sample)


@_composite_backward.register_fake
def _(sigmas, values, ray_offsets, t_starts, t_ends, weights, transmittance, grad_out, *_grads_and_flag):
    want_values = _grads_and_flag[-1]
    channels = 0 if values is None or grad_out is None else values.shape[1]
    return torch.empty_like(t_starts), native.empty_samples(sigmas, len(t_starts) if want_values else 0, channels)


def _setup_context(ctx, inputs, output) -> None:
    sigmas, values, ray_offsets, t_starts, t_ends, _ = inputs
    ctx.save_for_backward(sigmas, values, ray_offsets, t_starts, t_ends, output[3], output[4])
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_out, grad_opacity, grad_depth, grad_weights, _grad_transmittance):
    values = ctx.saved_tensors[1]
    want_values = ctx.needs_input_grad[1] and grad_out is not None
    grad_sigmas, grad_values = _composite_backward(
        *ctx.saved_tensors, grad_out, grad_opacity, grad_depth, grad_weights, want_values
    )
    return grad_sigmas, grad_values if want_values and values is not None else None, None, None, None, None


_composite.register_autograd(_backward, setup_context=_setup_context)


@operation("visible")
def _visible(
    sigmas: Tensor, ray_offsets: Tensor, t_starts: Tensor, t_ends: Tensor, early_stop: float, least_alpha: float
) -> Tensor:
    mask = torch.empty(len(t_starts), dtype=torch.bool, device=t_starts.device)
    sigmas = sigmas.contiguous()
    native.library.visible_samples(
        native.target(sigmas),
        samples=packed(ray_offsets, t_starts, t_ends),
        sigmas=native.pointer(sigmas),
        early_stop=early_stop,
        least_alpha=least_alpha,
        visible=native.pointer(mask, torch.bool),
    )
    return mask


@_visible.register_fake
def _(sigmas, ray_offsets, t_starts, t_ends, early_stop, least_alpha):
    return torch.empty(len(t_starts), dtype=torch.bool, device=t_starts.device)
