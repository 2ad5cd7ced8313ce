"""From world points to a field's coordinates in [0,1]^3 and back.

Linear in a box, or with all of space drawn into the cube by the contraction of mip-NeRF 360 (Barron et al. 2022,
equation 10), here in the maximum norm so that the cube is full: with ``u`` in [-1,1] inside the box and
``m = max |u_i|``, points with ``m > 1`` go to ``u / m * (2 - 1 / m)``; all is then divided by 4 and moved by 1/2.
"""

from __future__ import annotations

from torch import Tensor

from fieldlab.ops import native
from fieldlab.ops.operation import operation
from fieldlab.ops.samples import Samples, packed


def contract(points: Tensor, aabb: Tensor, contracted: bool = True) -> Tensor:
    """Field coordinates of world points [P,3]; differentiable in ``points``.

    Args:
        points: float32 [P,3].
        aabb: the box, [2,3]; with contraction it becomes the middle half of the cube.
        contracted: false for a linear map, which takes the box to the whole cube.
    """
    if native.active(points):
        return _contract(points, aabb, contracted)
    return contract_reference(points, aabb, contracted)


def contract_reference(points: Tensor, aabb: Tensor, contracted: bool = True) -> Tensor:
    """The same in plain PyTorch."""
    x = (points - aabb[0]) / (aabb[1] - aabb[0])
    if not contracted:
        return x
    u = 2 * x - 1
    m = u.abs().max(-1, keepdim=True).values.clamp_min(1)
    return u * ((2 - 1 / m) / m) / 4 + 0.5


def uncontract(x: Tensor, aabb: Tensor, contracted: bool = True) -> Tensor:
    """World points of field coordinates [P,3]: the inverse of ``contract``, whose cube has its faces at infinity."""
    if contracted:
        v = 4 * x - 2
        m = v.abs().max(-1, keepdim=True).values.clamp_min(1)
        x = v / (m * (2 - m)) / 2 + 0.5
    return aabb[0] + x * (aabb[1] - aabb[0])


def ray_points(
    origins: Tensor, directions: Tensor, samples: Samples, aabb: Tensor, contracted: bool
) -> tuple[Tensor, Tensor]:
    """Field coordinates of the samples' middles, and the directions they are seen from.

    Args:
        origins: [N,3], world units.
        directions: [N,3], unit.
        samples: S samples on the N rays.
        aabb: the field's box [2,3].
        contracted: whether all of space is drawn into the cube.

    Returns:
        x and directions, both [S,3]; differentiable in ``origins`` and ``directions``.
    """
    if native.active(origins):
        return _ray_points(origins, directions, samples.ray_offsets, samples.t_starts, samples.t_ends, aabb, contracted)
    return ray_points_reference(origins, directions, samples, aabb, contracted)


def ray_points_reference(
    origins: Tensor, directions: Tensor, samples: Samples, aabb: Tensor, contracted: bool
) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch."""
    d = directions[samples.ray_indices]
    points = origins[samples.ray_indices] + d * samples.middles[:, None]
    return contract_reference(points, aabb, contracted), d


@operation("contract")
def _contract(points: Tensor, aabb: Tensor, contracted: bool) -> Tensor:
    out = native.empty_samples(points, len(points), 3)
    box = aabb.contiguous()
    native.library.contract_forward(
        native.target(out),
        n=len(points),
        contracted=contracted,
        aabb=native.pointer(box),
        points=native.array(points),
        out=native.array(out),
    )
    return out


@operation("contract_backward")
def _contract_backward(points: Tensor, aabb: Tensor, contracted: bool, grad_out: Tensor) -> Tensor:
    grad = native.empty_samples(points, len(points), 3)
    box = aabb.contiguous()
    native.library.contract_backward(
        native.target(grad),
        n=len(points),
        contracted=contracted,
        aabb=native.pointer(box),
        points=native.array(points),
        grad_out=native.array(grad_out),
        grad_points=native.array(grad),
    )
    return grad


@_contract.register_fake
def _(points: Tensor, aabb: Tensor, contracted: bool) -> Tensor:
    return native.empty_samples(points, len(points), 3)


@_contract_backward.register_fake
def _(points: Tensor, aabb: Tensor, contracted: bool, grad_out: Tensor) -> Tensor:
    return native.empty_samples(points, len(points), 3)


def _contract_setup(ctx, inputs, output) -> None:
    points, aabb, ctx.contracted = inputs
    ctx.save_for_backward(points, aabb)


def _contract_grad(ctx, grad_out: Tensor):
    points, aabb = ctx.saved_tensors
    return _contract_backward(points, aabb, ctx.contracted, grad_out), None, None


_contract.register_autograd(_contract_grad, setup_context=_contract_setup)


@operation("ray_points")
def _ray_points(
    origins: Tensor,
    directions: Tensor,
    ray_offsets: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    aabb: Tensor,
    contracted: bool,
) -> tuple[Tensor, Tensor]:
    points = native.empty_samples(origins, len(t_starts), 3)
    sample_directions = native.empty_samples(origins, len(t_starts), 3)
    box = aabb.contiguous()
    native.library.ray_points_forward(
        native.target(origins),
        samples=packed(ray_offsets, t_starts, t_ends),
        contracted=contracted,
        aabb=native.pointer(box),
        origins=native.array(origins),
        directions=native.array(directions),
        points=native.array(points),
        sample_directions=native.array(sample_directions),
    )
    return points, sample_directions


@operation("ray_points_backward")
def _ray_points_backward(
    origins: Tensor,
    directions: Tensor,
    ray_offsets: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    aabb: Tensor,
    contracted: bool,
    grad_points: Tensor | None,
    grad_sample_directions: Tensor | None,
) -> tuple[Tensor, Tensor]:
    grad_origins = native.empty_samples(origins, len(origins), 3)
    grad_directions = native.empty_samples(origins, len(origins), 3)
    box = aabb.contiguous()
    native.library.ray_points_backward(
        native.target(origins),
        samples=packed(ray_offsets, t_starts, t_ends),
        contracted=contracted,
        aabb=native.pointer(box),
        origins=native.array(origins),
        directions=native.array(directions),
        grad_points=native.array(grad_points),
        grad_sample_directions=native.array(grad_sample_directions),
        grad_origins=native.array(grad_origins),
        grad_directions=native.array(grad_directions),
    )
    return grad_origins, grad_directions


@_ray_points.register_fake
def _(origins, directions, ray_offsets, t_starts, t_ends, aabb, contracted):
    return tuple(native.empty_samples(origins, len(t_starts), 3) for _ in range(2))


@_ray_points_backward.register_fake
def _(origins, directions, ray_offsets, t_starts, t_ends, aabb, contracted, grad_points, grad_sample_directions):
    return tuple(native.empty_samples(origins, len(origins), 3) for _ in range(2))


def _ray_points_setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.contracted = inputs[6]
    ctx.set_materialize_grads(False)


def _ray_points_grad(ctx, grad_points: Tensor | None, grad_sample_directions: Tensor | None):
    grads = _ray_points_backward(*ctx.saved_tensors, ctx.contracted, grad_points, grad_sample_directions)
    return (*grads, None, None, None, None, None)


_ray_points.register_autograd(_ray_points_grad, setup_context=_ray_points_setup)
