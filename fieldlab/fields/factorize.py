"""Low-rank tensors of sampled volumes, in closed form or by a few alternating least-squares steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.ops.low_rank import LowRankSpec

SWEEPS = {"vm": 4, "cp": 24}
RIDGE = 1e-6


def factorize(volume: Tensor, known: Tensor, spec: LowRankSpec, ceiling: float | None = None) -> Tensor:
    """Factors whose sum of products is near a volume.

    A vector-matrix tensor's terms are fitted in turn to what the others leave, each by the truncated singular value
    decomposition of its unfolding, which is the best there is (Eckart & Young 1936); the factors of a CP tensor in
    turn by least squares (Carroll & Chang 1970).

    Args:
        volume: float32 [X,Y,Z] at the vertices.
        known: bool [X,Y,Z]; elsewhere anything will do, and is what the fit of the step before says.
        spec: kind, resolution (X,Y,Z) and rank.
        ceiling: most that the fit may say where nothing is known.

    Returns:
        float32 [spec.n_params].
    """
    fit = _Terms(spec) if spec.kind == "vm" else _Lines(spec)
    target = torch.where(known, volume, volume[known].mean() if bool(known.any()) else 0.0)
    for _ in range(SWEEPS[spec.kind]):
        made = fit.improve(target)
        filled = made if ceiling is None else made.clamp(max=ceiling)
        target = torch.where(known, volume, filled)
    return fit.params()


def factorize_channels(volumes: Tensor, known: Tensor, spec: LowRankSpec) -> tuple[Tensor, Tensor]:
    """Factors and a basis whose combinations of products are near volumes of several channels.

    The channels are rotated to their principal axes; each axis gets products in proportion to the root of its energy,
    and is factorized by itself.

    Args:
        volumes: float32 [X,Y,Z,C].
        known: bool [X,Y,Z].
        spec: kind, resolution (X,Y,Z) and rank.

    Returns:
        float32 [spec.n_params] and basis [C,spec.n_products].
    """
    values = volumes[known].double()
    energy, axes = torch.linalg.eigh(values.t() @ values / max(len(values), 1))
    energy, axes = energy.flip(0).clamp_min(0), axes.flip(1).float()
    ranks = shares(energy.sqrt().tolist(), spec.rank)
    parts, columns = [], []
    for rank, axis in zip(ranks, axes.t(), strict=True):
        if rank:
            part = LowRankSpec(spec.kind, spec.resolution, rank)
            parts.append((factorize(volumes @ axis, known, part), part))
            columns.append(axis[:, None].expand(-1, rank))
    return _joined(parts, spec), torch.cat(columns * len(spec.terms), dim=1).contiguous()


def shares(weights: list[float], total: int) -> list[int]:
    """Whole numbers that add up to ``total``, in proportion to ``weights`` (D'Hondt's method)."""
    given = [0] * len(weights)
    for _ in range(total):
        best = max(range(len(weights)), key=lambda i: weights[i] / (given[i] + 1))
        given[best] += 1
    return given


def _joined(parts: list[tuple[Tensor, LowRankSpec]], spec: LowRankSpec) -> Tensor:
    """One tensor with the products of several."""
    from fieldlab.ops.low_rank import split_factors

    split = [split_factors(params, part) for params, part in parts]
    return torch.cat([torch.cat(factors, dim=-1).reshape(-1) for factors in zip(*split, strict=True)])


class _Terms:
    """Planes times lines."""

    def __init__(self, spec: LowRankSpec) -> None:
        self.spec = spec
        self.planes: list[Tensor] = []  # [cells of the plane, rank]
        self.lines: list[Tensor] = []  # [vertices, rank]
        for plane, line in spec.terms:
            self.planes.append(torch.zeros(math.prod(spec.resolution[a] for a in plane), spec.rank))
            self.lines.append(torch.zeros(spec.resolution[line[0]], spec.rank))

    def improve(self, target: Tensor) -> Tensor:
        """Fit every term once to what the others leave; returns the whole."""
        whole = torch.stack([self._term(k) for k in range(len(self.planes))]).sum(0)
        for k, (plane, line) in enumerate(self.spec.terms):
            left = target - whole + self._term(k)
            matrix = left.permute(*plane, *line).reshape(-1, left.shape[line[0]])
            rank = min(self.spec.rank, matrix.shape[1])
            vectors = torch.linalg.eigh((matrix.t() @ matrix).double())[1].flip(1)[:, :rank].float()
            self.planes[k], self.lines[k] = _balanced([matrix @ vectors, vectors], self.spec.rank)
            whole = target - left + self._term(k)
        return whole

    def _term(self, k: int) -> Tensor:
        plane, line = self.spec.terms[k]
        axes = (*plane, *line)
        product = (self.planes[k] @ self.lines[k].t()).view(*(self.spec.resolution[a] for a in axes))
        return product.permute(*(axes.index(a) for a in range(3)))

    def params(self) -> Tensor:
        parts = []
        for plane, values in zip((term[0] for term in self.spec.terms), self.planes, strict=True):
            a, b = (self.spec.resolution[axis] for axis in plane)
            parts.append(values.view(a, b, -1).transpose(0, 1).reshape(-1))
        return torch.cat([*parts, *(line.reshape(-1) for line in self.lines)])


class _Lines:
    """Lines times lines times lines."""

    def __init__(self, spec: LowRankSpec) -> None:
        generator = torch.Generator().manual_seed(0)
        self.spec = spec
        self.lines = [torch.randn(n, spec.rank, generator=generator) for n in spec.resolution]

    def improve(self, target: Tensor) -> Tensor:
        """Fit every factor once, the others as they are; returns the whole."""
        for axis in range(3):
            b, c = (self.lines[a] for a in range(3) if a != axis)
            others = [a for a in range(3) if a != axis]
            matrix = target.permute(axis, *others)
            moved = torch.einsum("abr,br->ar", matrix @ c, b)
            gram = ((b.t() @ b) * (c.t() @ c)).double()
            ridge = RIDGE * torch.eye(len(gram), dtype=torch.float64) * gram.diagonal().mean()
            self.lines[axis] = torch.linalg.solve(gram + ridge, moved.double().t()).t().float()
        self.lines = _balanced(self.lines, self.spec.rank)
        a, b, c = self.lines
        return ((a[:, None] * b).flatten(0, 1) @ c.t()).view(*self.spec.resolution)

    def params(self) -> Tensor:
        return torch.cat([line.reshape(-1) for line in self.lines])


def _balanced(factors: list[Tensor], rank: int) -> list[Tensor]:
    """Factors [n,r] of the same products whose values are equally large, as optimisers like them; zeros up to
    ``rank``."""
    sizes = [factor.norm(dim=0).clamp_min(1e-20) / math.sqrt(len(factor)) for factor in factors]
    mean = torch.stack(sizes).log().mean(0).exp()
    scaled = [factor * (mean / size) for factor, size in zip(factors, sizes, strict=True)]
    return [torch.nn.functional.pad(factor, (0, rank - factor.shape[1])) for factor in scaled]
