"""Multilayer perceptrons with ReLU between layers, evaluated whole by one kernel (Müller et al. 2021, 2022).

Parameters are one flat array: weight matrices row-major [out,in] from first to last, then the biases, if any, in the
same order. ``to_tcnn`` and ``from_tcnn`` convert to tiny-cuda-nn's padded arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native, tcnn
from fieldlab.ops.operation import operation

ACTIVATIONS = ("none", "sigmoid")
_TCNN_ALIGNMENT = 16
_SAVING_WIDTH = 128


@dataclass(frozen=True)
class MLPSpec:
    """The shape of a multilayer perceptron: ``n_hidden`` hidden layers of ``width``, then ``n_out`` outputs.

    Args:
        n_in, n_out: inputs and outputs, 1 to 1024.
        width: units of a hidden layer, a multiple of 16 up to 256.
        n_hidden: hidden layers, at most 8; with none the network is one linear map.
        bias: whether layers have biases.
        output_activation: ``none`` or ``sigmoid``.
        sine: unit j of the first hidden layer gives h + sin(f_j h) in place of ReLU, its frequencies f_j spaced evenly
            in logarithm from the first to the second of these limits (NeuRBF, Chen et al. 2023).
        skip: this hidden layer sees the inputs again, after the units of the one before (counted from 0, which means
            that none does); NeRF (Mildenhall et al. 2020) has 4.

    Raises:
        ConfigError: a value is out of its range.
    """

    n_in: int
    n_out: int
    width: int = 64
    n_hidden: int = 1
    bias: bool = False
    output_activation: str = "none"
    sine: tuple[float, float] | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if self.n_in < 1 or self.n_out < 1 or self.n_in > 1024 or self.n_out > 1024:
            raise ConfigError("an MLP takes and gives 1 to 1024 values", found=(self.n_in, self.n_out))
        if self.width % 16 or not 16 <= self.width <= 256:
            raise ConfigError("the width of a fused MLP is a multiple of 16 from 16 to 256", found=self.width)
        if not 0 <= self.n_hidden <= 8:
            raise ConfigError("a fused MLP has 0 to 8 hidden layers", found=self.n_hidden)
        if self.skip < 0 or self.skip >= max(self.n_hidden, 1):
            raise ConfigError(
                "an MLP sees its inputs again in a hidden layer after the first",
                field="skip",
                found=self.skip,
                expected=f"0 (nowhere) to {max(self.n_hidden, 1) - 1}",
            )
        if self.sine is not None and (self.n_hidden == 0 or not 0 < self.sine[0] <= self.sine[1]):
            raise ConfigError(
                "sines need a hidden layer and two positive frequencies, the lower first", field="sine", found=self.sine
            )
        if self.output_activation not in ACTIVATIONS:
            raise ConfigError(
                "unknown output activation", found=self.output_activation, expected=" | ".join(ACTIVATIONS)
            )

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer."""
        ins = [self.n_in] + [self.width] * self.n_hidden
        if self.skip:
            ins[self.skip] += self.n_in
        return list(zip(ins, [self.width] * self.n_hidden + [self.n_out], strict=True))

    def native_shape(self, first: int) -> dict[str, Any]:
        """The shape as the native module takes it, where the first of two inputs has ``first`` values."""
        return _shape(first, self.n_in - first, self.plan, self.sine)

    @property
    def plan(self) -> list[int]:
        """What custom operations take of it, besides sines and the sizes of inputs."""
        sigmoid = self.output_activation == "sigmoid"
        return [self.n_out, self.width, self.n_hidden, int(self.bias), int(sigmoid), self.skip]

    @property
    def n_params(self) -> int:
        """Length of the flat parameter array."""
        return sum(i * o + (o if self.bias else 0) for i, o in self.layers)


def init_mlp(spec: MLPSpec, generator: torch.Generator | None = None) -> Tensor:
    """Fresh parameters: Xavier-uniform weights (Glorot & Bengio 2010), zero biases."""
    weights = []
    for n_in, n_out in spec.layers:
        bound = math.sqrt(6.0 / (n_in + n_out))
        weights.append((torch.rand(n_out * n_in, generator=generator) * 2 - 1) * bound)
    if spec.bias:
        weights.append(torch.zeros(sum(o for _, o in spec.layers)))
    return torch.cat(weights)


def split_params(params: Tensor, spec: MLPSpec) -> tuple[list[Tensor], list[Tensor | None]]:
    """Views of the weight matrices [out,in] and the biases [out] in a flat parameter array."""
    weights: list[Tensor] = []
    biases: list[Tensor | None] = []
    at = 0
    for n_in, n_out in spec.layers:
        weights.append(params[at : at + n_in * n_out].view(n_out, n_in))
        at += n_in * n_out
    for _, n_out in spec.layers:
        biases.append(params[at : at + n_out] if spec.bias else None)
        at += n_out if spec.bias else 0
    return weights, biases


