"""Pictures for an unwrapped mesh: every texel that a face uses is asked what is there, the others copy the nearest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import distance_transform_edt

from fieldlab.mesh.gltf import split_at_seams
from fieldlab.mesh.mesh import Mesh, Texture, unit_rows
from fieldlab.mesh.tangents import tangents
from fieldlab.mesh.texture.charts import outer_sides, side_pairs
from fieldlab.mesh.texture.texels import barycentric, boxed, covered

SLACK = 1e-6  # texels: centers on the side between two faces belong to one of them
REACH = 1.0  # texels from a chart's rim whose colors sampling between four texels mixes in
SHADED = 1 << 17  # texels asked for at a time
STEEPEST = 0.05  # least cosine between a baked normal and the mesh's own: maps cannot tell what looks away

Sampler = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def bake(
    mesh: Mesh,
    uv: np.ndarray,
    corners: np.ndarray,
    size: int,
    shade: Sampler,
    normal: Sampler | None = None,
    on_share: Callable[[float], object] | None = None,
) -> Texture:
    """Make the texture of a mesh.

    Texels whose centers lie on a face are asked for, and those just outside a chart that bilinear sampling inside it
    uses, which get what is at the nearest point of the chart. All others get the nearest of these values, so that
    smaller versions of the picture mix no foreign color into a chart.

    Args:
        uv, corners: where the faces lie, as :func:`fieldlab.mesh.texture.unwrap.unwrap` makes them: without
            overlaps, counterclockwise.
        size: texels on a side.
        shade: sRGB uint8 [N,3] at points float64 [N,3], which lie on the faces int64 [N] with corner weights
            float64 [N,3].
        normal: unit world normals float32 [N,3] at the same points, for a normal map.
        on_share: called with the share that is done.
    """
    flat = uv.astype(np.float64)[corners] * size
    texels, face, weights = _samples(mesh, flat, size)
    frame = None if normal is None else _Frame(mesh, uv, corners)
    color = np.zeros((size * size, 3), dtype=np.uint8)
    bumps = None if normal is None else np.full((size * size, 3), (128, 128, 255), dtype=np.uint8)
    for start in range(0, len(texels), SHADED):
        part = slice(start, start + SHADED)
        at, on, share = texels[part], face[part], weights[part]
        points = blended(mesh.vertices, mesh.faces[on], share)
        color[at] = shade(points, on, share)
        if normal is not None and frame is not None and bumps is not None:
            bumps[at] = frame.encoded(normal(points, on, share), on, share)
        if on_share is not None:
            on_share(min(1.0, (start + SHADED) / len(texels)))
    source = _nearest(texels, size)
    pictures = [None if it is None else it[source].reshape(size, size, 3) for it in (color, bumps)]
    assert pictures[0] is not None
    return Texture(uv, corners, pictures[0], pictures[1])


def blended(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values [V,C] at the corners int64 [N,3] mixed by their weights [N,3], as [N,C]."""
    a, b, c = (values[corners[:, k]] * weights[:, k : k + 1] for k in range(3))
    return a + b + c


