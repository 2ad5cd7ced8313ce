"""Radial basis functions of adaptive shape, with sinusoids composed on them (Chen et al. 2023, NeuRBF, section 3).

Neighbor k's value at x, with d = x - center and A the kernel's (scaled) inverse covariance, is phi(q), q = d^T A d:

* ``ivq`` inverse quadratic 1 / (1 + q); ``imq`` inverse multiquadric 1 / sqrt(1 + q); ``gaussian`` exp(-q / 2);
  ``markov`` exp(-sqrt q); ``tent`` the product over axes of max(0, 1 - sqrt(A_jj) |d_j|), which has no rotated form.

Where the kernels are *normalized*, phi is divided by its sum over the neighbors + 1e-8, and that sum is a constant to
derivatives, as in the paper's code. With *support*, phi is multiplied by (1 - |d|^2 / radius^2)^2 inside the kernel's
radius and vanishes outside. A radius of half the distance to the K-th nearest other kernel (``support_radii``)
guarantees that no more than K kernels reach any point, hence that the sum over the K nearest is the sum over all, whose
value and gradient are continuous. (A window that ends at the distance of the (K+1)-th neighbor of x would not do: that
distance, and with it all terms, has a kink wherever the neighbors swap.) Without support both jump where the neighbors
change.

Feature channel c of the encoding is the sum over neighbors of w_kc * sin(m_c * phi_k), or of w_kc * phi_k without
sines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.limits import MAX_NEIGHBORS
from fieldlab.ops.operation import operation
from fieldlab.ops.rbf_index import RbfIndex, rbf_neighbors_reference

KERNELS = ("ivq", "imq", "gaussian", "markov", "tent")
SHAPES = ("isotropic", "axes", "full")


@dataclass(frozen=True)
class RbfSpec:
    """What the kernels are like.

    ``shape`` says what is stored of A: a scale, its diagonal, or its upper triangle row by row.
    """

    dims: int = 3
    kernel: str = "ivq"
    shape: str = "full"
    normalized: bool = False

    def __post_init__(self) -> None:
        if self.dims not in (2, 3):
            raise ConfigError("kernels lie in two or three dimensions", field="dims", found=self.dims)
        if self.kernel not in KERNELS:
            raise ConfigError("no such kernel", field="kernel", found=self.kernel, expected=" | ".join(KERNELS))
        if self.shape not in SHAPES:
            raise ConfigError("there is no such shape", field="shape", found=self.shape, expected=" | ".join(SHAPES))
        if self.kernel == "tent" and self.shape == "full":
            raise ConfigError("a tent cannot be rotated", field="shape", found=self.shape, expected="isotropic | axes")

    @property
    def n_shape(self) -> int:
        """Values stored of A."""
        return {"isotropic": 1, "axes": self.dims, "full": self.dims * (self.dims + 1) // 2}[self.shape]

    @property
    def plan(self) -> list[int]:
        """What the native kernels take."""
        return [self.dims, KERNELS.index(self.kernel), SHAPES.index(self.shape), int(self.normalized)]


def rbf_encode(
    x: Tensor,
    neighbors: Tensor,
    centers: Tensor,
    shapes: Tensor,
    features: Tensor,
    spec: RbfSpec,
    *,
    frequencies: Tensor | None = None,
    support: Tensor | None = None,
) -> Tensor:
    """Features of the neighbors of ``x``, mixed by their kernels.

    Args:
        x: float32 [S,dims] in [0,1]; values outside are clamped.
        neighbors: int32 [S,K] kernels, K at most 16; negative ones come last and stand for none.
        centers: float32 [N,dims]; fixed.
        shapes: float32 [N,spec.n_shape], A of every kernel; fixed.
        features: float32 [N,F].
        spec: the kernels.
        frequencies: float32 [F], m_c; fixed.
        support: float32 [N], 1 / radius^2 of every kernel's window; fixed.

    Returns:
        float32 [S,F]; differentiable in ``x`` and ``features``.

    Raises:
        ConfigError: the arrays do not fit each other.
    """
    _check(neighbors, centers, shapes, features, spec, frequencies, support)
    if native.active(x, features):
        phi = _basis(x, neighbors, centers, shapes, support, spec.plan)
        return _mix(phi, neighbors, features, frequencies)
    return rbf_encode_reference(x, neighbors, centers, shapes, features, spec, frequencies=frequencies, support=support)


@dataclass(frozen=True)
class RbfPlan:
    """Kernels in three dimensions as the fused renderer takes them; see :func:`rbf_encode`."""

    centers: Tensor
    shapes: Tensor
    features: Tensor
    spec: RbfSpec
    index: RbfIndex
    neighbors: int
    frequencies: Tensor | None = None
    support: Tensor | None = None

    @property
    def n_out(self) -> int:
        return self.features.shape[1]

    def tensors(self) -> list[Tensor]:
        own = (self.centers, self.shapes, self.features, self.index.nodes, self.frequencies, self.support)
        return [t for t in own if t is not None]

    def native(self) -> Any:
        kernels = _kernels(self.centers, self.shapes, self.support, self.spec.plan)
        return native.library.rbf_encoder(
            tree=self.index.native(), basis=kernels, mixture=_mixture(self.features, self.frequencies), k=self.neighbors
        )

    def reference(self, x: Tensor) -> Tensor:
        return rbf_encode_reference(
            x,
            rbf_neighbors_reference(x, self.index, self.neighbors),
            self.centers,
            self.shapes,
            self.features,
            self.spec,
            frequencies=self.frequencies,
            support=self.support,
        )


def _check(
    neighbors: Tensor,
    centers: Tensor,
    shapes: Tensor,
    features: Tensor,
    spec: RbfSpec,
    frequencies: Tensor | None,
    support: Tensor | None,
) -> None:
    n, channels = len(centers), features.shape[-1]
    wanted: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        ("centers", centers, (n, spec.dims)),
        ("shapes", shapes, (n, spec.n_shape)),
        ("features", features, (n, channels)),
        ("frequencies", frequencies, (channels,)),
        ("support", support, (n,)),
    ]
    for name, array, shape in wanted:
        if array is not None and array.shape != shape:
            raise ConfigError("arrays of kernels do not fit", field=name, found=tuple(array.shape), expected=shape)
    if neighbors.shape[1] > MAX_NEIGHBORS:
        raise ConfigError("too many neighbors", field="neighbors", found=neighbors.shape[1], expected="at most 16")


def rbf_encode_reference(
    x: Tensor,
    neighbors: Tensor,
    centers: Tensor,
    shapes: Tensor,
    features: Tensor,
    spec: RbfSpec,
    *,
    frequencies: Tensor | None = None,
    support: Tensor | None = None,
) -> Tensor:
    """The same in plain PyTorch."""
    exists, ids = neighbors >= 0, neighbors.clamp_min(0).long()
    d = x.clamp(0.0, 1.0)[:, None] - centers.to(x.dtype)[ids]
    phi = _profile(d, shapes.to(x.dtype)[ids], spec)
    if support is not None:
        phi = phi * (1 - d.square().sum(-1) * support.to(x.dtype)[ids]).clamp_min(0).square()
    phi = torch.where(exists, phi, torch.zeros_like(phi))
    if spec.normalized:
        phi = phi / (phi.detach().sum(1, keepdim=True) + 1e-8)
    basis = phi[..., None] if frequencies is None else (phi[..., None] * frequencies).sin()
    return (basis * features[ids]).sum(1)


def _profile(d: Tensor, shapes: Tensor, spec: RbfSpec) -> Tensor:
    """phi [S,K] of differences [S,K,dims] and their kernels' shapes [S,K,n]."""
    if spec.kernel == "tent":
        return (1 - shapes.sqrt() * d.abs()).clamp_min(0).prod(-1)
    if spec.shape == "full":
        i, j = torch.triu_indices(spec.dims, spec.dims).tolist()
        pairs = enumerate(zip(i, j, strict=True))
        terms = [shapes[..., e] * d[..., a] * d[..., b] * (1 if a == b else 2) for e, (a, b) in pairs]
        q = torch.stack(terms, -1).sum(-1)
    else:
        q = (shapes * d.square()).sum(-1)
    q = q.clamp_min(0)
    if spec.kernel == "ivq":
        return 1 / (1 + q)
    if spec.kernel == "imq":
        return (1 + q).rsqrt()
    if spec.kernel == "gaussian":
        return (-q / 2).exp()
    return (-q.clamp_min(1e-12).sqrt()).exp()


