"""From single linkage to parts: small pieces are absorbed, as in the condensed tree of HDBSCAN (Campello et al. 2013).

Single linkage of a surface joins most points one by one. A piece becomes a part when it has enough points; what joins
a part before it is one itself belongs, at every threshold, to the finest part of the point that its joining edge
touches. Only joins of two parts make a node.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops.linkage import Linkage


@dataclass(frozen=True)
class Condensed:
    """A forest of parts over N points: ``parent`` int64 [M] (-1 for roots), ``birth`` float32 [M] and the finest part
    ``leaf`` int64 [N] of every point, -1 for points of pieces that never grew large enough nor joined a part."""

    parent: Tensor
    birth: Tensor
    leaf: Tensor


def condense(linkage: Linkage, first: Tensor, second: Tensor, weight: Tensor, least: int) -> Condensed:
    """The parts of at least ``least`` points.

    Args:
        linkage: of a graph with N points and edges ``first``, ``second`` int64 [E] and ``weight`` [E].
        least: points of the smallest part.

    Raises:
        ConfigError: no piece has so many points.
    """
    n = len(linkage.parent)
    size, part = [1] * n, [0 if least <= 1 else -1] * n
    parent: list[int] = []
    birth: list[float] = []

    def new_part(at: float) -> int:
        parent.append(-1)
        birth.append(at)
        return len(parent) - 1

    if least <= 1:
        part = [new_part(0.0) for _ in range(n)]
    grew: list[tuple[int, int]] = list(enumerate(part)) if least <= 1 else []  # (node, part it became)
    absorbed: list[tuple[int, int]] = []  # (node, point whose part it belongs to)
    edges = linkage.joined_by
    ends = torch.stack((first[edges], second[edges]), dim=1).tolist()
    for (a, b), (p, q), w in zip(linkage.joined.tolist(), ends, weight[edges].tolist(), strict=True):
        node = len(size)
        size.append(size[a] + size[b])
        part_a, part_b = part[a], part[b]
        if part_a >= 0 and part_b >= 0:
            made = new_part(w)
            parent[part_a] = parent[part_b] = made
        elif part_a >= 0 or part_b >= 0:
            made = max(part_a, part_b)
            absorbed.append((b, p) if part_a >= 0 else (a, q))
        elif size[node] >= least:
            made = new_part(w)
            grew.append((node, made))
        else:
            made = -1
        part.append(made)
    if not parent:
        raise ConfigError("no piece is as large as the smallest part", field="least part", found=least,
                          expected=f"at most {max(size)} points")  # fmt: skip
    leaf = _homes(linkage.joined, n, grew, absorbed)
    return Condensed(torch.tensor(parent), torch.tensor(birth), leaf)


def _homes(joined: Tensor, n: int, grew: list[tuple[int, int]], absorbed: list[tuple[int, int]]) -> Tensor:
    """The finest part of every point: that which its piece became, or that of the point its piece was attached to."""
    became, attached = [-1] * (n + len(joined)), [-1] * (n + len(joined))
    for node, made in grew:
        became[node] = made
    for node, point in absorbed:
        attached[node] = point
    pairs = joined.tolist()
    for k in reversed(range(len(pairs))):
        node = n + k
        if became[node] < 0 and attached[node] < 0:
            continue
        for child in pairs[k]:
            if became[child] < 0 and attached[child] < 0:
                became[child], attached[child] = became[node], attached[node]
    leaf, via = torch.tensor(became[:n]), torch.tensor(attached[:n])
    while bool((waiting := (leaf < 0) & (via >= 0)).any()):  # what is attached to is closer to a part, join by join
        there = via[waiting]
        leaf[waiting] = leaf[there]
        via[waiting] = torch.where(leaf[there] >= 0, there, via[there])
    return leaf


def merged_below(condensed: Condensed, floor: float) -> Condensed:
    """Without the nodes that come together below a threshold: what is left of each such tree is its root, a leaf."""
    parent, birth = condensed.parent, condensed.birth
    kept = (parent < 0) | (birth[parent.clamp_min(0)] >= floor)
    up = torch.where(kept, torch.arange(len(parent)), parent)
    while not bool(kept[up].all()):
        up = up[up]
    row = kept.cumsum(0) - 1
    above = parent[kept]
    leaf = condensed.leaf
    return Condensed(
        torch.where(above >= 0, row[above.clamp_min(0)], -1),
        torch.where(birth[kept] < floor, 0.0, birth[kept]),
        torch.where(leaf >= 0, row[up[leaf.clamp_min(0)]], -1),
    )
