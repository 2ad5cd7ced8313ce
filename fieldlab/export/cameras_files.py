"""Cameras for other programs: nerfstudio's ``transforms.json`` and COLMAP's sparse models.

Both put pixel centers at +0.5, as :mod:`fieldlab.data.cameras` does, so intrinsics and lens coefficients go over as
they are. nerfstudio's poses are camera-to-world with OpenGL axes, COLMAP's are world-to-camera with OpenCV axes; the
world and its units stay the scene's own.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import torch

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.data.transforms import OPENGL
from fieldlab.errors import ConfigError
from fieldlab.export.points import PointCloud, points_in_view, write_cloud
from fieldlab.files import write_bytes, write_json

TRANSFORMS, COLMAP, POINTS = "transforms.json", "a COLMAP model", "points.ply"
MODEL = Path("sparse", "0")


def write_transforms(
    folder: str | Path,
    cameras: Cameras,
    names: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    depths: Sequence[str] | None = None,
    depth_scale: float = 1.0,
    points: str | None = None,
) -> None:
    """Write N cameras as ``transforms.json`` for nerfstudio, instant-ngp and fieldlab itself.

    A lens that all cameras share is written once, otherwise once a frame.

    Args:
        folder: where the file goes.
        names: pictures, as paths relative to ``folder``.
        splits: 'train', 'val' or 'test' of every camera; lists of them are written when there are views both to train
            on and to test with. nerfstudio wants all three lists, so val and test stand in for each other.
        depths: a depth picture of every camera, relative to ``folder``: what nerfstudio expects is z-depth for
            perspective cameras and distance for others.
        depth_scale: world units of one unit of those pictures, nerfstudio's ``--depth-unit-scale-factor``.
        points: a PLY file of points in the world, relative to ``folder``.

    Raises:
        ConfigError: the format cannot hold these cameras, or a name is unfit.
        RunFolderError: the file cannot be written.
    """
    check_transforms(cameras)
    paths = checked_names(names, len(cameras))
    lenses = [_nerfstudio_lens(cameras, i) for i in range(len(cameras))]
    shared = all(lens == lenses[0] for lens in lenses)
    data: dict[str, Any] = {"camera_model": _nerfstudio_model(cameras), **(lenses[0] if shared else {})}
    if depths is not None:
        data["depth_unit_scale_factor"] = depth_scale
    if points is not None:
        data["ply_file_path"] = points
    data |= _split_lists(paths, splits)
    frames: list[dict[str, Any]] = []
    for i, path in enumerate(paths):
        pose = np.eye(4)
        pose[:3] = cameras.camera_to_world[i].double().cpu().numpy()
        pose[:3, :3] *= OPENGL
        frame = {"file_path": path, "transform_matrix": pose.tolist()}
        frames.append(frame if shared else frame | lenses[i])
        if depths is not None:
            frames[-1]["depth_file_path"] = depths[i]
    write_json(Path(folder) / TRANSFORMS, data | {"frames": frames})


def check_transforms(cameras: Cameras) -> None:
    """Whether ``transforms.json`` can hold these cameras.

    Raises:
        ConfigError: there are none, they have several models, or a panorama is not of the whole sphere.
    """
    _check_any(cameras)
    if len(cameras.models()) > 1:
        raise ConfigError(
            "transforms.json has one camera model for all frames",
            found=", ".join(CameraModel(value).name.lower() for value in sorted(cameras.models())),
            hint="write the cameras of each model into a folder of their own",
        )


def write_colmap(folder: str | Path, cameras: Cameras, names: Sequence[str], points: PointCloud | None = None) -> None:
    """Write N cameras as a COLMAP model, ``sparse/0/{cameras,images,points3D,rigs,frames}.bin``.

    Lenses become PINHOLE, OPENCV, FULL_OPENCV (which COLMAP's own tools read, fieldlab does not), OPENCV_FISHEYE or
    EQUIRECTANGULAR; cameras with one lens share it.

    Args:
        names: pictures, as paths relative to the folder ``images``.
        points: become ``points3D`` with the views that see them as their tracks: those that look at their front and
            in which no nearer point is at the same place.

    Raises:
        ConfigError: the format cannot hold a camera, or a name is unfit.
        RunFolderError: the files cannot be written.
    """
    check_colmap(cameras)
    paths = checked_names(names, len(cameras))
    model = _reconstruction(cameras.to("cpu"), paths, points)
    with tempfile.TemporaryDirectory() as made:
        model.write_binary(made)
        # Readers look for images.bin: the others are there before it.
        for file in sorted(Path(made).iterdir(), key=lambda file: file.name == "images.bin"):
            write_bytes(Path(folder) / MODEL / file.name, file.read_bytes())


def check_colmap(cameras: Cameras) -> None:
    """Whether a COLMAP model can hold these cameras.

    Raises:
        ConfigError: there are none, or one has a lens that COLMAP does not know.
    """
    _check_any(cameras)
    for i in range(len(cameras)):
        _colmap_lens(cameras, i)


def write_cameras(
    folder: str | Path,
    cameras: Cameras,
    names: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    depths: Sequence[str] | None = None,
    depth_scale: float = 1.0,
    points: PointCloud | None = None,
) -> list[str]:
    """Write N cameras in both formats, or in the one that can hold them.

    Args:
        names: pictures, as paths relative to the folder ``images`` in ``folder``.
        splits, depths, depth_scale: see :func:`write_transforms`.
        points: written as ``points.ply`` too.

    Returns:
        A sentence on the format that cannot hold them, if any.

    Raises:
        ConfigError: neither can, or a name is unfit.
        RunFolderError: the files cannot be written.
    """
    folder, refused = Path(folder), refusals(cameras)
    names = checked_names(names, len(cameras))
    if points is not None:
        write_cloud(folder / POINTS, points)
    if COLMAP not in refused:
        write_colmap(folder, cameras, names, points)
    if TRANSFORMS not in refused:
        write_transforms(
            folder, cameras, [f"images/{name}" for name in names], splits=splits, depths=depths,
            depth_scale=depth_scale, points=None if points is None else POINTS,
        )  # fmt: skip
    return [f"{name} is not written: {error.what}" for name, error in refused.items()]


def refusals(cameras: Cameras) -> dict[str, ConfigError]:
    """Why a format cannot hold the cameras, by the name of the format; empty where both can.

    Raises:
        ConfigError: neither can.
    """
    errors: dict[str, ConfigError] = {}
    for name, check in ((TRANSFORMS, check_transforms), (COLMAP, check_colmap)):
        try:
            check(cameras)
        except ConfigError as error:
            errors[name] = error
    if len(errors) == 2:
        raise errors[TRANSFORMS]
    return errors


def checked_names(names: Sequence[str], count: int) -> list[str]:
    """Names of pictures with forward slashes and without a leading ``./``.

    Raises:
        ConfigError: there are not ``count`` of them, one is empty or leads out of the folder, or two are the same.
    """
    if len(names) != count:
        raise ConfigError("every camera has one name", found=f"{len(names)} names", expected=f"{count}")
    made: dict[str, None] = {}
    for name in names:
        path = PureWindowsPath(name)  # which knows both kinds of slashes, and drives
        if path.anchor or ".." in path.parts or not path.parts:
            raise ConfigError("the name of a view leads out of the folder", found=name, expected="a relative path")
        if path.as_posix() in made:
            raise ConfigError("two views have one name", found=name, expected="every picture once")
        made[path.as_posix()] = None
    return list(made)


def _nerfstudio_model(cameras: Cameras) -> str:
    model = CameraModel(next(iter(cameras.models())))
    if model == CameraModel.PERSPECTIVE:
        return "OPENCV" if bool(cameras.distortion.any()) else "PINHOLE"
    return "OPENCV_FISHEYE" if model == CameraModel.FISHEYE else "EQUIRECTANGULAR"


def _nerfstudio_lens(cameras: Cameras, i: int) -> dict[str, float]:
    """Intrinsics, size and the coefficients of a lens that has any."""
    width, height = cameras.size[i].tolist()
    if cameras.model[i] == CameraModel.EQUIRECTANGULAR:
        # nerfstudio counts longitude in half turns to either side and latitude in half turns from pole to pole.
        return {"fl_x": width / 2, "fl_y": height, "cx": width / 2, "cy": height / 2, "w": width, "h": height}
    lens = dict(zip(("fl_x", "fl_y", "cx", "cy"), cameras.intrinsics[i].tolist(), strict=True))
    lens |= {"w": width, "h": height}
    fisheye = cameras.model[i] == CameraModel.FISHEYE
    keys = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4")
    found = dict(zip(keys, cameras.distortion[i].tolist(), strict=False))
    return lens | (found if any(found.values()) else {})


def _split_lists(paths: list[str], splits: Sequence[str] | None) -> dict[str, list[str]]:
    members = list(zip(paths, [""] * len(paths) if splits is None else splits, strict=True))
    train, val, test = ([path for path, found in members if found == split] for split in ("train", "val", "test"))
    if not train or not (val or test):
        return {}
    return {"train_filenames": train, "val_filenames": val or test, "test_filenames": test or val}


def _check_any(cameras: Cameras) -> None:
    """Refuse no cameras, and panoramas of a part of the sphere: both formats know whole ones alone."""
    if len(cameras) == 0:
        raise ConfigError("there are no cameras to write", expected="one at least")
    spheres = cameras.model == CameraModel.EQUIRECTANGULAR
    size = cameras.size[spheres].double()
    whole = torch.cat((size / size.new_tensor([2 * math.pi, math.pi]), size / 2), dim=1)
    if not torch.allclose(cameras.intrinsics[spheres].double(), whole, rtol=1e-4):
        raise ConfigError(
            "a panorama shows a part of the sphere, which other programs' formats cannot say",
            found=cameras.intrinsics[spheres][0].tolist(), expected=whole[0].tolist(),
        )  # fmt: skip


def _colmap_lens(cameras: Cameras, i: int) -> tuple[str, tuple[float, ...], tuple[int, int]]:
    """COLMAP's name of camera ``i``'s lens, its parameters, and width and height.

    Raises:
        ConfigError: COLMAP has no such lens.
    """
    pinhole, extra = tuple(cameras.intrinsics[i].tolist()), tuple(cameras.distortion[i].tolist())
    size = (int(cameras.size[i, 0]), int(cameras.size[i, 1]))
    if cameras.model[i] == CameraModel.EQUIRECTANGULAR:
        return "EQUIRECTANGULAR", (float(size[0]), float(size[1])), size
    if cameras.model[i] == CameraModel.FISHEYE:
        return "OPENCV_FISHEYE", pinhole + extra[:4], size
    if not any(extra):
        return "PINHOLE", pinhole, size
    if not any(extra[4:]):
        return "OPENCV", pinhole + extra[:4], size
    if extra[5]:
        raise ConfigError(
            "COLMAP has no lens with a coefficient of the eighth power of the radius", field=f"k4 of camera {i}",
            found=extra[5], expected=0, hint="write transforms.json, or undistort the pictures first",
        )  # fmt: skip
    return "FULL_OPENCV", (*pinhole, *extra[:5], 0.0, 0.0, 0.0), size


def _reconstruction(cameras: Cameras, names: list[str], points: PointCloud | None) -> Any:
    import pycolmap  # takes a while to import

    model = pycolmap.Reconstruction()
    lenses: dict[Any, int] = {}
    for i in range(len(cameras)):
        lens = _colmap_lens(cameras, i)
        if lens not in lenses:
            lenses[lens] = len(lenses) + 1
            name, params, (width, height) = lens
            if name not in pycolmap.CameraModelId.__members__:
                raise ConfigError("this version of pycolmap does not know a camera model", found=name)
            made = pycolmap.Camera(camera_id=lenses[lens], model=name, width=width, height=height, params=params)
            model.add_camera_with_trivial_rig(made)
    poses = cameras.camera_to_world.double().numpy()
    tracks = [pycolmap.Track() for _ in range(0 if points is None else len(points))]
    for i, name in enumerate(names):
        rows, pixels = (np.zeros(0), np.zeros((0, 2))) if points is None else points_in_view(points, cameras, i)
        image = pycolmap.Image(name=name, keypoints=pixels, camera_id=lenses[_colmap_lens(cameras, i)], image_id=i + 1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(poses[i]).inverse())
        for k, row in enumerate(rows.tolist()):
            tracks[row].add_element(i + 1, k)
    if points is not None:
        for position, color, track in zip(points.positions.astype(np.float64), points.colors, tracks, strict=True):
            model.add_point3D(position, track, color)
    return model
