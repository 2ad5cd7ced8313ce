"""Pictures of a mesh by a small z-buffer: to look at what was exported without another program, and to measure it."""

from __future__ import annotations

import numpy as np

from fieldlab.data.cameras import Cameras
from fieldlab.mesh.mesh import Mesh, Texture, unit_rows
from fieldlab.mesh.raster import in_camera_axes, rasterize

OVERSAMPLING = 2
CLAY = np.array([0.82, 0.80, 0.76])
Color = tuple[float, float, float]


def mesh_picture(
    mesh: Mesh, cameras: Cameras, i: int, *, shaded: bool = False, background: Color = (1.0, 1.0, 1.0)
) -> np.ndarray:
    """Draw a mesh as camera ``i`` sees it, from outside and from inside alike.

    Args:
        cameras: perspective ones, with or without distortion.
        shaded: gray clay lit from the camera, which shows the shape, instead of the texture or the vertex colors.

    Returns:
        uint8 [H,W,3] sRGB.

    Raises:
        ConfigError: the camera is not a perspective one.
    """
    return (mesh_colors(mesh, cameras, i, shaded=shaded, background=background) * 255 + 0.5).astype(np.uint8)


def mesh_colors(
    mesh: Mesh, cameras: Cameras, i: int, *, shaded: bool = False, background: Color = (1.0, 1.0, 1.0)
) -> np.ndarray:
    """The same picture as :func:`mesh_picture` before it is rounded: float32 [H,W,3] sRGB in [0,1]."""
    camera = cameras[i].to("cpu").scaled(OVERSAMPLING)
    width, height = camera.size[0].tolist()
    local = in_camera_axes(mesh.vertices, camera)
    hits = rasterize(local, mesh.faces, camera)
    hit = hits.triangle >= 0
    triangle, weights = hits.triangle[hit], hits.weights[hit]
    picture = np.broadcast_to(np.asarray(background, dtype=np.float64), (height * width, 3)).copy()
    if not shaded and mesh.texture is not None:
        picture[hit] = _texture_colors(mesh.texture, triangle, weights)
    elif not shaded and mesh.colors is not None:
        picture[hit] = _blended(mesh.colors / 255, mesh.faces[triangle], weights)
    else:
        turn = camera.camera_to_world[0, :, :3].double().numpy()
        normals = unit_rows(_blended(mesh.normals(), mesh.faces[triangle], weights) @ turn)
        toward = unit_rows(_blended(local, mesh.faces[triangle], weights))
        picture[hit] = CLAY * (0.2 + 0.8 * np.abs((normals * toward).sum(1, keepdims=True)))
    n = OVERSAMPLING
    return picture.reshape(height // n, n, width // n, n, 3).mean((1, 3)).astype(np.float32)


def mesh_depth(mesh: Mesh, cameras: Cameras, i: int) -> np.ndarray:
    """How far away the mesh is along the rays of camera ``i`` through the middles of its pixels.

    Returns:
        float32 [H,W] in world units, 0 where there is nothing.

    Raises:
        ConfigError: the camera is not a perspective one.
    """
    camera = cameras[i].to("cpu")
    width, height = camera.size[0].tolist()
    local = in_camera_axes(mesh.vertices, camera)
    hits = rasterize(local, mesh.faces, camera)
    hit = hits.triangle >= 0
    depth = np.zeros(height * width, dtype=np.float32)
    points = _blended(local, mesh.faces[hits.triangle[hit]], hits.weights[hit])
    depth[hit] = np.linalg.norm(points, axis=1)
    return depth.reshape(height, width)


def _blended(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values [V,C] at the corners int64 [P,3] by their weights [P,3], as [P,C]."""
    return sum(values[corners[:, k]] * weights[:, k : k + 1] for k in range(3))  # type: ignore[return-value]


def _texture_colors(texture: Texture, triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sRGB [P,3] in [0,1] of places on triangles, between the four nearest texels."""
    uv = _blended(texture.uv.astype(np.float64), texture.corners[triangle], weights)
    uv = np.where((uv < 0) | (uv > 1), uv - np.floor(uv), uv)  # textures of other programs may repeat
    height, width = texture.color.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    left, top = x.astype(np.int64), y.astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[:, None], (y - top)[:, None]
    texels = texture.color
    upper = texels[top, left] * (1 - across) + texels[top, right] * across
    lower = texels[bottom, left] * (1 - across) + texels[bottom, right] * across
    return (upper * (1 - down) + lower * down) / 255