def mlp(inputs: Tensor | tuple[Tensor, Tensor], params: Tensor, spec: MLPSpec) -> Tensor:
    """Evaluate the perceptron.

    Args:
        inputs: float32 [S,n_in], or two arrays that side by side make [S,n_in] (they are not copied together).
        params: float32 [spec.n_params].
        spec: the shape.

    Returns:
        float32 [S,n_out]; differentiable in inputs and parameters.

    Raises:
        ConfigError: sizes do not fit the spec.
    """
    first, second = inputs if isinstance(inputs, tuple) else (inputs, None)
    n_in = first.shape[1] + (0 if second is None else second.shape[1])
    if n_in != spec.n_in or params.numel() != spec.n_params:
        raise ConfigError(
            "an MLP was given arrays of the wrong size",
            found=(n_in, params.numel()),
            expected=(spec.n_in, spec.n_params),
        )
    if native.active(first, params):
        if native.backend() == "tcnn" and first.is_cuda and _tcnn_can(spec):
            return mlp_tcnn(first, second, params, spec)
        return _mlp(
            first, second, params, spec.plan, list(spec.sine or (0.0, 0.0)), _saves(spec, first, second, params)
        )[0]
    return mlp_reference(inputs, params, spec)


def mlp_reference(inputs: Tensor | tuple[Tensor, Tensor], params: Tensor, spec: MLPSpec) -> Tensor:
    """The same in plain PyTorch."""
    x = torch.cat(inputs, 1) if isinstance(inputs, tuple) else inputs
    weights, biases = split_params(params, spec)
    hidden = x
    for layer, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
        if spec.skip and layer == spec.skip:
            hidden = torch.cat([hidden, x], 1)
        hidden = torch.nn.functional.linear(hidden, weight, bias)
        if spec.sine and layer == 0:
            hidden = hidden + (hidden * sine_frequencies(spec).to(hidden)).sin()
        else:
            hidden = hidden.relu()
    out = torch.nn.functional.linear(hidden, weights[-1], biases[-1])
    return out.sigmoid() if spec.output_activation == "sigmoid" else out


def sine_frequencies(spec: MLPSpec) -> Tensor:
    """Frequencies of the first hidden layer's sines, [width]."""
    assert spec.sine is not None
    low, high = (math.log2(limit) for limit in spec.sine)
    return 2.0 ** torch.linspace(low, high, spec.width, dtype=torch.float64)


def _saves(spec: MLPSpec, *inputs: Tensor | None) -> bool:
    """Whether the forward pass shall save activations: computing them again costs more in networks this wide."""
    return (
        spec.width >= _SAVING_WIDTH
        and torch.is_grad_enabled()
        and not inputs[0].is_cuda  # type: ignore[union-attr]
        and any(t is not None and t.requires_grad for t in inputs)
    )


def _tcnn_can(spec: MLPSpec) -> bool:
    return not spec.bias and not spec.skip and spec.sine is None and spec.n_hidden > 0


def mlp_tcnn(first: Tensor, second: Tensor | None, params: Tensor, spec: MLPSpec) -> Tensor:
    """The same by tiny-cuda-nn, for networks without biases, sines and skips."""
    inputs = first if second is None else torch.cat([first, second], 1)
    return tcnn.evaluate(
        "Network", (spec.n_in, spec.n_out), to_tcnn(params, spec), inputs,
        otype="FullyFusedMLP" if spec.width in (16, 32, 64, 128) else "CutlassMLP", activation="ReLU",
        output_activation=spec.output_activation.capitalize(), n_neurons=spec.width, n_hidden_layers=spec.n_hidden,
    )  # fmt: skip


def to_tcnn(params: Tensor, spec: MLPSpec) -> Tensor:
    """tiny-cuda-nn's array of the same network: inputs and outputs padded to multiples of 16, no biases."""
    weights, _ = split_params(params, spec)
    padded = []
    for weight in weights:
        rows, columns = (_padded(n) for n in weight.shape)
        padded.append(torch.nn.functional.pad(weight, (0, columns - weight.shape[1], 0, rows - weight.shape[0])))
    return torch.cat([w.reshape(-1) for w in padded])


