"""Structure from motion on photographs of a textured corner whose true poses are known."""

from __future__ import annotations

import json

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from fieldlab.capture import attempts as attempts_module
from fieldlab.capture import capture, features, matching
from fieldlab.capture.capture import WORK_FOLDER, run_capture
from fieldlab.capture.mapping import Model
from fieldlab.capture.stages import Stages
from fieldlab.errors import ConfigError, DataError
from fieldlab.sources.load import load_scene
from tests.capture.corner import (
    FOCAL,
    HEIGHT,
    WIDTH,
    pictures,
    poses_around,
    poses_on_the_spot,
    textures,
    write_pictures,
)
from tests.data.data_builders import write_image

pycolmap = pytest.importorskip("pycolmap")


@pytest.fixture(scope="module")
def captured(tmp_path_factory, corner):
    folder = tmp_path_factory.mktemp("capture")
    write_pictures(folder / "photos", corner)
    calls = []
    with pytest.MonkeyPatch.context() as patch:  # several batches, as large captures have
        patch.setattr(features, "FEATURE_BATCH", 3)
        patch.setattr(matching, "MATCH_BATCH", 8)
        patch.setattr(matching, "COSTLY", 0)
        report = run_capture(
            folder / "photos",
            folder / "scene",
            max_features=1500,
            progress=lambda stage, done, total: calls.append((stage, done, total)),
        )
    return folder, report, calls


def model_of(scene):
    return pycolmap.Reconstruction(str(scene / "sparse/0"))


def poses_of(scene):
    """float64 [N,3,4] in order of name."""
    images = sorted(model_of(scene).images.values(), key=lambda image: image.name)
    return np.stack([image.cam_from_world().inverse().matrix() for image in images])


def aligned(found, truth):
    """Errors of camera centers after the best similarity, and its rotation from ``found`` to ``truth``."""
    a, b = found[:, :, 3] - found[:, :, 3].mean(0), truth[:, :, 3] - truth[:, :, 3].mean(0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1, 1, np.linalg.det(u @ vt)])
    rotation = u @ np.diag(signs) @ vt
    scale = (singular * signs).sum() / (a**2).sum()
    return np.linalg.norm(scale * a @ rotation.T - b, axis=1) / np.linalg.norm(b, axis=1).max(), rotation


@pytest.mark.slow
def test_poses_are_right(captured):
    """Camera centers agree with the truth after the best similarity, which structure from motion cannot know."""
    folder, report, _ = captured
    assert report.registered == report.total == 7
    assert report.missing == report.notes == []
    assert report.points > 100
    assert 0 < report.error < 1.5
    scene = load_scene(folder / "scene")
    assert scene.format == "colmap"
    assert scene.points.shape[0] == report.points
    errors, _ = aligned(poses_of(folder / "scene"), poses_around(7))
    assert errors.max() < 0.03


@pytest.mark.slow
def test_the_scene_stands_upright(captured):
    folder, _, _ = captured
    poses = poses_of(folder / "scene")
    _, rotation = aligned(poses, poses_around(7))
    assert rotation[:, 2] @ [0, 0, 1] > np.cos(np.radians(5))
    assert np.median(np.linalg.norm(poses[:, :, 3], axis=1)) == pytest.approx(2.5, rel=1e-3)


@pytest.mark.slow
def test_progress_is_told_stage_by_stage(captured):
    _, _, calls = captured
    stages = list(dict.fromkeys(stage for stage, _, _ in calls))
    assert stages[0] == "photographs"
    assert [stage for stage in stages if stage in ("features", "matching", "mapping", "undistortion")] == [
        "features", "matching", "mapping", "undistortion",
    ]  # fmt: skip
    for stage in stages:
        mine = [(done, total) for name, done, total in calls if name == stage]
        assert mine[0][0] == 0
        assert mine[-1][0] == mine[-1][1]
        assert all(0 <= done <= total for done, total in mine)


@pytest.mark.slow
def test_nothing_is_left_behind_or_overwritten(captured):
    folder, _, _ = captured
    assert {path.name for path in (folder / "scene").iterdir()} == {"images", "sparse"}
    assert len(model_of(folder / "scene").cameras) == 1
    with pytest.raises(DataError, match="holds a scene already"):
        run_capture(folder / "photos", folder / "scene")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["features", "matching", "mapping", "undistortion"])
