"""Where radial basis functions go and what shape they get (Chen et al. 2023, NeuRBF, section 3.4): weighted k-means
over points whose weights say how much happens there, and the covariances of its clusters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.fields.training import Teacher
from fieldlab.ops import native
from fieldlab.ops.rbf import RbfSpec
from fieldlab.ops.rbf_index import NOWHERE, RbfIndex, rbf_neighbors

POINTS_PER_KERNEL = 24
LARGEST_WIDTH = 0.1
MOST_CORRELATED = 0.999
# Factor from inverse covariance to A that makes a kernel 0.5 at one standard deviation.
HALF_AT_DEVIATION = {
    "ivq": 1.0, "imq": 3.0, "gaussian": 2 * math.log(2), "markov": math.log(2) ** 2, "tent": 0.25,
}  # fmt: skip
_CHUNK = 1 << 16


def place_kernels(
    points: Tensor, weights: Tensor, n: int, generator: torch.Generator, iterations: int = 10
) -> tuple[Tensor, Tensor]:
    """Centers and covariances of ``n`` kernels by weighted k-means.

    The first centers are drawn from the points without replacement, with probabilities proportional to their weights;
    Lloyd's iterations follow, in which clusters that lose all their points stay where they are. A cluster of fewer than
    two points gets a round covariance whose deviation is half the distance to the nearest other center.

    Args:
        points: float32 [P,D] in [0,1], D = 2 or 3.
        weights: float32 [P], not negative.
        n: how many kernels.
        generator: of random numbers, on the CPU.
        iterations: of Lloyd's algorithm.

    Returns:
        centers [m,D] and covariances [m,D,D], where m is n, or the number of points with a weight if that is smaller.

    Raises:
        ConfigError: no point has a positive, finite weight, or ``n`` is less than 1.
    """
    useful = torch.isfinite(weights) & (weights > 0)
    if n < 1 or not bool(useful.any()):
        raise ConfigError(
            "kernels cannot be placed", field="points", found=f"{int(useful.sum())} points with a weight, {n} kernels",
            expected="at least one of each",
        )  # fmt: skip
    points, weights = points[useful], weights[useful].double()
    near = morton_order(points)  # queries that follow one another then lie near one another
    points, weights = points[near], weights[near] / weights.mean()
    keys = torch.rand(len(points), generator=generator, dtype=torch.float64).to(points.device).log() / weights
    centers = points[keys.topk(min(n, len(points))).indices]
    for _ in range(iterations):
        cluster = _nearest(points, centers)
        total = _sums(cluster, weights, len(centers))
        means = torch.stack([_sums(cluster, weights * axis, len(centers)) for axis in points.t()], 1)
        means = (means / total.clamp_min(1e-300)[:, None]).float()
        centers = torch.where(total[:, None] > 0, means, centers)
    return centers, _covariances(points, weights, centers)


def kernel_shapes(covariances: Tensor, spec: RbfSpec, alpha: float, least_width: float) -> Tensor:
    """What :class:`RbfSpec` stores of kernels [N,n_shape] whose clusters have ``covariances`` [N,D,D].

    Variances are divided by ``alpha`` (the kernels overlap) and clipped to least_width^2 .. 0.1^2, covariances to 0.999
    of what their variances allow. Least eigenvalues are kept above least_width^2, too: clipping alone does not keep a
    3x3 matrix positive.
    """
    s = covariances.double() / alpha
    low, high = least_width**2, LARGEST_WIDTH**2
    factor = HALF_AT_DEVIATION[spec.kernel]
    variances = s.diagonal(dim1=1, dim2=2)
    if spec.shape == "isotropic":
        return (factor / variances.sum(1, keepdim=True).clamp(low, high)).float()
    variances = variances.clamp(low, high)
    if spec.shape == "axes":
        return (factor / variances).float()
    limit = MOST_CORRELATED * (variances[:, :, None] * variances[:, None]).sqrt()
    s = torch.minimum(torch.maximum(s, -limit), limit)
    s = torch.diagonal_scatter(s, variances, dim1=1, dim2=2)
    values, vectors = torch.linalg.eigh(s)
    inverse = vectors @ (factor / values.clamp_min(low)[:, :, None] * vectors.transpose(1, 2))
    i, j = torch.triu_indices(spec.dims, spec.dims)
    return inverse[:, i, j].float()


def support_radii(centers: Tensor, neighbors: int) -> Tensor:
    """Half the distance [N] from each of ``centers`` [N,D] to its ``neighbors``-th nearest other one: no point is
    within this reach of more than ``neighbors`` kernels. Where there are fewer kernels it is the diagonal of the unit
    cube."""
    from scipy.spatial import cKDTree

    here = centers.cpu().numpy()
    distance = cKDTree(here).query(here, k=neighbors + 1)[0][:, -1]
    radii = np.where(np.isfinite(distance), distance / 2, math.sqrt(centers.shape[1]))
    return torch.from_numpy(radii.astype(np.float32)).clamp_min(1e-6).to(centers.device)


@torch.no_grad()
def radiance_weights(field: Teacher, points: Tensor, step: float = 1.0 / 1024) -> Tensor:
    """How much a radiance field changes at ``points`` [P,3] of the unit cube: opacity over one step times the norm of
    the latent's spatial gradient, [P].

    The gradient is taken by differences over the step, which any field has and which do not see what is finer. The
    paper scales all latent values by one range; that would not change the weights' proportions.
    """
    parts = []
    for x in points.split(_CHUNK):
        log_density, latent = field.geometry(x)
        latent = latent[:, : field.n_compared]  # the others say how a sample came about
        alpha = 1 - (-field.sigma(log_density) * step * field.unit_length).exp()
        change = torch.zeros_like(alpha)
        for axis in range(3):
            moved = x.clone()
            moved[:, axis] += torch.where(x[:, axis] < 0.5, step, -step)
            change += (field.geometry(moved)[1][:, : field.n_compared] - latent).square().sum(1)
        parts.append(alpha * change.sqrt() / step)
    return torch.cat(parts)


def occupied_points(
    occupied: Callable[[Tensor], Tensor], n: int, generator: torch.Generator, device: torch.device, rounds: int = 256
) -> Tensor:
    """Up to ``n`` random points [P,3] of the unit cube where ``occupied`` is true, fewer if hardly any place is."""
    parts: list[Tensor] = []
    for _ in range(rounds):
        x = torch.rand(_CHUNK, 3, generator=generator).to(device)
        parts.append(x[occupied(x)])
        if sum(map(len, parts)) >= n:
            break
    return torch.cat(parts)[:n]


def morton_order(points: Tensor) -> Tensor:
    """A permutation [P] that puts points [P,D] of the unit cube along a Z-order curve of 2^10 cells a side."""
    cells = (points * 1023).long().clamp(0, 1023)
    code = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    dims = points.shape[1]
    for bit in range(10):
        for axis in range(dims):
            code |= (cells[:, axis] >> bit & 1) << (bit * dims + axis)
    return code.argsort()


def _nearest(points: Tensor, centers: Tensor) -> Tensor:
    """The center [P] nearest to each point."""
    if native.active(points):
        return rbf_neighbors(points, RbfIndex.build(centers), 1)[:, 0].long()
    from scipy.spatial import cKDTree

    return torch.from_numpy(cKDTree(centers.cpu().numpy()).query(points.cpu().numpy())[1]).to(points.device)


def _sums(cluster: Tensor, values: Tensor, n: int) -> Tensor:
    return torch.bincount(cluster, weights=values, minlength=n)


def _covariances(points: Tensor, weights: Tensor, centers: Tensor) -> Tensor:
    """Weighted means [N,D,D] of d d^T over each center's points."""
    n, dims = centers.shape
    cluster = _nearest(points, centers)
    d = (points - centers[cluster]).double()
    total = _sums(cluster, weights, n).clamp_min(1e-300)
    result = torch.empty(n, dims, dims, dtype=torch.float64, device=points.device)
    for i in range(dims):
        for j in range(i, dims):
            result[:, i, j] = result[:, j, i] = _sums(cluster, weights * d[:, i] * d[:, j], n) / total
    spacing = support_radii(centers, 1).double()
    lonely = torch.bincount(cluster, minlength=n) < 2
    result[lonely] = torch.diag_embed(spacing[lonely, None].square().expand(-1, dims))
    return result.float()


def unplaced(n: int, dims: int) -> Tensor:
    """Centers [n,dims] of kernels that are not placed yet: no query finds them."""
    return torch.full((n, dims), NOWHERE)
