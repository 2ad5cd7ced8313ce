"""The exact K nearest of fixed kernel centers, in a packed tree of boxes with sixteen entries to a node.

The kernels are put in the order of a k-d tree whose halves hold whole nodes; sixteen consecutive ones are a leaf,
sixteen consecutive leaves a node, and so on up to one root. Children are found by counting, so that the tree is two
arrays whose sizes follow from the number of kernels: about 22 bytes a kernel in three dimensions. It is exact
everywhere, in crowds and far from all kernels alike, for any K; building takes about a second for 100,000 kernels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.limits import MAX_NEIGHBORS
from fieldlab.ops.limits import NODE_WIDTH as WIDTH
from fieldlab.ops.operation import operation

NOWHERE = 1e18  # coordinates of kernels that are not placed: they are never found


class RbfIndex:
    """An index over kernel centers in [0,1]^2 or [0,1]^3.

    Args:
        nodes: float32, the boxes and centers, level by level from the leaves up.
        order: int32 [slots], the kernel of each slot.
        n_kernels: how many there are.
        dims: 2 or 3.
    """

    def __init__(self, nodes: Tensor, order: Tensor, n_kernels: int, dims: int) -> None:
        self.nodes, self.order, self.n_kernels, self.dims = nodes, order, n_kernels, dims

    @staticmethod
    def shapes(n_kernels: int, dims: int) -> tuple[int, int]:
        """Lengths of ``nodes`` and ``order`` for so many kernels."""
        counts = _level_counts(n_kernels)
        return WIDTH * dims * (counts[0] + 2 * sum(counts[1:])), WIDTH * counts[0]

    @classmethod
    def build(cls, centers: Tensor) -> RbfIndex:
        """Index ``centers`` float32 [N,dims]; rows at ``NOWHERE`` are never found.

        Raises:
            ConfigError: there are no kernels, or they are not in two or three dimensions.
        """
        if centers.dim() != 2 or centers.shape[1] not in (2, 3) or len(centers) == 0:
            raise ConfigError(
                "an index of kernels takes centers [N,2] or [N,3]", found=tuple(centers.shape), expected="N at least 1"
            )
        points = centers.detach().cpu().numpy().astype(np.float32)
        placed = np.flatnonzero((np.abs(points) < NOWHERE / 10).all(1))
        slots = np.full(cls.shapes(*points.shape)[1], -1, dtype=np.int32)
        if len(placed):
            slots[: len(placed)] = placed[kd_order(points[placed])]
        nodes = torch.from_numpy(_nodes(points, slots))
        return cls(nodes.to(centers.device), torch.from_numpy(slots).to(centers.device), *points.shape)

    def native(self) -> dict[str, Any]:
        """What the native kernels take."""
        return {
            "dims": self.dims, "kernels": self.n_kernels, "nodes": native.pointer(self.nodes),
            "order": native.pointer(self.order, torch.int32),
        }  # fmt: skip


def kd_order(points: np.ndarray) -> np.ndarray:
    """A permutation of points [N,D] that puts near ones together: halved again and again across the longest side of
    their box, the first half a whole number of nodes."""
    pieces: list[np.ndarray] = []
    waiting = [np.arange(len(points))]
    while waiting:
        items = waiting.pop()
        if len(items) <= WIDTH:
            pieces.append(items)
            continue
        unit = WIDTH
        while unit * WIDTH < len(items):
            unit *= WIDTH
        here = points[items]
        axis = int(np.argmax(np.ptp(here, axis=0)))
        half = -(-len(items) // unit) // 2 * unit
        items = items[np.argpartition(here[:, axis], half)]
        waiting += [items[half:], items[:half]]
    return np.concatenate(pieces)


def _level_counts(n_kernels: int) -> list[int]:
    """Nodes of each level, leaves first."""
    counts = [math.ceil(n_kernels / WIDTH)]
    while counts[-1] > 1:
        counts.append(math.ceil(counts[-1] / WIDTH))
    return counts


def _nodes(points: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """The flat array of all levels: rows of sixteen coordinates."""
    dims = points.shape[1]
    entries = np.full((len(slots), dims), NOWHERE, dtype=np.float32)
    entries[slots >= 0] = points[slots[slots >= 0]]
    levels = [_rows(entries)]
    low, high = entries, np.where(entries < NOWHERE / 10, entries, -np.float32(NOWHERE))
    for count in _level_counts(len(points))[1:]:
        low, high = low.reshape(-1, WIDTH, dims).min(1), high.reshape(-1, WIDTH, dims).max(1)
        missing = count * WIDTH - len(low)
        low = np.pad(low, ((0, missing), (0, 0)), constant_values=NOWHERE)
        high = np.pad(high, ((0, missing), (0, 0)), constant_values=-NOWHERE)
        levels.append(_rows(np.concatenate((low, high), 1)))
    return np.concatenate(levels)


def _rows(entries: np.ndarray) -> np.ndarray:
    """[n*16, C] -> n nodes of C rows of 16, flat."""
    return np.ascontiguousarray(entries.reshape(-1, WIDTH, entries.shape[1]).transpose(0, 2, 1)).reshape(-1)


def rbf_neighbors(x: Tensor, index: RbfIndex, k: int) -> Tensor:
    """The ``k`` kernels nearest to each of ``x``.

    Args:
        x: float32 [S,dims]; values outside [0,1] are clamped.
        index: of the centers.
        k: 1 to 16.

    Returns:
        int32 [S,k], nearest first, of equally near ones the lower index first; -1 where there are fewer kernels.

    Raises:
        ConfigError: ``k`` is out of range.
    """
    if not 1 <= k <= MAX_NEIGHBORS:
        raise ConfigError("the number of neighbors is out of range", field="neighbors", found=k, expected="1 to 16")
    if native.active(x, index.nodes):
        return _neighbors(x.detach(), index.nodes, index.order, index.n_kernels, index.dims, k)
    return rbf_neighbors_reference(x, index, k)


def rbf_neighbors_reference(x: Tensor, index: RbfIndex, k: int) -> Tensor:
    """The same in plain PyTorch: all distances."""
    used = index.order[index.order >= 0].long()
    if len(used) == 0:
        return torch.full((len(x), k), -1, dtype=torch.int32, device=x.device)
    slots = index.nodes[: WIDTH * index.dims * math.ceil(index.n_kernels / WIDTH)]
    centers = slots.view(-1, index.dims, WIDTH).transpose(1, 2).reshape(-1, index.dims)[index.order >= 0]
    centers = centers[used.argsort()]
    parts = []
    for part in x.detach().clamp(0.0, 1.0).split(4096):
        distance = (part[:, None] - centers[None]).square().sum(-1)
        near = distance.sort(dim=1, stable=True).indices[:, :k]
        parts.append(used.sort().values[near].int())
    found = torch.cat(parts) if parts else torch.empty(0, min(k, len(used)), dtype=torch.int32, device=x.device)
    return torch.nn.functional.pad(found, (0, k - found.shape[1]), value=-1)


@operation("rbf_neighbors")
def _neighbors(x: Tensor, nodes: Tensor, order: Tensor, n_kernels: int, dims: int, k: int) -> Tensor:
    ids = torch.empty((k, len(x)), dtype=torch.int32, device=x.device).t()
    tree = RbfIndex(nodes, order, n_kernels, dims).native()
    native.library.rbf_neighbors(
        native.target(x), n=len(x), dims=dims, k=k, tree=tree, x=native.array(x), ids=native.array(ids, torch.int32)
    )
    return ids


@_neighbors.register_fake
def _(x, nodes, order, n_kernels, dims, k):
    return torch.empty((k, x.shape[0]), dtype=torch.int32, device=x.device).t()