def from_tcnn(params: Tensor, spec: MLPSpec) -> Tensor:
    """The flat array of this module from tiny-cuda-nn's padded one (its padding weights are dropped)."""
    padded = [(_padded(n_out), _padded(n_in)) for n_in, n_out in spec.layers]
    expected = sum(rows * columns for rows, columns in padded)
    if params.numel() != expected:
        raise ConfigError("this is not the parameter array of such an MLP", found=params.numel(), expected=expected)
    blocks = params.split([rows * columns for rows, columns in padded])
    return torch.cat(
        [
            block.view(shape)[:n_out, :n_in].reshape(-1)
            for block, shape, (n_in, n_out) in zip(blocks, padded, spec.layers, strict=True)
        ]
    )


def _padded(n: int) -> int:
    return -(-n // _TCNN_ALIGNMENT) * _TCNN_ALIGNMENT


def _shape(first: int, second: int, plan: list[int], sine: Sequence[float] | None) -> dict[str, Any]:
    n_out, width, n_hidden, bias, sigmoid, skip = plan
    low, high = sine or (0.0, 0.0)
    return {
        "first": first, "second": second, "out": n_out, "width": width, "hidden": n_hidden, "bias": bool(bias),
        "sigmoid": bool(sigmoid), "skip": skip, "sine_low": low, "sine_high": high,
    }  # fmt: skip


def _native_shape(first: Tensor, second: Tensor | None, plan: list[int], sine: list[float]) -> dict[str, Any]:
    """A shape as the native module takes it."""
    return _shape(first.shape[1], 0 if second is None else second.shape[1], plan, sine)


@operation("mlp")
def _mlp(
    first: Tensor, second: Tensor | None, params: Tensor, shape: list[int], sine: list[float], save: bool
) -> tuple[Tensor, Tensor]:
    native_shape = _native_shape(first, second, shape, sine)
    out = native.empty_samples(first, len(first), shape[0])
    saved = first.new_empty(native.library.mlp_saved_size(n=len(first), shape=native_shape) if save else 0)
    native.library.mlp_forward(
        native.target(first),
        n=len(first),
        shape=native_shape,
        first=native.array(first),
        second=native.array(second),
        params=native.pointer(params),
        out=native.array(out),
        saved=native.pointer(saved if save else None),
    )
    return out, saved


@operation("mlp_backward")
def _mlp_backward(
    first: Tensor, second: Tensor | None, params: Tensor, saved: Tensor, out: Tensor, grad_out: Tensor,
    shape: list[int], sine: list[float], need_first: bool, need_second: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    grad_params = torch.zeros_like(params)
    grad_first = native.empty_samples(first, len(first) if need_first else 0, first.shape[1])
    grad_second = native.empty_samples(
        first, len(first) if need_second else 0, 0 if second is None else second.shape[1]
    )
    native.library.mlp_backward(
        native.target(first),
        n=len(first),
        shape=_native_shape(first, second, shape, sine),
        first=native.array(first),
        second=native.array(second),
        params=native.pointer(params),
        saved=native.pointer(saved if saved.numel() else None),
        out=native.array(out),
        grad_out=native.array(grad_out),
        grad_first=native.array(grad_first if need_first else None),
        grad_second=native.array(grad_second if need_second else None),
        grad_params=native.pointer(grad_params),
    )
    return grad_first, grad_second, grad_params


@_mlp.register_fake
def _(first, second, params, shape, sine, save):
    saved = torch.library.get_ctx().new_dynamic_size() if save else 0
    return native.empty_samples(first, first.shape[0], shape[0]), first.new_empty(saved)


@_mlp_backward.register_fake
def _(first, second, params, saved, out, grad_out, shape, sine, need_first, need_second):
    n_second = 0 if second is None else second.shape[1]
    return (
        native.empty_samples(first, first.shape[0] if need_first else 0, first.shape[1]),
        native.empty_samples(first, first.shape[0] if need_second else 0, n_second),
        torch.empty_like(params),
    )


def _setup_context(ctx, inputs, output) -> None:
    first, second, params, ctx.shape, ctx.sine, _ = inputs
    out, saved = output
    ctx.save_for_backward(first, second, params, saved, out)
    ctx.mark_non_differentiable(saved)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_out: Tensor | None, _):
    if grad_out is None:
        return (None,) * 6
    first, second, params, saved, out = ctx.saved_tensors
    need_first, need_second = ctx.needs_input_grad[0], second is not None and ctx.needs_input_grad[1]
    grad_first, grad_second, grad_params = _mlp_backward(
        first, second, params, saved, out, grad_out, ctx.shape, ctx.sine, need_first, need_second
    )
    return grad_first if need_first else None, grad_second if need_second else None, grad_params, None, None, None


_mlp.register_autograd(_backward, setup_context=_setup_context)
