"""A picture of a mesh by a small z-buffer, to look at what was exported without another program."""

from __future__ import annotations

import numpy as np
import torch

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.errors import ConfigError
from fieldlab.export.mesh import Mesh

CANDIDATES = 1 << 21  # pixels tested at a time
OVERSAMPLING = 2
CLAY = np.array([0.82, 0.80, 0.76])


def mesh_picture(
    mesh: Mesh,
    cameras: Cameras,
    i: int,
    *,
    shaded: bool = False,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """Draw a mesh as camera ``i`` sees it.

    Args:
        cameras: pinhole cameras; distortion is ignored.
        shaded: gray clay lit from the camera, which shows the shape, instead of the vertex colors.

    Returns:
        uint8 [H,W,3].

    Raises:
        ConfigError: the camera is not a perspective one.
    """
    if int(cameras.model[i]) != CameraModel.PERSPECTIVE:
        raise ConfigError("meshes are drawn by perspective cameras only", found=CameraModel(int(cameras.model[i])).name)
    camera = cameras[i].to("cpu").scaled(OVERSAMPLING)
    width, height = camera.size[0].tolist()
    pose = camera.camera_to_world[0].double().numpy()
    local = (mesh.vertices - pose[:, 3]) @ pose[:, :3]
    triangle, weights = _rasterize(local, mesh.faces, camera.intrinsics[0].double().numpy(), width, height)
    picture = np.broadcast_to(np.asarray(background, dtype=np.float64), (height * width, 3)).copy()
    hit = triangle >= 0
    corners = mesh.faces[triangle[hit]]
    if shaded or mesh.colors is None:
        normals = (mesh.normals()[corners] * weights[hit][:, :, None]).sum(1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        toward = -(local[corners] * weights[hit][:, :, None]).sum(1) @ pose[:, :3].T
        toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-12)
        light = np.abs((normals * toward).sum(1, keepdims=True))
        picture[hit] = CLAY * (0.2 + 0.8 * light)
    else:
        picture[hit] = (mesh.colors[corners] / 255 * weights[hit][:, :, None]).sum(1)
    picture = picture.reshape(height // OVERSAMPLING, OVERSAMPLING, width // OVERSAMPLING, OVERSAMPLING, 3).mean((1, 3))
    return (picture * 255 + 0.5).astype(np.uint8)


def _rasterize(
    local: np.ndarray, faces: np.ndarray, intrinsics: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest triangle int64 [H*W] under each pixel (-1: none) and its corners' weights [H*W,3] there.

    Args:
        local: vertices [V,3] in camera axes.
    """
    fx, fy, cx, cy = intrinsics
    corners = local[faces]
    # Triangles that reach behind the camera are left out rather than clipped: pictures are taken from outside.
    front = np.nonzero((corners[..., 2] > 1e-6).all(1))[0]
    corners = corners[front]
    z = corners[..., 2]
    xy = np.stack((corners[..., 0] / z * fx + cx, corners[..., 1] / z * fy + cy), axis=-1)
    low = np.clip(np.ceil(xy.min(1) - 0.5), 0, (width, height)).astype(np.int64)
    high = np.clip(np.floor(xy.max(1) - 0.5) + 1, 0, (width, height)).astype(np.int64)
    span = np.maximum(high - low, 0)
    counts = span[:, 0] * span[:, 1]
    nearest = torch.full((width * height,), torch.inf, dtype=torch.float64)
    triangle = np.full(width * height, -1, dtype=np.int64)
    weights = np.zeros((width * height, 3))
    ends = np.cumsum(counts)
    start = 0
    while start < len(front):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + CANDIDATES, side="right")))
        chosen = np.repeat(np.arange(start, stop), counts[start:stop])
        offset = np.arange(len(chosen)) - np.repeat(ends[start:stop] - counts[start:stop] - done, counts[start:stop])
        x, y = low[chosen, 0] + offset % span[chosen, 0], low[chosen, 1] + offset // span[chosen, 0]
        share, inside = _barycentric(xy[chosen], np.stack((x, y), axis=1) + 0.5)
        chosen, share, pixel = chosen[inside], share[inside], (y * width + x)[inside]
        # Screen-space weights are linear in 1/z; dividing by z makes them linear on the triangle.
        inverse = share / z[chosen]
        depth = 1 / inverse.sum(1)
        before = nearest.clone()
        nearest.scatter_reduce_(0, torch.from_numpy(pixel), torch.from_numpy(depth), "amin")
        wins = (depth == nearest.numpy()[pixel]) & (depth < before.numpy()[pixel])
        triangle[pixel[wins]] = front[chosen[wins]]
        weights[pixel[wins]] = inverse[wins] * depth[wins, None]
        start = stop
    return triangle, weights


def _barycentric(corners: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [N,3] of the corners [N,3,2] at positions [N,2], and whether the position is inside."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = _cross(b - a, c - a)
    good = np.abs(area) > 1e-12
    area = np.where(good, area, 1.0)
    share = np.stack((_cross(b - at, c - at), _cross(c - at, a - at), _cross(a - at, b - at)), axis=1) / area[:, None]
    return share, good & (share >= 0).all(1)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
