"""Mapping: from matches to poses and points, incrementally or all at once, and the models that come out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldlab.capture.photographs import MIN_PHOTOS
from fieldlab.capture.stages import Stage

MAPPERS = ("incremental", "patient", "global")
# With more to estimate from the first two photographs mapping goes astray where the focal length that the file tells is
# wrong (2 of 66 photographs placed in place of all, where it was twice the true one), so that richer models come later.
RICHER = ("RADIAL", "OPENCV")


@dataclass(frozen=True)
class Model:
    """Photographs that were placed together.

    Args:
        folder: of the COLMAP model.
        reconstruction: what is in it.
        names: of the photographs with a pose, sorted.
    """

    folder: Path
    reconstruction: Any
    names: list[str]


def map_photographs(database: Path, photos: Path, out: Path, mapper: str, seed: int, stage: Stage) -> None:
    """Place photographs by their matches; ``out`` gets a folder for every model.

    Args:
        mapper: 'incremental' adds one photograph after another, 'patient' does so with less to begin from, 'global'
            (GLOMAP) finds all rotations, then all positions; it needs no good pair to begin with, and cannot be
            interrupted.
        seed: makes it repeatable.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    if mapper == "global":
        stage.run(lambda token: _map_globally(database, photos, out, seed), lambda: 0)
    else:
        _map_incrementally(database, photos, out, mapper == "patient", seed, stage)


def models_in(folder: Path) -> list[Model]:
    """The models of three photographs and more that mapping wrote, the one with the most first."""
    import pycolmap

    models = []
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        reconstruction = pycolmap.Reconstruction(str(path))
        names = sorted(image.name for image in reconstruction.images.values() if image.has_pose)
        if len(names) >= MIN_PHOTOS and reconstruction.num_points3D() > 0:
            models.append(Model(path, reconstruction, names))
    return sorted(models, key=lambda model: -len(model.names))


def refine(reconstruction: Any, camera_model: str, token: Any) -> None:
    """Give the cameras a richer lens model, which begins where theirs is, and adjust everything together, in place;
    ``token`` cancels it."""
    import pycolmap

    for camera in reconstruction.cameras.values():
        focal, x, y, k1 = camera.params
        camera.model = getattr(pycolmap.CameraModelId, camera_model)
        camera.params = [focal, x, y, k1, 0] if camera_model == "RADIAL" else [focal, focal, x, y, k1, 0, 0, 0]
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    pycolmap.bundle_adjustment(reconstruction, options, token)
    reconstruction.update_point_3d_errors()


def _map_incrementally(database: Path, photos: Path, out: Path, patient: bool, seed: int, stage: Stage) -> None:
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = seed
    options.min_model_size = MIN_PHOTOS
    if patient:
        options.min_num_matches = 12
        options.mapper.init_min_tri_angle = 5.0
        options.mapper.init_min_num_inliers = 50
        options.mapper.abs_pose_min_num_inliers = 15
    placed = [2]  # the first pair comes without a call

    def count() -> None:
        placed[0] += 1

    stage.run(
        lambda token: pycolmap.incremental_mapping(
            database, photos, out, options=options, next_image_callback=count, cancellation_token=token
        ),
        lambda: placed[0],
    )


def _map_globally(database: Path, photos: Path, out: Path, seed: int) -> None:
    import pycolmap

    calibrated = out.with_suffix(".db")  # view graph calibration changes focal lengths in the database
    shutil.copyfile(database, calibrated)
    pycolmap.calibrate_view_graph(calibrated)
    options = pycolmap.GlobalPipelineOptions()
    options.random_seed = seed
    options.min_model_size = MIN_PHOTOS
    pycolmap.global_mapping(calibrated, photos, out, options=options)
    calibrated.unlink()
