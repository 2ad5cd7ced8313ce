"""Low-rank tensors found from volumes."""

from __future__ import annotations

import pytest
import torch

from fieldlab.fields.factorize import factorize, factorize_channels, shares
from fieldlab.ops.low_rank import LowRankSpec, low_rank_reference

SHAPE = (9, 11, 7)


def vertices() -> torch.Tensor:
    return torch.cartesian_prod(*(torch.linspace(0, 1, n) for n in SHAPE))


def everything() -> torch.Tensor:
    return torch.ones(SHAPE, dtype=torch.bool)


def volume_of(params: torch.Tensor, spec: LowRankSpec) -> torch.Tensor:
    return low_rank_reference(vertices(), params, spec, summed=True).view(SHAPE)


def exact(kind: str, rank: int) -> torch.Tensor:
    spec = LowRankSpec(kind, SHAPE, rank)
    return volume_of(torch.randn(spec.n_params, generator=torch.Generator().manual_seed(1)), spec)


@pytest.mark.parametrize(("kind", "rank", "off"), [("vm", 2, 1e-2), ("cp", 3, 5e-2)])
def test_what_has_the_rank_is_found(kind, rank, off):
    volume, spec = exact(kind, rank), LowRankSpec(kind, SHAPE, rank + 2)
    made = volume_of(factorize(volume, everything(), spec), spec)
    assert float((made - volume).square().mean()) < off * float(volume.square().mean())


def test_one_term_is_the_truncated_singular_value_decomposition():
    """With the other terms' share already there, a term cannot be better than Eckart and Young's."""
    volume = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    flat = volume.reshape(-1, SHAPE[2])
    tail = torch.linalg.svdvals(flat)[2:].square().sum()
    spec = LowRankSpec("vm", SHAPE, 2)
    made = volume_of(factorize(volume, everything(), spec), spec)
    assert float((made - volume).square().sum()) < float(tail)


@pytest.mark.parametrize("kind", ["vm", "cp"])
def test_more_products_fit_better(kind):
    volume = exact(kind, 6) + 0.1 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    left = []
    for rank in (1, 3, 6):
        spec = LowRankSpec(kind, SHAPE, rank)
        left.append(float((volume_of(factorize(volume, everything(), spec), spec) - volume).square().mean()))
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.2 * left[0]


def test_what_is_unknown_does_not_matter_and_stays_below_the_ceiling():
    volume, known = exact("vm", 1), everything()
    known[::2, :, ::3] = False
    spec = LowRankSpec("vm", SHAPE, 1)
    a, b = (volume_of(factorize(torch.where(known, volume, other), known, spec), spec) for other in (0.0, 1e6))
    assert torch.equal(a, b)
    ceiling = float(volume.min()) - 1
    spec = LowRankSpec("vm", SHAPE, 8)
    made = volume_of(factorize(volume, known, spec, ceiling), spec)
    assert float(made[~known].mean()) < float(volume[~known].mean())


@pytest.mark.parametrize("kind", ["vm", "cp"])
def test_channels_share_products(kind):
    g = torch.Generator().manual_seed(3)
    spec = LowRankSpec(kind, SHAPE, 3)
    params, basis = torch.randn(spec.n_params, generator=g), torch.randn(5, spec.n_products, generator=g)
    basis = basis.sum(1, keepdim=True) * torch.ones(5, spec.n_products)  # all channels are multiples of one volume
    volumes = (low_rank_reference(vertices(), params, spec) @ basis.t()).view(*SHAPE, 5)
    more = LowRankSpec(kind, SHAPE, 6)
    found, combination = factorize_channels(volumes, everything(), more)
    assert found.shape == (more.n_params,)
    assert combination.shape == (5, more.n_products)
    made = (low_rank_reference(vertices(), found, more) @ combination.t()).view(*SHAPE, 5)
    assert float((made - volumes).square().mean()) < 0.05 * float(volumes.square().mean())


def test_shares_are_whole_and_fair():
    assert shares([3.0, 1.0], 8) == [6, 2]
    assert shares([1.0, 0.0, 0.0], 4) == [4, 0, 0]
    weights = torch.rand(9, generator=torch.Generator().manual_seed(0)).tolist()
    found = shares(weights, 40)
    assert sum(found) == 40
    # D'Hondt: nobody's last seat is worth less than somebody else's next one.
    last = min(w / n for w, n in zip(weights, found, strict=True) if n)
    assert last >= max(w / (n + 1) for w, n in zip(weights, found, strict=True)) - 1e-9
