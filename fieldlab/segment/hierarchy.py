"""The one tree of a scene: which points are together at which threshold.

Leaves are the finest nodes; each holds some points of the surface. A node is born at the threshold at which its
children come together, and dies when its parent is born. The cut at a threshold gives every point the highest of its
ancestors born below; a higher threshold gives coarser segments, and the cuts nest by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.segment.condense import Condensed

APART = 4.0
"""Birth of the root over what nothing connects; unit features are at most 2 apart."""


@dataclass
class Hierarchy:
    """M nodes over N points.

    Args:
        ids: int32 [M], names for machines: they stay when nodes are renamed, merged or taken out.
        parent: int64 [M], row of the parent, -1 for roots.
        birth: float32 [M], never above the parent's.
        names: [M].
        colors: uint8 [M,3].
        points: float32 [N,3], world.
        leaf: int64 [N], row of the leaf of each point.
    """

    ids: Tensor
    parent: Tensor
    birth: Tensor
    names: list[str]
    colors: Tensor
    points: Tensor
    leaf: Tensor

    def __post_init__(self) -> None:
        m = len(self.ids)
        if not m == len(self.parent) == len(self.birth) == len(self.names) == len(self.colors):
            raise ConfigError("a hierarchy's arrays differ in length", found=m)
        if len(self.points) != len(self.leaf) or bool(((self.leaf < 0) | (self.leaf >= m)).any()):
            raise ConfigError("a hierarchy's points are of no node", found=len(self.points))
        if len(self.ids.unique()) != m:
            raise ConfigError("two nodes have one id", field="id")
        self._jump(torch.full((m,), torch.inf))  # which says it where parents go round in a circle
        inner = self.parent >= 0
        if bool((self.birth[inner] > self.birth[self.parent[inner]]).any()):
            raise ConfigError("a node is born after its parent", field="birth")

    @staticmethod
    def of(condensed: Condensed, points: Tensor, leaf: Tensor | None = None) -> Hierarchy:
        """The tree of condensed joins, with ids that count from the root down, larger parts first. ``leaf`` int64 [N]
        replaces the leaves of the points."""
        parent, birth = condensed.parent, condensed.birth
        leaf = condensed.leaf if leaf is None else leaf
        roots = (parent < 0).nonzero()[:, 0]
        if len(roots) > 1:
            parent = torch.cat((torch.where(parent < 0, len(parent), parent), parent.new_tensor([-1])))
            birth = torch.cat((birth, birth.new_tensor([APART])))
        order = _from_the_root(parent, leaf)
        row = torch.empty_like(order)
        row[order] = torch.arange(len(order))
        above = parent[order]
        parent = torch.where(above < 0, above, row[above.clamp_min(0)])
        m = len(order)
        ids = torch.arange(m, dtype=torch.int32)
        names = [f"part_{i}" for i in range(m)]
        return Hierarchy(ids, parent, birth[order], names, palette(ids), points, row[leaf])

    @property
    def death(self) -> Tensor:
        """float32 [M]: the parent's birth, infinite for roots."""
        return torch.where(self.parent >= 0, self.birth[self.parent.clamp_min(0)], torch.inf)

    @property
    def sizes(self) -> Tensor:
        """int64 [M]: points of each node and all below it."""
        size = torch.bincount(self.leaf, minlength=len(self.ids))
        for row in self.bottom_up():
            if self.parent[row] >= 0:
                size[self.parent[row]] += size[row]
        return size

    def bottom_up(self) -> list[int]:
        """All rows, children before their parents."""
        depth, at = torch.zeros(len(self.ids), dtype=torch.int64), self.parent.clone()
        while bool((at >= 0).any()):
            depth += at >= 0
            at = torch.where(at >= 0, self.parent[at.clamp_min(0)], at)
        return depth.argsort(descending=True, stable=True).tolist()

    def children(self, row: int) -> list[int]:
        """Rows of a node's children."""
        return (self.parent == row).nonzero()[:, 0].tolist()

    def row_of(self, node: int) -> int:
        """The row of a node id.

        Raises:
            ConfigError: there is none.
        """
        found = (self.ids == node).nonzero()[:, 0]
        if not len(found):
            raise ConfigError("there is no such segment", found=node, expected=f"one of {len(self.ids)} ids")
        return int(found[0])

    def called(self, word: str) -> int:
        """The row of the node that has an id, or where none has it, a name.

        Raises:
            ConfigError: none or several have it.
        """
        rows = [row for row, node in enumerate(self.ids.tolist()) if str(node) == word]
        rows = rows or [row for row, name in enumerate(self.names) if name == word]
        if len(rows) != 1:
            none = "there is no such segment" if word.isdecimal() else "no segment has this name"
            what = "several segments have one name" if rows else none
            raise ConfigError(what, found=word, expected="the id or the name of one segment")
        return rows[0]

    def below(self, rows: Iterable[int]) -> Tensor:
        """bool [M]: which nodes are one of ``rows`` or below one."""
        chosen, found = set(rows), torch.zeros(len(self.ids), dtype=torch.bool)
        for at in reversed(self.bottom_up()):
            found[at] = at in chosen or (self.parent[at] >= 0 and found[self.parent[at]])
        return found

    def within(self, row: int) -> Tensor:
        """bool [N]: which points belong to a node or to one below it."""
        return self.below([row])[self.leaf]

    def cut(self, threshold: float) -> Tensor:
        """int64 [M]: for every node the row of its highest ancestor born below ``threshold``, or its own."""
        return self._jump(torch.where(self.birth < threshold, torch.inf, -torch.inf))

    def labels(self, threshold: float) -> Tensor:
        """int32 [N]: node id of every point at a threshold."""
        return self.ids[self.cut(threshold)[self.leaf]]

    def parts(self, threshold: float) -> list[int]:
        """Rows that are segments at a threshold and have points, largest first."""
        rows, counts = self.cut(threshold)[self.leaf].unique(return_counts=True)
        return rows[counts.argsort(descending=True)].tolist()

    def joined_at(self, a: Tensor, b: Tensor) -> Tensor:
        """float32 [P]: from which threshold on points ``a`` and ``b`` int64 [P] are in one segment; 0 where they always
        are. An ultrametric: never more than the larger of the two over any third point."""
        u, v = self.leaf[a], self.leaf[b]
        depth = self._depth()
        while bool((u != v).any()):
            up_u = (u != v) & ((depth[u] >= depth[v]) | (v < 0))
            up_v = (u != v) & ~up_u
            u = torch.where(up_u, self.parent[u], u)
            v = torch.where(up_v, self.parent[v], v)
            if bool(((u < 0) | (v < 0)).any()):  # two roots
                u, v = torch.where(v < 0, v, u), torch.where(u < 0, u, v)
        same = self.leaf[a] == self.leaf[b]
        return torch.where(same, 0.0, torch.where(u >= 0, self.birth[u.clamp_min(0)], torch.inf))

    def thresholds(self, count: int) -> Tensor:
        """float32 [count]: thresholds spread over all different cuts: below all births, and quantiles of those of inner
        nodes."""
        inner = torch.zeros(len(self.ids), dtype=torch.bool)
        inner[self.parent[self.parent >= 0]] = True
        births = self.birth[inner & (self.birth < APART)].sort().values
        births = torch.cat((births.new_zeros(1), births))
        at = torch.linspace(0, 1, count) * (len(births) - 1)
        return torch.nextafter(births[at.round().long()], torch.tensor(torch.inf))

    def middle_threshold(self) -> float:
        """Where half of all different cuts are finer: what is shown before a person has chosen."""
        return float(self.thresholds(3)[1])

    def _depth(self) -> Tensor:
        depth, at = torch.zeros(len(self.ids), dtype=torch.int64), self.parent
        while bool((at >= 0).any()):
            depth = depth + (at >= 0)
            at = torch.where(at >= 0, self.parent[at.clamp_min(0)], at)
        return depth

    def _jump(self, allowed: Tensor) -> Tensor:
        """Every row's highest ancestor over rows that are all ``allowed`` (above 0): by doubling."""
        rows = torch.arange(len(self.ids))
        step = torch.where((self.parent >= 0) & (allowed[self.parent.clamp_min(0)] > 0), self.parent, rows)
        up = step
        for _ in range(len(rows).bit_length()):
            up = up[up]
        if not torch.equal(step[up], up):
            raise ConfigError("nodes are above themselves", field="parent", hint="all chains of parents end at a root")
        return up


