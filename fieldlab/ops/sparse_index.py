"""Which vertices of a lattice have a row of values, and where: memory grows with the surface, not with the cube.

The lattice has R vertices a side over [0,1]^3, the outermost on the faces. It is cut into bricks of 8x8x8 vertices. A
coarse table int32 [B,B,B], B = ceil(R/8), knows the bricks; a brick keeps a word of 64 bits per z slice (bit y*8+x: is
the vertex stored) and the row of each slice's first vertex. The row of a vertex is that plus the number of bits below
its own. A brick costs 100 bytes however many vertices it has.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldlab.errors import ConfigError
from fieldlab.ops import native
from fieldlab.ops.limits import BRICK

MAX_RESOLUTION = 1025  # keeps numbers of vertices below 2^31


@dataclass(frozen=True, eq=False)
class SparseIndex:
    """Rows of the stored vertices of a lattice; rows are ordered by brick, then z, y, x.

    Args:
        resolution: R, vertices along an axis.
        bricks: int32 [n], ascending: flat place (z, y, x) of each brick among the B^3.
        words: int64 [n,8]: the bits of each z slice.
    """

    resolution: int
    bricks: Tensor
    words: Tensor

    @staticmethod
    def of_vertices(vertices: Tensor, resolution: int) -> SparseIndex:
        """The index of lattice vertices int64 [P,3] (x, y, z), in any order, repeated or not.

        Raises:
            ConfigError: a resolution out of range, or vertices outside the lattice.
        """
        _check_resolution(resolution)
        if len(vertices) and (int(vertices.min()) < 0 or int(vertices.max()) >= resolution):
            raise ConfigError("vertices lie outside their lattice", found=f"{vertices.min()} to {vertices.max()}",
                              expected=f"0 to {resolution - 1}")  # fmt: skip
        return SparseIndex.of_keys(torch.unique(_keys(vertices, resolution)), resolution)

    @staticmethod
    def of_mask(mask: Tensor) -> SparseIndex:
        """The index of the vertices that are True in bool [R,R,R] (z, y, x)."""
        return SparseIndex.of_vertices(mask.nonzero().flip(1), mask.shape[0])

    @staticmethod
    def of_keys(keys: Tensor, resolution: int) -> SparseIndex:
        """The index of ascending keys, see :attr:`keys`."""
        places, brick_of = torch.unique_consecutive(keys >> 9, return_inverse=True)
        words = torch.zeros(len(places) * BRICK, dtype=torch.int64, device=keys.device)
        bits = torch.ones_like(keys) << (keys & 63)  # each once, so that adding them is joining them
        words.index_add_(0, brick_of * BRICK + (keys >> 6 & 7), bits)
        return SparseIndex(resolution, places.int(), words.view(-1, BRICK))

    @staticmethod
    def checked(resolution: int, bricks: Tensor, words: Tensor) -> SparseIndex:
        """An index from arrays of unknown origin.

        Raises:
            ConfigError: they describe no lattice.
        """
        if not 2 <= resolution <= MAX_RESOLUTION:
            raise ConfigError("a lattice has an impossible resolution", field="resolution", found=resolution,
                                  expected=f"2 to {MAX_RESOLUTION}")  # fmt: skip
        if bricks.dtype != torch.int32 or bricks.dim() != 1:
            raise ConfigError("the places of bricks are no list of int32", field="bricks", found=bricks.dtype)
        if words.dtype != torch.int64 or words.shape != (len(bricks), BRICK):
            raise ConfigError("bricks have words of another shape", field="words", found=tuple(words.shape),
                                  expected=(len(bricks), BRICK))  # fmt: skip
        side = -(-resolution // BRICK)
        wide = bricks.long()
        if len(wide) and (int(wide[0]) < 0 or int(wide[-1]) >= side**3 or bool((wide[1:] <= wide[:-1]).any())):
            raise ConfigError("the places of bricks are not ascending, or outside the lattice", field="bricks")
        index = SparseIndex(resolution, bricks, words)
        if len(wide) and int(index.vertices.max()) >= resolution:
            raise ConfigError("bricks hold vertices outside the lattice", field="words")
        return index

    def to(self, device: torch.device) -> SparseIndex:
        """The same on a device."""
        return self if self.device == device else SparseIndex(
            self.resolution, self.bricks.to(device), self.words.to(device)
        )  # fmt: skip

    @property
    def device(self) -> torch.device:
        return self.words.device

    @functools.cached_property
    def n_rows(self) -> int:
        """Number of stored vertices."""
        return int(self._counts.sum())

    @property
    def n_bytes(self) -> int:
        """Memory of the index."""
        arrays = (self.bricks, self.words, self.coarse, self.first)
        return sum(a.numel() * a.element_size() for a in arrays)

    @functools.cached_property
    def coarse(self) -> Tensor:
        """int32 [B^3]: number of the brick at each place, or -1."""
        side = -(-self.resolution // BRICK)
        coarse = torch.full((side**3,), -1, dtype=torch.int32, device=self.device)
        coarse[self.bricks.long()] = torch.arange(len(self.bricks), dtype=torch.int32, device=self.device)
        return coarse

    @functools.cached_property
    def first(self) -> Tensor:
        """int32 [n,8]: row of each slice's first vertex."""
        counts = self._counts
        return (counts.cumsum(0) - counts).int().view(-1, BRICK)

    @functools.cached_property
    def _counts(self) -> Tensor:
        """int64 [8n]: vertices in each slice."""
        octets = self.words.contiguous().view(torch.uint8).view(-1, 8).long()
        return _BITS_IN_BYTE.to(self.device)[octets].sum(1)

    @property
    def keys(self) -> Tensor:
        """int64 [N], ascending: brick's place * 512 + vertex in the brick (z, y, x) of every row."""
        bits = torch.arange(64, device=self.device)
        parts = []
        for part, places in zip(self.words.split(4096), self.bricks.long().split(4096), strict=True):
            slices, bit = (part.reshape(-1, 1) >> bits & 1).bool().nonzero().unbind(1)
            parts.append(places[slices >> 3] * 512 + (slices & 7) * 64 + bit)
        return torch.cat(parts) if parts else self.words.new_empty(0)

    @property
    def vertices(self) -> Tensor:
        """int64 [N,3]: lattice coordinates x, y, z of every row."""
        keys, side = self.keys, -(-self.resolution // BRICK)
        brick = keys >> 9
        corner = torch.stack((brick % side, brick // side % side, brick // side**2), 1) * BRICK
        return corner + torch.stack((keys & 7, keys >> 3 & 7, keys >> 6 & 7), 1)

    def find(self, vertices: Tensor) -> Tensor:
        """Rows int64 [...] of vertices int64 [...,3], -1 where none is stored."""
        inside = ((vertices >= 0) & (vertices < self.resolution)).all(-1)
        keys, wanted = self.keys, torch.where(inside, _keys(vertices, self.resolution), -1)
        if len(keys) == 0:
            return torch.full_like(wanted, -1)
        rows = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        return torch.where(keys[rows] == wanted, rows, -1)

    @property
    def plan(self) -> dict[str, Any]:
        """What the native kernels take."""
        return {
            "resolution": self.resolution, "n_bricks": len(self.bricks),
            "coarse": native.pointer(self.coarse, torch.int32), "bricks": native.pointer(self.bricks, torch.int32),
            "words": native.pointer(self.words, torch.int64), "first": native.pointer(self.first, torch.int32),
        }  # fmt: skip


def near(vertices: Tensor, resolution: int, onto: int, reach: int = 0) -> SparseIndex:
    """The vertices of a lattice that are near vertices of another (or the same) lattice.

    Args:
        vertices: int64 [P,3] of the lattice with ``resolution`` vertices a side.
        resolution: theirs.
        onto: vertices a side of the lattice asked for.
        reach: 0: those that interpolation gives a part of the vertex; n: up to n cells farther along each axis.
    """
    _check_resolution(onto)
    cells, side = onto - 1, -(-onto // BRICK)
    reached = (1 + reach) * cells  # f is near v where |f (R-1) - v cells| is less
    first = ((vertices - 1 - reach) * cells).div(resolution - 1, rounding_mode="floor") + 1
    steps = torch.arange(-(-2 * reached // (resolution - 1)), device=vertices.device)
    keys = []
    for layer in range(side):
        below = first[:, 2] < (layer + 1) * BRICK
        here = below & (first[:, 2] + len(steps) > layer * BRICK)
        f = first[here][:, None] + steps[:, None]  # [p, steps, 3]
        fits = ((f * (resolution - 1) - vertices[here][:, None] * cells).abs() < reached) & (f >= 0) & (f <= cells)
        fits[..., 2] &= f[..., 2] >> 3 == layer
        places = f * torch.tensor([1, side * BRICK, (side * BRICK) ** 2], device=f.device)
        flat = places[:, :, None, None, 0] + places[:, None, :, None, 1] + places[:, None, None, :, 2]
        valid = fits[:, :, None, None, 0] & fits[:, None, :, None, 1] & fits[:, None, None, :, 2]
        mask = torch.zeros(BRICK * (side * BRICK) ** 2, dtype=torch.bool, device=f.device)
        mask[flat[valid] - layer * BRICK * (side * BRICK) ** 2] = True
        bricks = mask.view(BRICK, side, BRICK, side, BRICK).permute(1, 3, 0, 2, 4).reshape(-1)
        keys.append(bricks.nonzero()[:, 0] + layer * side**2 * 512)
    return SparseIndex.of_keys(torch.cat(keys), onto)


_BITS_IN_BYTE = torch.tensor([i.bit_count() for i in range(256)])


def _check_resolution(resolution: int) -> None:
    if not 2 <= resolution <= MAX_RESOLUTION:
        raise ConfigError("a lattice has an impossible resolution", field="resolution", found=resolution,
                          expected=f"2 to {MAX_RESOLUTION}")  # fmt: skip


def _keys(vertices: Tensor, resolution: int) -> Tensor:
    side = -(-resolution // BRICK)
    x, y, z = vertices.unbind(-1)
    brick = ((z >> 3) * side + (y >> 3)) * side + (x >> 3)
    return brick * 512 + (z & 7) * 64 + (y & 7) * 8 + (x & 7)
