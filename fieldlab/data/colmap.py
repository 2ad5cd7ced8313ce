"""COLMAP reconstructions, binary and text, through pycolmap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fieldlab.data.cameras import CameraModel
from fieldlab.data.colmap_check import check_model, refuse_model
from fieldlab.data.frames import Frame, Lens, Reading, Skips, check_number, check_pose
from fieldlab.data.options import SceneOptions
from fieldlab.data.transforms import mask_beside
from fieldlab.errors import DataError

MODEL_FOLDERS = (".", "sparse/0", "sparse", "colmap/sparse/0", "reconstruction", "dense/sparse")

# COLMAP's parameters in order: focal lengths, center, then where each further one goes in our six coefficients.
_PERSPECTIVE, _FISHEYE = CameraModel.PERSPECTIVE, CameraModel.FISHEYE
_MODELS: dict[str, tuple[CameraModel, int, tuple[int, ...]]] = {
    "SIMPLE_PINHOLE": (_PERSPECTIVE, 1, ()),
    "PINHOLE": (_PERSPECTIVE, 2, ()),
    "SIMPLE_RADIAL": (_PERSPECTIVE, 1, (0,)),
    "RADIAL": (_PERSPECTIVE, 1, (0, 1)),
    "OPENCV": (_PERSPECTIVE, 2, (0, 1, 2, 3)),
    "SIMPLE_FISHEYE": (_FISHEYE, 1, ()),
    "FISHEYE": (_FISHEYE, 2, ()),
    "SIMPLE_RADIAL_FISHEYE": (_FISHEYE, 1, (0,)),
    "RADIAL_FISHEYE": (_FISHEYE, 1, (0, 1)),
    "OPENCV_FISHEYE": (_FISHEYE, 2, (0, 1, 2, 3)),
}
SUPPORTED = (*_MODELS, "EQUIRECTANGULAR")


def find_model(path: Path) -> Path | None:
    """The folder beneath ``path`` that holds cameras, images and points3D, or None."""
    for name in MODEL_FOLDERS:
        folder = path / name if name != "." else path
        if _model_suffix(folder):
            return folder
    return None


def read_colmap(path: Path, options: SceneOptions, skips: Skips) -> Reading:
    """Read a reconstruction; ``path`` is the scene, its ``sparse`` folder or the model folder itself.

    Raises:
        DataError: there is no model, it is damaged, a camera model is not supported, or the pictures are not found.
    """
    folder = find_model(path if path.is_dir() else path.parent)
    if folder is None:
        raise DataError(
            "there is no COLMAP model here",
            file=path,
            expected=f"cameras, images and points3D (.bin or .txt) in one of {', '.join(MODEL_FOLDERS)}",
        )
    suffix = _model_suffix(folder)
    check_model(folder, suffix, SUPPORTED)
    model = _reconstruction(folder, suffix)
    file = folder / f"images{suffix}"
    registered = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
    root = _image_folder(path if path.is_dir() else path.parent, folder, [image.name for image in registered], options)
    lenses: dict[int, Lens] = {}

    def make(image: Any) -> Frame:
        if image.camera_id not in lenses:
            lenses[image.camera_id] = _lens(model.cameras[image.camera_id], folder / f"cameras{suffix}")
        world_from_camera = image.cam_from_world().inverse()
        pose, _ = check_pose(world_from_camera.matrix(), file, f"image {image.image_id} ({image.name})")
        return Frame(
            name=image.name,
            image=root / image.name,
            camera_to_world=pose,
            lens=lenses[image.camera_id],
            file=file,
            field=f"image {image.image_id}",
            mask=mask_beside(root.parent, root / image.name),
        )

    reading = Reading("colmap", folder, skips.collect(registered, make))
    if len(registered) < len(model.images):
        reading.notes.append(f"{len(model.images) - len(registered)} pictures of the model have no pose")
    _add_points(reading, model)
    return reading


def _model_suffix(folder: Path) -> str:
    for suffix in (".bin", ".txt"):
        if all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
            return suffix
    return ""


def _reconstruction(folder: Path, suffix: str) -> Any:
    import pycolmap  # takes a while to import and other formats do not need it

    model = pycolmap.Reconstruction()
    try:
        (model.read_binary if suffix == ".bin" else model.read_text)(str(folder))
    except Exception as error:  # pycolmap raises RuntimeError, ValueError and others for damaged files
        raise DataError(
            "a COLMAP model cannot be read",
            file=folder,
            found=" ".join(str(error).split())[:300],
            expected="complete cameras, images and points3D files",
            hint="the files may be cut short or use a camera model that is not known; export the model again",
        ) from error
    return model


def _lens(camera: Any, file: Path) -> Lens:
    name = f"camera {camera.camera_id}"
    model_name = camera.model_name
    if model_name == "EQUIRECTANGULAR":
        return Lens(CameraModel.EQUIRECTANGULAR, size=(camera.width, camera.height))
    if model_name not in _MODELS:
        raise refuse_model(file, camera.camera_id, model_name, SUPPORTED)
    model, n_focal, slots = _MODELS[model_name]
    values = [check_number(float(value), file, name, f"a parameter of {model_name}") for value in camera.params]
    focal = (values[0], values[n_focal - 1])
    if min(focal) <= 0 or camera.width <= 0 or camera.height <= 0:
        raise DataError(
            "a camera has no size", file=file, field=name, found=f"{camera.width}x{camera.height}, f {focal}"
        )
    distortion = [0.0] * 6
    for slot, value in zip(slots, values[n_focal + 2 :], strict=True):
        distortion[slot] = value
    return Lens(
        model=model,
        focal=focal,
        center=(values[n_focal], values[n_focal + 1]),
        size=(camera.width, camera.height),
        distortion=tuple(distortion),
    )


def _image_folder(scene: Path, model: Path, names: list[str], options: SceneOptions) -> Path:
    """The folder that holds most of the named pictures."""
    if options.images is not None:
        return scene / options.images
    bases = [scene, model, *list(model.parents)[:3]]
    candidates = [base / name for base in bases for name in ("images", "input", "rgb", ".")]
    sample = names[:: max(1, len(names) // 20)]
    counts = [sum((folder / name).is_file() for name in sample) for folder in candidates]
    best = int(np.argmax(counts))
    if sample and counts[best] == 0:
        raise DataError(
            "the pictures of a COLMAP model are not found",
            file=scene,
            field=f"{names[0]} and {len(names) - 1} more",
            found="no folder with them",
            expected="a folder images beside the model",
            hint="name the folder with the option images",
        )
    return candidates[best]


def _add_points(reading: Reading, model: Any) -> None:
    points = list(model.points3D.values())
    if not points:
        return
    positions = np.array([point.xyz for point in points], dtype=np.float64).reshape(-1, 3)
    finite = np.isfinite(positions).all(axis=1)
    reading.points = positions[finite]
    reading.point_colors = np.array([point.color for point in points], dtype=np.uint8)[finite]
    reading.point_weights = np.array([point.track.length() for point in points], dtype=np.float64)[finite]