def _kernels(centers: Tensor, shapes: Tensor, support: Tensor | None, plan: list[int]) -> dict[str, Any]:
    """Kernels as the native module takes them."""
    dims, kernel, shape, normalized = plan
    return {
        "dims": dims, "kernel": kernel, "shape": shape, "normalized": bool(normalized),
        "centers": native.pointer(centers), "shapes": native.pointer(shapes), "support": native.pointer(support),
    }  # fmt: skip


def _mixture(features: Tensor, frequencies: Tensor | None) -> dict[str, Any]:
    return {
        "features": features.shape[1], "weights": native.pointer(features), "frequencies": native.pointer(frequencies),
    }  # fmt: skip


def _seen(neighbors: Tensor) -> dict[str, Any]:
    """Numbers of samples and of their neighbors, and the neighbors."""
    if neighbors.dtype != torch.int32:
        raise ConfigError("neighbors are int32", field="neighbors", found=neighbors.dtype)
    return {"n": len(neighbors), "k": neighbors.shape[1], "ids": native.array(neighbors, torch.int32)}


@operation("rbf_basis")
def _basis(
    x: Tensor, neighbors: Tensor, centers: Tensor, shapes: Tensor, support: Tensor | None, plan: list[int]
) -> Tensor:
    phi = native.empty_samples(x, *neighbors.shape)
    native.library.rbf_basis_forward(
        native.target(x),
        **_seen(neighbors),
        basis=_kernels(centers, shapes, support, plan),
        x=native.array(x),
        phi=native.array(phi),
    )
    return phi