def test_interrupted_capture_goes_on(stage, captured, tmp_path):
    """Ctrl-C in any stage keeps what was done before it. Pictures that need no undistortion are copies, not links."""
    folder, _, _ = captured
    order = ["features", "matching", "mapping", "undistortion"]
    settings = {"max_features": 600, "camera_model": "SIMPLE_PINHOLE"}

    def stop(name, done, total):
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_capture(folder / "photos", tmp_path / "scene", progress=stop, **settings)
    assert not (tmp_path / "scene/sparse").exists()
    kept = json.loads((tmp_path / f"scene/{WORK_FOLDER}/state.json").read_text())["done"]
    assert [name for name in order if any(key.startswith(name) for key in kept)] == order[: order.index(stage)]
    calls = []
    report = run_capture(folder / "photos", tmp_path / "scene", progress=lambda *call: calls.append(call), **settings)
    assert report.registered == 7
    assert not any(path.is_symlink() for path in (tmp_path / "scene/images").iterdir())
    for name in order[: order.index(stage)]:
        assert [call[1] for call in calls if call[0] == name][1:] == [7 if name != "matching" else 21]


@pytest.mark.slow
def test_photographs_of_all_kinds_together(corner, tmp_path):
    """HEIC, AVIF, WebP, a blank in a name, turned by EXIF, upside down, and of two cameras."""
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    shown = [Image.fromarray(picture) for picture in corner]
    photos = tmp_path / "photos"
    photos.mkdir()
    other, turned = Image.Exif(), Image.Exif()
    other[0x010F], other[0x0110] = "Maker", "Other"
    turned[0x0112] = 6  # shown after a quarter turn clockwise
    shown[0].save(photos / "0 a.jpg", quality=95)
    shown[1].transpose(Image.Transpose.ROTATE_90).save(photos / "1.jpg", quality=95, exif=turned)
    shown[2].transpose(Image.Transpose.ROTATE_180).save(photos / "2.jpg", quality=95)
    shown[3].save(photos / "3.HEIC", quality=95)
    shown[4].save(photos / "4.avif", quality=95)
    shown[5].save(photos / "5.webp", quality=95, exif=other)
    shown[6].save(photos / "6.jpg", quality=95, exif=other)
    (photos / "7.jpg").write_bytes(b"no picture")
    report = run_capture(photos, tmp_path / "scene", max_features=1500)
    assert report.registered == report.total == 7
    names = sorted(image.name for image in model_of(tmp_path / "scene").images.values())
    assert names == ["0_a.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg"]
    assert len(model_of(tmp_path / "scene").cameras) == 2
    with Image.open(tmp_path / "scene/images/1.jpg") as image:
        assert image.width > image.height
    notes = " ".join(report.notes)
    assert "7.jpg is left out" in notes
    assert "2 cameras" in notes
    assert "Maker, Other" in notes
    _, rotation = aligned(poses_of(tmp_path / "scene"), poses_around(7))
    assert rotation[:, 2] @ [0, 0, 1] > np.cos(np.radians(5))


@pytest.mark.slow
def test_a_video(tmp_path, capfd):
    video = tmp_path / "walk.mp4"
    with_blur = [picture for picture in pictures(poses_around(7), textures()) for _ in range(3)]
    for i in range(0, len(with_blur), 3):  # of three frames one is sharp
        for k in (0, 2):
            with_blur[i + k] = np.asarray(Image.fromarray(with_blur[i + k]).resize((40, 30)).resize((WIDTH, HEIGHT)))
    writer = imageio_ffmpeg.write_frames(str(video), (WIDTH, HEIGHT), fps=10, quality=None, output_params=["-crf", "8"])
    writer.send(None)
    for frame in with_blur:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    report = run_capture(video, tmp_path / "scene", frames=7, max_features=1500)
    assert report.registered == report.total == 7
    names = sorted(path.name for path in (tmp_path / "scene/images").iterdir())
    assert names == [f"frame_{3 * i + 1:06d}.jpg" for i in range(7)]
    errors, _ = aligned(poses_of(tmp_path / "scene"), poses_around(7))
    assert errors.max() < 0.05


