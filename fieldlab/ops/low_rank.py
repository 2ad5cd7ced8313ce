"""Low-rank tensors over the unit cube (TensoRF: Chen et al. 2022): sums of products of planes and lines, or of lines.

Parameters are one flat array of factors, one after another: the planes over axes (0,1), (0,2), (1,2) and the lines
along axes 2, 1, 0 of a vector-matrix (``vm``) tensor, the lines along axes 0, 1, 2 of a CANDECOMP/PARAFAC (``cp``) one.
A plane is [vertices of its second axis, of its first, rank], a line [vertices, rank]; x = 0 is the first vertex
and x = 1 the last.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.operation import operation

KINDS = ("vm", "cp")
_MAX_PARAMS = 2**31 - 1
_PRODUCTS, _SUM = 0, -1  # outputs of a plan, besides numbers of combinations


@dataclass(frozen=True)
class LowRankSpec:
    """The shape of a low-rank tensor: vertices along each axis, and ``rank`` products for each term.

    A ``vm`` tensor has three terms, plane times line (eq. 4 of the paper), a ``cp`` tensor one, line times line times
    line (eq. 1).
    """

    kind: str
    resolution: tuple[int, int, int]
    rank: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError("unknown kind of low-rank tensor", found=self.kind, expected=" | ".join(KINDS))
        if len(self.resolution) != 3 or min(self.resolution) < 2:
            raise ConfigError(
                "a low-rank tensor has two or more vertices along each axis", field="resolution", found=self.resolution
            )
        if self.rank < 1:
            raise ConfigError("a low-rank tensor has a rank of one or more", field="rank", found=self.rank)
        if self.n_params > _MAX_PARAMS:
            raise ConfigError(
                "a low-rank tensor is too large", field="resolution, rank", found=self.n_params,
                expected=f"at most {_MAX_PARAMS} values",
            )  # fmt: skip

    @property
    def terms(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """For each term the axes of its factors."""
        if self.kind == "vm":
            return ((0, 1), (2,)), ((0, 2), (1,)), ((1, 2), (0,))
        return (((0,), (1,), (2,)),)

    @functools.cached_property
    def factors(self) -> tuple[tuple[int, ...], ...]:
        """Axes of all factors in the order they are stored."""
        return tuple(axes for factors in zip(*self.terms, strict=True) for axes in factors)

    def shape(self, axes: tuple[int, ...]) -> tuple[int, ...]:
        """Of the factor over these axes; its first axis comes last but for the rank."""
        return (*(self.resolution[axis] for axis in reversed(axes)), self.rank)

    @property
    def n_products(self) -> int:
        """Number of products: rank times terms."""
        return len(self.terms) * self.rank

    @functools.cached_property
    def n_params(self) -> int:
        """Number of values."""
        return sum(math.prod(self.shape(axes)) for axes in self.factors)

    def plan(self, outputs: int) -> list[int]:
        """What the native kernels take; ``outputs`` is the number of combinations of products, 0 for the products
        themselves, -1 for their sum."""
        return [int(self.kind == "vm"), *self.resolution, self.rank, outputs]


@dataclass(frozen=True)
class LowRankPlan:
    """A low-rank tensor over a box in the unit cube as the fused renderer takes it.

    Without a basis it gives the sum of its products, and ``outside`` beyond the box; with a basis [C,spec.n_products]
    combinations of them, which go on as at the border.
    """

    params: Tensor
    spec: LowRankSpec
    basis: Tensor | None
    low: tuple[float, ...]
    high: tuple[float, ...]
    outside: float

    @property
    def n_out(self) -> int:
        return 1 if self.basis is None else len(self.basis)

    def tensors(self) -> list[Tensor]:
        return [t for t in (self.params, self.basis) if t is not None]

    def native(self) -> Any:
        plan = self.spec.plan(_SUM if self.basis is None else len(self.basis))
        return native.library.low_rank_encoder(
            tensor=_tensor(plan),
            params=native.pointer(self.params),
            basis=native.pointer(self.basis),
            low=self.low,
            high=self.high,
            outside=self.outside,
        )

    def reference(self, x: Tensor) -> Tensor:
        low, high = (x.new_tensor(side) for side in (self.low, self.high))
        x = (x - low) / (high - low)
        if self.basis is not None:
            return low_rank_reference(x, self.params, self.spec) @ self.basis.t()
        outside = ((x < 0) | (x > 1)).any(-1, keepdim=True)
        return low_rank_reference(x, self.params, self.spec, summed=True).masked_fill(outside, self.outside)


def split_factors(params: Tensor, spec: LowRankSpec) -> list[Tensor]:
    """Views of the factors in the flat array, in the order of ``spec.factors``."""
    shapes = [spec.shape(axes) for axes in spec.factors]
    parts = params.split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def low_rank(x: Tensor, params: Tensor, spec: LowRankSpec, *, summed: bool = False) -> Tensor:
    """Interpolate the factors and multiply them.

    Args:
        x: float32 [S,3] in [0,1]; values outside are clamped.
        params: float32 [spec.n_params].
        spec: the shape of the tensor.
        summed: return the sum of all products rather than each.

    Returns:
        float32 [S,spec.n_products], term by term, or [S,1]; differentiable in ``params`` and ``x``.

    Raises:
        ConfigError: the array has another size than the spec asks for.
    """
    if params.numel() != spec.n_params:
        raise ConfigError("a low-rank tensor has the wrong size", found=params.numel(), expected=spec.n_params)
    if native.active(x, params):
        return _low_rank(x, params, None, spec.plan(_SUM if summed else _PRODUCTS))
    return low_rank_reference(x, params, spec, summed=summed)


def low_rank_combined(x: Tensor, params: Tensor, basis: Tensor, spec: LowRankSpec) -> Tensor:
    """Linear combinations of the products: B(...) in eq. 10 of the paper.

    On the CPU the products never leave a core's cache; on CUDA they are written out for a matrix product.

    Args:
        x: float32 [S,3] in [0,1]; values outside are clamped.
        params: float32 [spec.n_params].
        basis: float32 [C,spec.n_products].
        spec: the shape of the tensor.

    Returns:
        float32 [S,C]; differentiable in ``params``, ``basis`` and ``x``.

    Raises:
        ConfigError: an array has another size than the spec asks for.
    """
    if basis.dim() != 2 or basis.shape[1] != spec.n_products:
        raise ConfigError("a basis has the wrong shape", found=tuple(basis.shape), expected=("C", spec.n_products))
    if x.is_cuda or not native.active(x, params, basis):
        return low_rank(x, params, spec) @ basis.t()
    if params.numel() != spec.n_params:
        raise ConfigError("a low-rank tensor has the wrong size", found=params.numel(), expected=spec.n_params)
    return _low_rank(x, params, basis, spec.plan(basis.shape[0]))


def low_rank_reference(x: Tensor, params: Tensor, spec: LowRankSpec, *, summed: bool = False) -> Tensor:
    """The same in plain PyTorch."""
    x = x.clamp(0.0, 1.0)
    factor_of = dict(zip(spec.factors, split_factors(params.to(x.dtype), spec), strict=True))
    products = []
    for term in spec.terms:
        values = [_interpolate(factor_of[axes], x[:, list(reversed(axes))]) for axes in term]
        products.append(functools.reduce(torch.mul, values))
    out = torch.cat(products, 1)
    return out.sum(1, keepdim=True) if summed else out


def _interpolate(factor: Tensor, x: Tensor) -> Tensor:
    """Linear interpolation of a factor [..., R] at x [S,D], one column for each of its axes but the last: [S,R]."""
    sizes = torch.tensor(factor.shape[:-1], device=x.device)
    position = x * (sizes - 1)
    lower = position.detach().long().clamp(max=sizes - 2)
    upper = position - lower
    total = x.new_zeros(len(x), factor.shape[-1])
    for corner in range(1 << x.shape[1]):
        bits = torch.tensor([corner >> axis & 1 for axis in range(x.shape[1])], device=x.device)
        weight = torch.where(bits.bool(), upper, 1 - upper).prod(-1)
        total = total + weight[:, None] * factor[tuple((lower + bits).unbind(1))]
    return total


def add_penalty_gradient(
    grad: Tensor, params: Tensor, spec: LowRankSpec, *, l1: float = 0.0, total_variation: float = 0.0
) -> None:
    """Add the derivative of the regularizers of section 4.2 of the paper to ``grad``, in place.

    They are, summed over factors, ``l1`` times the mean magnitude and, summed over each factor's axes too,
    ``total_variation`` times the mean squared difference of neighbors (see :func:`penalty`).

    Args:
        grad: float32 [spec.n_params].
        params: float32 [spec.n_params].
        spec: the shape of the tensor.
    """
    if native.active(params, grad):
        native.library.low_rank_penalty(
            native.target(params),
            tensor=_tensor(spec.plan(_PRODUCTS)),
            params=native.pointer(params),
            l1=l1,
            total_variation=total_variation,
            grad_params=native.pointer(grad),
        )
        return
    with torch.enable_grad():
        leaf = params.detach().requires_grad_()
        (more,) = torch.autograd.grad(penalty(leaf, spec, l1=l1, total_variation=total_variation), leaf)
    grad += more


def penalty(params: Tensor, spec: LowRankSpec, *, l1: float = 0.0, total_variation: float = 0.0) -> Tensor:
    """The regularizers whose derivative ``add_penalty_gradient`` adds, in plain PyTorch; a scalar."""
    total = params.new_zeros(())
    for factor in split_factors(params, spec):
        total = total + l1 * factor.abs().mean()
        for axis in range(factor.dim() - 1):
            total = total + total_variation * factor.diff(dim=axis).square().mean()
    return total


def resample(params: Tensor, spec: LowRankSpec, to: LowRankSpec, box: Tensor | None = None) -> Tensor:
    """Factors of another resolution, interpolated linearly: the coarse-to-fine steps of section 4.2 of the paper.

    Args:
        params: float32 [spec.n_params].
        spec: their shape.
        to: the shape wanted; kind and rank are the same.
        box: [2,3] within the unit cube; the new factors cover only this part. All of it by default.

    Returns:
        float32 [to.n_params]; the same function wherever the new vertices include the old ones.
    """
    low, high = (params.new_zeros(3), params.new_ones(3)) if box is None else box.to(params)
    made = []
    for axes, factor in zip(spec.factors, split_factors(params.detach(), spec), strict=True):
        for dimension, axis in enumerate(reversed(axes)):
            # Lines in double precision, so that vertices shared by both resolutions stay exactly where they are.
            x = torch.linspace(float(low[axis]), float(high[axis]), to.resolution[axis], dtype=torch.float64)
            position = x * (spec.resolution[axis] - 1)
            lower = position.long().clamp(0, spec.resolution[axis] - 2)
            shape = [-1 if i == dimension else 1 for i in range(factor.dim())]
            upper = (position - lower).to(factor).view(shape)
            lower = lower.to(factor.device)
            factor = torch.lerp(factor.index_select(dimension, lower), factor.index_select(dimension, lower + 1), upper)
        made.append(factor.reshape(-1))
    return torch.cat(made)


def _tensor(plan: list[int]) -> dict[str, Any]:
    """A tensor as the native module takes it."""
    vm, r0, r1, r2, rank, outputs = plan
    return {"vm": bool(vm), "resolution": [r0, r1, r2], "rank": rank, "outputs": outputs}


def _channels(plan: list[int]) -> int:
    kind, _, _, _, rank, outputs = plan
    return {_SUM: 1, _PRODUCTS: rank * (3 if kind else 1)}.get(outputs, outputs)


@operation("low_rank")
def _low_rank(x: Tensor, params: Tensor, basis: Tensor | None, plan: list[int]) -> Tensor:
    out = native.empty_samples(x, len(x), _channels(plan))
    native.library.low_rank_forward(
        native.target(x),
        n=len(x),
        tensor=_tensor(plan),
        x=native.array(x),
        params=native.pointer(params),
        basis=native.pointer(basis),
        out=native.array(out),
    )
    return out


@operation("low_rank_backward_params")
def _backward_params(
    x: Tensor, params: Tensor, basis: Tensor | None, grad_out: Tensor, plan: list[int]
) -> tuple[Tensor, Tensor]:
    grad, grad_basis = torch.zeros_like(params), params.new_zeros(() if basis is None else basis.shape)
    native.library.low_rank_backward_params(
        native.target(x),
        n=len(x),
        tensor=_tensor(plan),
        x=native.array(x),
        params=native.pointer(params),
        basis=native.pointer(basis),
        grad_out=native.array(grad_out),
        grad_params=native.pointer(grad),
        grad_basis=native.pointer(grad_basis),
    )
    return grad, grad_basis


@operation("low_rank_backward_input")
def _backward_input(x: Tensor, params: Tensor, basis: Tensor | None, grad_out: Tensor, plan: list[int]) -> Tensor:
    grad = native.empty_samples(x, len(x), 3)
    native.library.low_rank_backward_input(
        native.target(x),
        n=len(x),
        tensor=_tensor(plan),
        x=native.array(x),
        params=native.pointer(params),
        basis=native.pointer(basis),
        grad_out=native.array(grad_out),
        grad_x=native.array(grad),
    )
    return grad


@_low_rank.register_fake
def _(x, params, basis, plan):
    return native.empty_samples(x, x.shape[0], _channels(plan))


@_backward_params.register_fake
def _(x, params, basis, grad_out, plan):
    return torch.empty_like(params), params.new_empty(() if basis is None else basis.shape)


@_backward_input.register_fake
def _(x, params, basis, grad_out, plan):
    return native.empty_samples(x, x.shape[0], 3)


def _setup_context(ctx, inputs, output) -> None:
    x, params, basis, ctx.plan = inputs
    ctx.save_for_backward(x, params, basis)


def _backward(ctx, grad_out: Tensor):
    x, params, basis = ctx.saved_tensors
    grad_x = _backward_input(x, params, basis, grad_out, ctx.plan) if ctx.needs_input_grad[0] else None
    if not any(ctx.needs_input_grad[1:3]):
        return grad_x, None, None, None
    grad_params, grad_basis = _backward_params(x, params, basis, grad_out, ctx.plan)
    return grad_x, grad_params, None if basis is None else grad_basis, None


_low_rank.register_autograd(_backward, setup_context=_setup_context)