@operation("rbf_basis_backward")
def _basis_backward(
    x: Tensor,
    neighbors: Tensor,
    centers: Tensor,
    shapes: Tensor,
    support: Tensor | None,
    grad_phi: Tensor,
    plan: list[int],
) -> Tensor:
    grad = native.empty_samples(x, *x.shape)
    native.library.rbf_basis_backward(
        native.target(x),
        **_seen(neighbors),
        basis=_kernels(centers, shapes, support, plan),
        x=native.array(x),
        grad_phi=native.array(grad_phi),
        grad_x=native.array(grad),
    )
    return grad


@operation("rbf_mix")
def _mix(phi: Tensor, neighbors: Tensor, features: Tensor, frequencies: Tensor | None) -> Tensor:
    out = native.empty_samples(phi, len(phi), features.shape[1])
    native.library.rbf_mix_forward(
        native.target(phi),
        **_seen(neighbors),
        mixture=_mixture(features, frequencies),
        phi=native.array(phi),
        out=native.array(out),
    )
    return out


@operation("rbf_mix_backward_features")
def _mix_backward_features(
    phi: Tensor, neighbors: Tensor, features: Tensor, frequencies: Tensor | None, grad_out: Tensor
) -> Tensor:
    grad = torch.zeros_like(features)
    native.library.rbf_mix_backward_weights(
        native.target(phi),
        **_seen(neighbors),
        mixture=_mixture(features, frequencies),
        phi=native.array(phi),
        grad_out=native.array(grad_out),
        grad_weights=native.pointer(grad),
    )
    return grad


@operation("rbf_mix_backward_basis")
def _mix_backward_basis(
    phi: Tensor, neighbors: Tensor, features: Tensor, frequencies: Tensor | None, grad_out: Tensor
) -> Tensor:
    grad = native.empty_samples(phi, *neighbors.shape)
    native.library.rbf_mix_backward_basis(
        native.target(phi),
        **_seen(neighbors),
        mixture=_mixture(features, frequencies),
        phi=native.array(phi),
        grad_out=native.array(grad_out),
        grad_phi=native.array(grad),
    )
    return grad


@_basis.register_fake
def _(x, neighbors, centers, shapes, support, plan):
    return native.empty_samples(x, neighbors.shape[0], neighbors.shape[1])


@_basis_backward.register_fake
def _(x, neighbors, centers, shapes, support, grad_phi, plan):
    return native.empty_samples(x, x.shape[0], x.shape[1])


@_mix.register_fake
def _(phi, neighbors, features, frequencies):
    return native.empty_samples(phi, phi.shape[0], features.shape[1])


@_mix_backward_features.register_fake
def _(phi, neighbors, features, frequencies, grad_out):
    return torch.empty_like(features)


@_mix_backward_basis.register_fake
def _(phi, neighbors, features, frequencies, grad_out):
    return native.empty_samples(phi, neighbors.shape[0], neighbors.shape[1])


def _setup_basis(ctx, inputs, output) -> None:
    *arrays, ctx.plan = inputs
    ctx.save_for_backward(*arrays)


def _basis_derivative(ctx, grad_phi: Tensor):
    return _basis_backward(*ctx.saved_tensors, grad_phi, ctx.plan), None, None, None, None, None


def _setup_mix(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _mix_derivative(ctx, grad_out: Tensor):
    wanted_phi, _, wanted_features, _ = ctx.needs_input_grad
    arrays = ctx.saved_tensors
    grad_phi = _mix_backward_basis(*arrays, grad_out) if wanted_phi else None
    grad_features = _mix_backward_features(*arrays, grad_out) if wanted_features else None
    return grad_phi, None, grad_features, None


_basis.register_autograd(_basis_derivative, setup_context=_setup_basis)
_mix.register_autograd(_mix_derivative, setup_context=_setup_mix)