def _samples(mesh: Mesh, flat: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The texels that count, int64 [N] row by row from the top, and of each its face int64 [N] and where on it, the
    weights of the corners float64 [N,3]."""
    owner = np.full(size * size, -1, dtype=np.int64)
    for face, x, y in covered(flat, SLACK):
        inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
        texel = (size - 1 - y[inside]) * size + x[inside]
        owner[texel[::-1]] = face[inside][::-1]  # the first face of several keeps it
    texels = np.flatnonzero(owner >= 0)
    face = owner[texels]
    weights = np.clip(barycentric(flat[face], _centers(texels, size)), 0, 1)
    rim_texels, rim_face, rim_weights = _rim(mesh.faces, flat, owner, size)
    texels = np.concatenate((texels, rim_texels))
    weights = np.concatenate((weights / weights.sum(1, keepdims=True), rim_weights))
    order = np.argsort(texels, kind="stable")
    return texels[order], np.concatenate((face, rim_face))[order], weights[order]


def _centers(texels: np.ndarray, size: int) -> np.ndarray:
    """Centers [N,2] of texels counted row by row from the top, on the plane where v grows upwards."""
    return np.stack((texels % size + 0.5, size - 0.5 - texels // size), axis=1)


def _rim(
    faces: np.ndarray, flat: np.ndarray, owner: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texels without an ``owner`` next to charts, and the nearest points of these charts: texel, face, weights."""
    sides = outer_sides(flat, side_pairs(faces))
    ends = np.stack((flat.reshape(-1, 2)[sides], np.roll(flat, -1, axis=1).reshape(-1, 2)[sides]), axis=1)
    nothing = np.zeros(0, dtype=np.int64)
    found = [(nothing, nothing, np.zeros(0), np.zeros(0))]
    for segment, x, y in boxed(ends, REACH):
        free = (x >= 0) & (x < size) & (y >= 0) & (y < size)
        segment, texel = segment[free], ((size - 1 - y) * size + x)[free]
        segment, texel = (it[owner[texel] < 0] for it in (segment, texel))
        start, along = ends[segment, 0], ends[segment, 1] - ends[segment, 0]
        away = _centers(texel, size) - start
        share = np.clip((away * along).sum(1) / np.maximum((along * along).sum(1), 1e-30), 0, 1)
        gap = np.abs(away - share[:, None] * along)
        near = gap.max(1) <= REACH
        found.append((texel[near], segment[near], share[near], (gap * gap).sum(1)[near]))
    texel, segment, share, gap = (np.concatenate(it) for it in zip(*found, strict=True))
    order = np.lexsort((segment, gap, texel))
    order = order[np.diff(texel[order], prepend=-1) != 0]
    face, corner = sides[segment[order]] // 3, sides[segment[order]] % 3
    weights, rows = np.zeros((len(order), 3)), np.arange(len(order))
    weights[rows, corner] = 1 - share[order]
    weights[rows, (corner + 1) % 3] = share[order]
    return texel[order], face, weights


def _nearest(texels: np.ndarray, size: int) -> np.ndarray:
    """The nearest of some texels to every texel of the picture, int64 [size*size], counted row by row."""
    empty = np.ones((size, size), dtype=bool)
    empty.ravel()[texels] = False
    if empty.all():
        return np.arange(size * size)
    row, column = distance_transform_edt(empty, return_distances=False, return_indices=True)
    return (row.astype(np.int64) * size + column).ravel()


class _Frame:
    """The tangent space of a textured mesh, from the same vertex normals and tangents that its glTF file holds."""

    def __init__(self, mesh: Mesh, uv: np.ndarray, corners: np.ndarray) -> None:
        blank = np.zeros((1, 1, 3), dtype=np.uint8)
        shape = Mesh(mesh.vertices, mesh.faces, None, Texture(uv, corners, blank), mesh.vertex_normals)
        made = split_at_seams(shape)
        assert made.uv is not None
        self.faces, self.normals = made.faces, made.normals
        self.tangents = tangents(made.positions, made.normals, made.uv, made.faces)

    def encoded(self, normals: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Colors uint8 [N,3] that stand for world normals [N,3] at places on faces."""
        corners = self.faces[face]
        up, along = unit_rows(blended(self.normals, corners, weights)), blended(self.tangents, corners, weights)
        x = unit_rows(along[:, :3])
        y = np.cross(up, x) * np.where(along[:, 3:] < 0, -1.0, 1.0)
        # Mixed normals and tangents are not quite perpendicular: the three numbers that bring the normal back.
        local = np.stack([(normals * np.cross(*two)).sum(1) for two in ((y, up), (up, x), (x, y))], axis=1)
        local = unit_rows(local * np.sign((x * np.cross(y, up)).sum(1, keepdims=True)))
        local[:, 2] = np.maximum(local[:, 2], STEEPEST)
        return np.rint((0.5 + 0.5 * unit_rows(local)) * 255).astype(np.uint8)