def palette(ids: Tensor) -> Tensor:
    """uint8 [M,3]: distinct colors of ids [M]."""
    x = ids.double()
    hue = (x * 0.618033988749895 + 0.13) % 1.0
    value = 0.95 - 0.2 * ((x // 7) % 3) / 2
    saturation = 0.75 - 0.25 * ((x // 21) % 2)
    channel = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    ramp = ((channel - 3).abs() - 1).clamp(0, 1)
    rgb = value[:, None] * (1 - saturation[:, None] * (1 - ramp))
    return (rgb * 255).round().to(torch.uint8)


def _from_the_root(parent: Tensor, leaf: Tensor) -> Tensor:
    """Rows from the root down, level by level, larger ones first."""
    size = torch.bincount(leaf, minlength=len(parent))
    depth, at = torch.zeros_like(parent), parent
    while bool((at >= 0).any()):
        inner = at >= 0
        depth = depth + inner
        size = size.index_add(0, at[inner], torch.bincount(leaf, minlength=len(parent))[inner])
        at = torch.where(inner, parent[at.clamp_min(0)], at)
    keys: Sequence[tuple[int, int, int]] = list(zip(depth.tolist(), (-size).tolist(), range(len(parent)), strict=True))
    return torch.tensor([row for _, _, row in sorted(keys)], dtype=torch.int64)