@pytest.mark.slow
def test_a_richer_lens_is_fitted_last(corner, tmp_path):
    """Files tell five times the true focal length, with which OPENCV from the beginning places two of seven."""
    exif = Image.Exif()
    in_35mm = 0xA405
    exif.get_ifd(0x8769)[in_35mm] = round(5 * FOCAL * 36 / WIDTH)
    (tmp_path / "photos").mkdir()
    for i, picture in enumerate(corner):
        Image.fromarray(picture).save(tmp_path / f"photos/{i}.jpg", quality=98, exif=exif)
    told = []
    with pytest.MonkeyPatch.context() as patch:
        real = capture.refine
        patch.setattr(capture, "refine", lambda model, *more: (real(model, *more), told.append(model)))
        report = run_capture(tmp_path / "photos", tmp_path / "scene", camera_model="OPENCV", max_features=700)
    assert report.registered == 7
    [camera] = model_of(tmp_path / "scene").cameras.values()
    assert camera.focal_length_x == pytest.approx(FOCAL, rel=0.05)
    [before] = told[0].cameras.values()
    assert before.model_name == "OPENCV"
    assert np.abs(before.params[4:]).max() < 0.1


@pytest.mark.slow
def test_two_halves(corner, tmp_path):
    """The larger part is taken, the other named; all attempts are made, since too few are placed."""
    write_pictures(tmp_path / "photos", corner[:5], "one")
    write_pictures(tmp_path / "photos", pictures(poses_around(4), textures(seed=7)), "two")
    report = run_capture(tmp_path / "photos", tmp_path / "scene", max_features=700)
    assert report.registered == 5
    assert report.total == 9
    assert report.missing == [f"two_{i:02d}.png" for i in range(4)]
    assert [said.partition(":")[0] for said in report.tried] == [
        "the usual settings", "the global mapper", "more features",
    ]  # fmt: skip
    assert any("4 photographs (two_00.png" in note and "fit together" in note for note in report.notes)
    assert any("only 5 of 9" in note and "overlap" in note for note in report.notes)


@pytest.mark.slow
def test_a_camera_that_turned_on_the_spot(tmp_path):
    write_pictures(tmp_path / "photos", pictures(poses_on_the_spot(5), textures()))
    report = run_capture(tmp_path / "photos", tmp_path / "scene", max_features=600)
    assert any("turned without moving" in note and "walk sideways" in note for note in report.notes)


@pytest.mark.slow
def test_photographs_without_overlap(tmp_path):
    for i in range(4):
        write_image(tmp_path / f"photos/{i}.png", 160, 120, seed=i)
    for _ in range(2):  # the same again, from what was kept
        with pytest.raises(DataError, match="no photographs could be placed") as caught:
            run_capture(tmp_path / "photos", tmp_path / "scene", max_features=300)
        assert "0 of 4" in str(caught.value)
        assert "overlap" in str(caught.value)
        assert not (tmp_path / "scene/sparse").exists()


@pytest.mark.parametrize(
    ("placed", "expected", "tries"),
    [([9, 10, 10], 9, 1), ([4, 7, 5], 7, 3), ([4, 0, 4], 4, 3), ([0, 8, 10], 8, 2), ([1, 2, 3, 4], 4, 4)],
)
def test_the_best_attempt_counts(placed, expected, tries, monkeypatch, tmp_path):
    """One that places enough is the last one. Comparing what was left out is an attempt only where something was."""
    left = iter(placed)

    def models(*_):
        count = next(left)
        return [Model(tmp_path, None, [str(i) for i in range(count)])] if count else []

    monkeypatch.setattr(capture, "attempt_placing", models)
    plan = attempts_module.attempts(features.FeatureSettings(100, False, "SIMPLE_RADIAL", True), "auto")
    stages = Stages(tmp_path / "work", {}, lambda *_: None)
    stages.keep("left out", len(placed) - 3)
    best, tried, _ = capture._place(tmp_path, [None] * 10, tmp_path, plan, 0, stages)
    assert len(best[0].names) == expected
    assert len(tried) == tries
    assert tried[0] == f"the usual settings: {placed[0]} of 10"


def test_bad_calls(tmp_path):
    with pytest.raises(DataError, match="missing"):
        run_capture(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="missing"):
        run_capture(tmp_path / "none.mp4", tmp_path / "out")
    write_image(tmp_path / "photos/a.png")
    write_image(tmp_path / "photos/b.png")
    (tmp_path / "photos/c.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match="too few") as caught:
        run_capture(tmp_path / "photos", tmp_path / "out")
    assert "c.HEIC" in str(caught.value)
    (tmp_path / "clip.mp4").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="video cannot be read") as caught:
        run_capture(tmp_path / "clip.mp4", tmp_path / "out")
    assert "clip.mp4" in str(caught.value)
    for wrong in ({"camera_model": "FOV"}, {"matcher": "magic"}, {"frames": 2}, {"max_features": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            run_capture(tmp_path / "photos", tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
