"""From photographs or a video to a scene with camera poses.

The stages are frames or photographs, features, matching, mapping and undistortion. Each is remembered in the output
folder, so that a run that was interrupted goes on where it stopped; the finished scene (``images`` and ``sparse/0``)
appears only at the end, whole.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fieldlab.capture.attempts import ENOUGH, Attempt, attempt_placing, attempts, database_of, repeats_the_usual
from fieldlab.capture.diagnosis import listed, notes_on, why_nothing_fits
from fieldlab.capture.features import FeatureSettings
from fieldlab.capture.mapping import RICHER, Model, refine
from fieldlab.capture.matching import MATCHERS
from fieldlab.capture.photographs import (
    MIN_PHOTOS,
    Photograph,
    cameras_of,
    find_photographs,
    prepare_photographs,
)
from fieldlab.capture.stages import Progress, Stages, quiet_pycolmap
from fieldlab.capture.upright import upright
from fieldlab.capture.video import (
    VIDEO_SUFFIXES,
    default_frames,
    duration,
    frame_name,
    sharpest,
    sharpness,
    write_frames,
)
from fieldlab.data.images import image_size
from fieldlab.errors import ConfigError, DataError

WORK_FOLDER = "capture"
CAMERA_MODELS = ("SIMPLE_RADIAL", "SIMPLE_PINHOLE", "PINHOLE", "RADIAL", "OPENCV", "OPENCV_FISHEYE")
MAX_FEATURES = 4096
JPEG_QUALITY = 97


@dataclass
class CaptureReport:
    """What came out of a capture.

    Args:
        scene: the folder to load as a scene.
        registered, total: photographs with a pose, and all.
        points: sparse points.
        error: mean reprojection error in pixels.
        missing: names of photographs without a pose.
        tried: what was tried, with how many photographs each attempt placed.
        notes: what a person should know, with advice when few photographs registered.
    """

    scene: Path
    registered: int
    total: int
    points: int
    error: float
    missing: list[str]
    tried: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_capture(
    photos: str | Path,
    out: str | Path,
    *,
    camera_model: str = CAMERA_MODELS[0],
    matcher: str = "auto",
    single_camera: bool = True,
    max_features: int = MAX_FEATURES,
    frames: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> CaptureReport:
    """Estimate the poses of photographs and write a COLMAP scene of undistorted pictures.

    The scene stands upright (+z), what the cameras look at is near its origin, and the middle camera 2.5 units from it.

    Args:
        photos: a folder of photographs, also in folders beneath it, or a video.
        out: the folder of the new scene; when it holds an unfinished capture of the same photographs with the same
            settings, that is finished.
        camera_model: the lens model to estimate, one of :data:`CAMERA_MODELS`. RADIAL and OPENCV are estimated once
            poses are known by a simpler one.
        matcher: 'exhaustive' compares every pair, 'sequential' neighbors in order of name, 'retrieval' neighbors and
            those that look alike, 'auto' chooses by the number of photographs.
        single_camera: photographs of the same maker, model, focal length and size, as far as files tell, share one
            lens; otherwise each has its own.
        max_features: features per photograph.
        frames: how many frames to take of a video; None: 2.5 for each second, from 40 to 150.
        seed: makes mapping repeatable.
        progress: called from time to time.

    Raises:
        DataError: too few photographs, no video that can be read, or no three of the photographs could be placed.
        ConfigError: an option is not known or out of range.
        RunFolderError: ``out`` cannot be written.
    """
    photos, out = Path(photos), Path(out)
    _check_options(camera_model, matcher, max_features, frames)
    _check_new(out)
    is_video = photos.suffix.lower() in VIDEO_SUFFIXES and not photos.is_dir()
    found, notes = ([], []) if is_video else find_photographs(photos, without=out)
    settings: dict[str, Any] = {
        "photos": str(photos.resolve()),
        "found": [[str(photograph.file), photograph.name, photograph.camera] for photograph in found],
        "bytes": photos.stat().st_size if photos.is_file() else 0,
        "frames": frames,
        "camera_model": camera_model,
        "single_camera": single_camera,
        "matcher": matcher,
        "max_features": max_features,
        "seed": seed,
    }
    stages = Stages(out / WORK_FOLDER, settings, progress or (lambda stage, done, total: None))
    # Before anything is written, so that a file that is no video leaves nothing behind.
    wanted = (frames or default_frames(duration(photos))) if is_video else 0
    stages.resume()
    folder = stages.folder / "photos"
    if is_video:
        found = _take_frames(photos, wanted, folder, stages)
    else:
        with stages.stage("photographs", len(found)) as stage:
            prepare_photographs(found, folder, stage.tick)
    if single_camera and len(cameras := cameras_of(found)) > 1:
        told = [f"{camera} ({count})" for camera, count in cameras.items()]
        notes.append(f"{len(told)} cameras or focal lengths, each with a lens of its own: {listed(told)}")
    begin_with = CAMERA_MODELS[0] if camera_model in RICHER else camera_model
    features = FeatureSettings(max_features, False, begin_with, single_camera)
    with quiet_pycolmap():
        models, tried, last = _place(photos, found, folder, attempts(features, matcher), seed, stages)
        if camera_model in RICHER:
            with stages.stage("lens", 1) as stage:  # not written, so that it is done again by whoever goes on
                stage.run(lambda token: refine(models[0].reconstruction, camera_model, token), lambda: 0)
        _undistort(models[0], folder, stages)
        names = [photograph.name for photograph in found]
        notes += notes_on(models, names, ENOUGH, database_of(last, stages))
    report = _report(out, found, models[0], tried, notes)
    _publish(stages.folder / "undistorted", out)
    shutil.rmtree(stages.folder, ignore_errors=True)
    return report


def _take_frames(video: Path, count: int, folder: Path, stages: Stages) -> list[Photograph]:
    """The sharpest frames of a video, written to ``folder``."""
    chosen = stages.kept("chosen")
    if chosen is None:
        with stages.stage("sharpness", 0) as stage:
            values = sharpness(video, stage.tick)
        chosen = sharpest(values, count)
        stages.keep("chosen", chosen)
    if len(chosen) < MIN_PHOTOS:
        raise DataError(
            "the video is too short", file=video, found=f"{len(chosen)} frames", expected=f"at least {MIN_PHOTOS}"
        )
    with stages.stage("frames", len(chosen)) as stage:
        write_frames(video, chosen, folder, stage.tick)
    size = image_size(folder / frame_name(chosen[0]))[:2]
    return [Photograph(folder / frame_name(i), frame_name(i), size, "video", True) for i in chosen]


def _place(
    photos: Path, found: list[Photograph], folder: Path, plan: list[Attempt], seed: int, stages: Stages
) -> tuple[list[Model], list[str], Attempt]:
    """The models of the best attempt, what each attempt placed, and the best one.

    Raises:
        DataError: no attempt placed any.
    """
    best: tuple[list[Model], Attempt] | None = None
    tried = []
    for attempt in plan:
        if repeats_the_usual(attempt, stages):
            continue
        models = attempt_placing(attempt, found, folder, seed, stages)
        placed = len(models[0].names) if models else 0
        tried.append(f"{attempt.says}: {placed} of {len(found)}")
        if models and (best is None or placed > len(best[0][0].names)):
            best = models, attempt
        if placed >= ENOUGH * len(found):
            break
    if best is None:
        raise why_nothing_fits(photos, database_of(plan[-1], stages), len(found), tried)
    return best[0], tried, best[1]


def _undistort(model: Model, photos: Path, stages: Stages) -> None:
    """Set a model upright and write its pictures without distortion."""
    import pycolmap

    target, turned = stages.folder / "undistorted", stages.folder / "upright"
    poses = [
        image.cam_from_world().inverse().matrix() for image in model.reconstruction.images.values() if image.has_pose
    ]
    points = np.array([point.xyz for point in model.reconstruction.points3D.values()]).reshape(-1, 3)
    model.reconstruction.transform(pycolmap.Sim3d(upright(np.stack(poses), points)))
    with stages.stage("undistortion", len(model.names)) as stage:
        if stage.done:
            return
        for folder in (target, turned):
            shutil.rmtree(folder, ignore_errors=True)
        turned.mkdir()
        model.reconstruction.write(turned)
        stage.run(
            lambda token: pycolmap.undistort_images(
                target, turned, photos, jpeg_quality=JPEG_QUALITY, cancellation_token=token
            ),
            lambda: sum(path.is_file() for path in (target / "images").rglob("*")),
        )


def _report(out: Path, found: list[Photograph], model: Model, tried: list[str], notes: list[str]) -> CaptureReport:
    placed = set(model.names)
    error = float(model.reconstruction.compute_mean_reprojection_error())
    return CaptureReport(
        scene=out,
        registered=len(placed),
        total=len(found),
        points=int(model.reconstruction.num_points3D()),
        error=error if math.isfinite(error) else 0.0,
        missing=[photograph.name for photograph in found if photograph.name not in placed],
        tried=tried,
        notes=notes,
    )


def _publish(undistorted: Path, out: Path) -> None:
    """Move the finished scene to its place: pictures first, the model that makes it a scene last."""
    ready = out / WORK_FOLDER / "ready"
    ready.mkdir(exist_ok=True)
    # Each may have been moved before an interruption.
    for source, target in ((undistorted / "images", out / "images"), (undistorted / "sparse", ready / "0")):
        if source.exists():
            source.rename(target)
    ready.rename(out / "sparse")


def _check_new(out: Path) -> None:
    unfinished = (out / WORK_FOLDER / "state.json").is_file()
    if (out / "sparse").exists() or ((out / "images").exists() and not unfinished):
        raise DataError(
            "the output folder holds a scene already", file=out, expected="a new folder", hint="choose another folder"
        )


def _check_options(camera_model: str, matcher: str, max_features: int, frames: int | None) -> None:
    for name, value, allowed in (("camera_model", camera_model, CAMERA_MODELS), ("matcher", matcher, MATCHERS)):
        if value not in allowed:
            raise ConfigError("an option is not known", field=name, found=value, expected=", ".join(allowed))
    for name, number, least in (("max_features", max_features, 1), ("frames", frames, MIN_PHOTOS)):
        if number is not None and number < least:
            raise ConfigError("an option is out of range", field=name, found=number, expected=f"at least {least}")
