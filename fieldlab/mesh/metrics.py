"""How well a mesh meets a true surface, and what kind of mesh it is."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from scipy.spatial import cKDTree

from fieldlab.data.cameras import Cameras
from fieldlab.errors import ConfigError, DataError
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.queries import face_normals, joined_faces, nearest_on, pieces, sample_surface, topology, volume
from fieldlab.segment.truth import short_name

POINTS = 200_000
SHARES = (0.005, 0.01)


@dataclass(frozen=True)
class MeshShape:
    """What a mesh is by itself. Vertices at one place count as one for all but ``vertices``, since files split them at
    the seams of a texture.

    Args:
        triangles, vertices: as the mesh has them.
        components: pieces that share no vertex.
        watertight: every edge belongs to two faces.
        manifold: no edge belongs to more than two faces, and neighbors agree about which side is outside. Pieces that
            touch in a single vertex are not looked for.
        volume: in cubic world units, negative where the faces look inward; None unless watertight and manifold.
    """

    triangles: int
    vertices: int
    components: int
    watertight: bool
    manifold: bool
    volume: float | None


@dataclass(frozen=True)
class Closeness:
    """How much of two surfaces is within a distance of the other one.

    Args:
        distance: in world units.
        share: the distance as a share of the diagonal of the truth's bounding box.
        precision: share of the made surface that is near the true one.
        recall: share of the true surface, or of what is seen of it, that is near the made one.
        f_score: their harmonic mean.
    """

    distance: float
    share: float
    precision: float
    recall: float
    f_score: float


@dataclass(frozen=True)
class MeshScore:
    """How well a mesh meets a true surface.

    Normals are those of the faces at a point and at the nearest point of the other surface. Their consistency is the
    mean of the absolute cosine (Mescheder et al. 2019): at thin walls the nearest point is often on the other side,
    which says nothing about the shape. The plain cosine beside it drops when faces look the wrong way.

    Args:
        chamfer: mean distance to the other surface in world units, the mean of both directions.
        accuracy: mean distance from the made surface to the true one.
        completeness: mean distance from the true surface, or from what is seen of it, to the made one.
        closeness: by rising distance.
        normal_consistency: 0 to 1, the mean of both directions; None when the truth has no faces.
        normal_cosine: the same with its sign, -1 to 1.
        truth_components: pieces of the truth; None when it has no faces.
        diagonal: of the truth's bounding box, in world units.
        points: how many were looked at on the made and on the true surface.
        seen: whether recall and completeness are over what cameras see.
    """

    chamfer: float
    accuracy: float
    completeness: float
    closeness: tuple[Closeness, ...]
    normal_consistency: float | None
    normal_cosine: float | None
    truth_components: int | None
    diagonal: float
    points: tuple[int, int]
    seen: bool


def mesh_shape(mesh: Mesh) -> MeshShape:
    """Count and check a mesh."""
    faces = joined_faces(mesh)
    edges = topology(faces)
    watertight = len(faces) > 0 and edges.open_edges == 0 and edges.crowded_edges == 0
    manifold = edges.crowded_edges == 0 and edges.consistent
    return MeshShape(
        triangles=len(mesh.faces),
        vertices=len(mesh.vertices),
        components=_piece_count(faces),
        watertight=watertight,
        manifold=manifold,
        volume=volume(mesh) if watertight and manifold else None,
    )


def score_mesh(
    made: Mesh,
    truth: Mesh,
    *,
    shares: Sequence[float] = SHARES,
    distances: Sequence[float] = (),
    seen: np.ndarray | None = None,
    points: int = POINTS,
    seed: int = 0,
) -> MeshScore:
    """Compare a mesh with a true surface; the same numbers every time for one seed.

    Args:
        truth: a mesh, or a point cloud: a mesh without faces, distances to which are to its nearest point.
        shares: thresholds of precision and recall as shares of the diagonal of the truth's bounding box.
        distances: further thresholds in world units.
        seen: points float [P,3] of the true surface that count for recall, instead of all of it. Every point counts
            the same, so what many cameras see counts for more.
        points: at most this many on each surface.

    Raises:
        ConfigError: a threshold is not above zero, or no points are to be compared.
        DataError: a surface has no area, or nothing is seen.
    """
    if points < 1 or not all(0 < value < math.inf for value in (*shares, *distances)):
        raise ConfigError("thresholds and numbers of points are above zero", found=[points, *shares, *distances])
    if seen is not None and len(seen) == 0:
        raise DataError("nothing is seen of the true surface", expected="depths above 0")
    diagonal = _diagonal(truth)
    rng = np.random.default_rng(seed)
    there = _to_truth(made, truth, points, rng)
    back = _from_truth(made, truth, seen, points, rng)
    limits = sorted({*(share * diagonal for share in shares), *distances})
    accuracy, completeness = float(there.distance.mean()), float(back.distance.mean())
    consistency, cosine = None, None
    if there.cosine is not None and back.cosine is not None:
        consistency = float((np.abs(there.cosine).mean() + np.abs(back.cosine).mean()) / 2)
        cosine = float((there.cosine.mean() + back.cosine.mean()) / 2)
    return MeshScore(
        chamfer=(accuracy + completeness) / 2,
        accuracy=accuracy,
        completeness=completeness,
        closeness=tuple(_closeness(there.distance, back.distance, limit, diagonal) for limit in limits),
        normal_consistency=consistency,
        normal_cosine=cosine,
        truth_components=_piece_count(joined_faces(truth)) if len(truth.faces) else None,
        diagonal=diagonal,
        points=(len(there.distance), len(back.distance)),
        seen=seen is not None,
    )


def seen_points(folder: Path, cameras: Cameras, names: Sequence[str]) -> np.ndarray:
    """The surface that cameras see, from the depth of their pictures.

    Args:
        folder: has NAME.npz for views, with ``depth`` [H,W]: distance along the rays in world units, 0 where nothing
            is. Views without a file are passed over.
        names: of the cameras' pictures; folders and the suffixes of pictures are left out of NAME.

    Returns:
        world points float64 [P,3].

    Raises:
        DataError: there is no such folder, no view has a file, or a file is damaged, without depth, or of another size
            than its camera.
    """
    if not folder.is_dir():
        raise DataError("there are no depths", file=folder, expected="a folder of NAME.npz with depth [H,W]")
    parts = []
    for i, name in enumerate(names):
        file = folder / f"{short_name(name)}.npz"
        if file.is_file():
            width, height = cameras.size[i].tolist()
            depth = torch.from_numpy(_read_depth(file, (height, width))).double()
            row, column = (depth > 0).nonzero().unbind(1)
            pixels = torch.stack((column, row), dim=1).float() + 0.5
            rays = cameras[i].to("cpu").rays(torch.zeros_like(row), pixels)
            parts.append(rays.origins.double() + rays.directions.double() * depth[row, column, None])
    if not parts:
        raise DataError("no view has depths", file=folder, expected=f"{short_name(names[0])}.npz" if names else None)
    return torch.cat(parts).numpy()


def _read_depth(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """``depth`` float32 of a file of arrays; looks at its size before it takes memory for it."""
    try:
        with zipfile.ZipFile(file) as archive:
            if "depth.npy" not in archive.namelist():
                raise DataError("a file has no depth", file=file, found=archive.namelist(), expected="depth [H,W]")
            with archive.open("depth.npy") as member:
                found, kind = _array_header(member)
            if found != shape or kind.kind != "f":
                raise DataError("depth does not fit its camera", file=file, found=f"{kind} {list(found)}",
                                expected=f"floats {list(shape)}")  # fmt: skip
        with np.load(file, allow_pickle=False) as arrays:
            depth = np.asarray(arrays["depth"], dtype=np.float32)
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError("depths cannot be read", file=file, found=error) from error
    if not np.isfinite(depth).all():
        raise DataError("depths are not finite", file=file, hint="write 0 where nothing is")
    return depth


def _array_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(member)
    return shape, kind


@dataclass(frozen=True)
class _OneWay:
    """Distances [P] to the other surface and cosines [P] between the normals of both, or None."""

    distance: np.ndarray
    cosine: np.ndarray | None


def _to_truth(made: Mesh, truth: Mesh, count: int, rng: np.random.Generator) -> _OneWay:
    points, face = _spread(made, count, rng)
    if len(truth.faces) == 0:
        return _OneWay(cKDTree(truth.vertices).query(points)[0], None)
    distance, other = nearest_on(truth, points)
    return _OneWay(distance, (face_normals(made)[face] * face_normals(truth)[other]).sum(1))


def _from_truth(made: Mesh, truth: Mesh, seen: np.ndarray | None, count: int, rng: np.random.Generator) -> _OneWay:
    """From points of the truth to the made mesh; the normals of seen points are the truth's at its nearest point."""
    face = None
    if seen is not None or len(truth.faces) == 0:
        points = _chosen(truth.vertices if seen is None else seen, count, rng)
    else:
        points, face = _spread(truth, count, rng)
    distance, other = nearest_on(made, points)
    if len(truth.faces) == 0:
        return _OneWay(distance, None)
    face = nearest_on(truth, points)[1] if face is None else face
    return _OneWay(distance, (face_normals(truth)[face] * face_normals(made)[other]).sum(1))


def _spread(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if not face_normals(mesh).any():
        raise DataError("a mesh has no surface", found=f"{len(mesh.faces)} triangles", expected="triangles with area")
    return sample_surface(mesh, count, rng)


def _chosen(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return points if len(points) <= count else points[np.sort(rng.choice(len(points), count, replace=False))]


def _closeness(there: np.ndarray, back: np.ndarray, distance: float, diagonal: float) -> Closeness:
    precision, recall = float((there <= distance).mean()), float((back <= distance).mean())
    total = precision + recall
    return Closeness(distance, distance / diagonal, precision, recall, 2 * precision * recall / total if total else 0.0)


def _diagonal(truth: Mesh) -> float:
    diagonal = float(np.linalg.norm(np.ptp(truth.vertices, axis=0))) if len(truth.vertices) else 0.0
    if not 0 < diagonal < math.inf:
        raise DataError("the true surface has no extent", found=f"{len(truth.vertices)} vertices")
    return diagonal


def _piece_count(faces: np.ndarray) -> int:
    return int(pieces(faces).max()) + 1 if len(faces) else 0
