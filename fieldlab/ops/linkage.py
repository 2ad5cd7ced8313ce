"""Single linkage on graphs: minimum spanning forests, minimax paths and dendrograms (Kruskal 1956; Gower & Ross 1969).

All of it happens on the CPU: it is one pass over sorted edges, a few milliseconds for thousands of points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native


@dataclass(frozen=True)
class Linkage:
    """How a graph's N points come together, the lightest edge first.

    Args:
        order: int64 [E], edges, the lightest first.
        parent: int64 [N], a forest of depth log2(N) at most; roots are their own parents.
        time: int64 [N], place in ``order`` of the edge that linked a point to its parent, E for roots. Along every path
            upward it grows.
        joined: int64 [M,2], what each join joined: points are 0 to N-1, join k makes N+k.
        joined_by: int64 [M], the edge of each join.
    """

    order: Tensor
    parent: Tensor
    time: Tensor
    joined: Tensor
    joined_by: Tensor

    def bottleneck(self, a: Tensor, b: Tensor) -> Tensor:
        """int64 [P]: the heaviest edge on the path between points ``a`` and ``b`` int64 [P] whose heaviest edge is the
        lightest; -1 where they are the same point or nothing connects them."""
        a, b = a.clone(), b.clone()
        last = torch.full_like(a, -1)
        end = len(self.order)
        while bool((a != b).any()):
            time_a, time_b = self.time[a], self.time[b]
            low = torch.minimum(time_a, time_b)
            apart = a != b
            if bool((apart & (low == end)).any()):  # both at roots
                lost = apart & (low == end)
                last[lost] = -1
                a = torch.where(lost, b, a)
                continue
            last = torch.where(apart, low, last)
            up_a = apart & (time_a <= time_b)
            up_b = apart & ~up_a
            a, b = torch.where(up_a, self.parent[a], a), torch.where(up_b, self.parent[b], b)
        return torch.where(last >= 0, self.order[last.clamp_min(0)], last) if end else last


def single_linkage(n_points: int, first: Tensor, second: Tensor, weight: Tensor) -> Linkage:
    """Join points by edges, the lightest first; of equally light ones the first given.

    Args:
        n_points: N.
        first, second: int64 [E], the points of each edge.
        weight: [E].

    Raises:
        ConfigError: an edge leads to no point.
    """
    first, second = first.cpu().long().contiguous(), second.cpu().long().contiguous()
    if not first.shape == second.shape == weight.shape:
        raise ConfigError("edges have two points and a weight", found=(first.shape, second.shape, weight.shape))
    ends = torch.cat((first, second))
    if bool(((ends < 0) | (ends >= n_points)).any()):
        raise ConfigError("an edge leads to a point that is not there", expected=f"0 to {n_points - 1}")
    order = weight.detach().cpu().argsort(stable=True)
    if not native.active(first):
        return _reference(n_points, first, second, order)
    parent, time = first.new_empty(n_points), first.new_empty(n_points)
    joined, joined_by = first.new_empty(max(n_points - 1, 0), 2), first.new_empty(max(n_points - 1, 0))
    arrays = {
        "order": order, "first": first, "second": second, "parent": parent, "time": time, "joined": joined,
        "joined_by": joined_by,
    }  # fmt: skip
    joins = native.library.single_linkage(
        n_points=n_points, n_edges=len(first), **{name: native.pointer(t, torch.int64) for name, t in arrays.items()}
    )
    return Linkage(order, parent, time, joined[:joins], order[joined_by[:joins]])


def _reference(n_points: int, first: Tensor, second: Tensor, order: Tensor) -> Linkage:
    parent, size, node = list(range(n_points)), [1] * n_points, list(range(n_points))
    time = [len(order)] * n_points
    joined: list[tuple[int, int]] = []
    joined_by: list[int] = []

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for k, e in enumerate(order.tolist()):
        u, v = root(int(first[e])), root(int(second[e]))
        if u == v:
            continue
        joined.append((node[u], node[v]))
        joined_by.append(e)
        if size[u] < size[v]:
            u, v = v, u
        parent[v], time[v] = u, k
        size[u] += size[v]
        node[u] = n_points + len(joined) - 1
    pairs = torch.tensor(joined, dtype=torch.int64).view(-1, 2)
    return Linkage(order, torch.tensor(parent, dtype=torch.int64), torch.tensor(time, dtype=torch.int64), pairs,
                   torch.tensor(joined_by, dtype=torch.int64))  # fmt: skip
