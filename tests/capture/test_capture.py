"""Structure from motion on photographs of a textured corner whose true poses are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from fieldlab.capture import features, matching
from fieldlab.data.cameras import Cameras
from fieldlab.capture.capture import WORK_FOLDER, run_capture
from fieldlab.errors import ConfigError, DataError
from fieldlab.sources.load import load_scene
from tests.data.data_builders import look_at, write_image

pytestmark = pytest.mark.slow

pycolmap = pytest.importorskip("pycolmap")

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0


def corner_photographs(folder: Path, count: int = 7) -> np.ndarray:
    """Photographs of three textured walls that meet at the origin; their poses [N,3,4]."""
    generator = np.random.default_rng(0)
    textures = []
    for _ in range(3):
        layers = [ndimage.zoom(generator.random((2**k, 2**k, 3)), (512 / 2**k,) * 2 + (1,), order=1) for k in (4, 6, 8)]
        textures.append(np.clip(sum(layers) / 3 * 1.6 - 0.3, 0, 1))
    poses = []
    for i in range(count):
        a = 0.35 + 0.13 * i
        origin = 3.2 * np.array([np.cos(a), np.sin(a), 0.55 + 0.08 * (i % 3)])
        poses.append(look_at(origin, np.array([0.5, 0.5, 0.5])))
    cameras = Cameras.pinhole(torch.from_numpy(np.stack(poses)).float(), FOCAL, WIDTH, HEIGHT)
    folder.mkdir(parents=True)
    for i in range(count):
        rays = cameras.image_rays(i)
        origins, directions = rays.origins.double().numpy(), rays.directions.double().numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(directions < 0, -origins / directions, np.inf)
        wall = distance.argmin(axis=1)
        points = origins + distance.min(axis=1)[:, None] * directions
        color = np.zeros((len(points), 3))
        for k in range(3):
            across = np.delete(points, k, axis=1)[wall == k]
            at = np.clip(across / 4 * 511, 0, 511).T
            channels = [ndimage.map_coordinates(textures[k][..., c], at, order=1) for c in range(3)]
            color[wall == k] = np.stack(channels, axis=1)
        picture = (255 * color).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)
        Image.fromarray(picture).save(folder / f"photo_{i:02d}.png")
    return np.stack(poses)


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capture")
    poses = corner_photographs(folder / "photos")
    calls = []
    with pytest.MonkeyPatch.context() as patch:  # several batches, as large captures have
        patch.setattr(features, "FEATURE_BATCH", 3)
        patch.setattr(matching, "MATCH_BATCH", 8)
        report = run_capture(
            folder / "photos",
            folder / "scene",
            camera_model="SIMPLE_RADIAL",
            max_features=1500,
            progress=lambda step, done, total: calls.append((step, done, total)),
        )
    return folder, poses, report, calls


def test_poses_are_right(captured):
    """Camera centers agree with the truth after the best similarity, which structure from motion cannot know."""
    folder, poses, report, _ = captured
    assert report.registered == report.total == 7
    assert report.missing == []
    assert report.points > 100
    assert 0 < report.error < 1.5
    scene = load_scene(folder / "scene")
    found = {}
    for views in scene.splits.values():
        for i, name in enumerate(views.names):
            found[name] = views.cameras.camera_to_world[i].double().numpy()
    centers = np.stack([found[name] for name in sorted(found)])[:, :, 3]
    truth = poses[:, :, 3]
    a, b = centers - centers.mean(0), truth - truth.mean(0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scale = (singular * [1, 1, np.linalg.det(u @ vt)]).sum() / (a**2).sum()
    assert np.linalg.norm(scale * a @ rotation.T - b, axis=1).max() < 0.03 * np.linalg.norm(b, axis=1).max()
    assert scene.format == "colmap"
    assert scene.points.shape[0] == report.points


def test_progress_is_told_step_by_step(captured):
    _, _, _, calls = captured
    steps = list(dict.fromkeys(step for step, _, _ in calls))
    assert steps == ["features", "matching", "mapping", "undistortion"]
    for step in steps:
        mine = [(done, total) for name, done, total in calls if name == step]
        assert mine[0][0] == 0
        assert mine[-1][0] == mine[-1][1]
        assert all(0 <= done <= total for done, total in mine)


def test_nothing_is_left_behind_or_overwritten(captured):
    folder, _, _, _ = captured
    assert {path.name for path in (folder / "scene").iterdir()} == {"images", "sparse"}
    with pytest.raises(DataError, match="holds a scene already"):
        run_capture(folder / "photos", folder / "scene")


def test_one_camera_for_all_batches(captured):
    folder, _, _, _ = captured
    assert len(pycolmap.Reconstruction(str(folder / "scene/sparse/0")).cameras) == 1


def test_interrupted_capture_goes_on(captured, tmp_path):
    """Ctrl-C in the middle of mapping keeps features and matches. Names with spaces are nothing special."""
    folder, _, _, _ = captured
    (tmp_path / "photos").mkdir()
    for path in (folder / "photos").iterdir():
        shutil.copy(path, tmp_path / "photos" / path.name.replace("_", " "))

    def stop(step, done, total):
        if step == "mapping" and done > 0:
            raise KeyboardInterrupt

    settings = {"camera_model": "SIMPLE_RADIAL", "max_features": 1500}
    with pytest.raises(KeyboardInterrupt):
        run_capture(tmp_path / "photos", tmp_path / "scene", progress=stop, **settings)
    assert not (tmp_path / "scene/sparse").exists()
    database = tmp_path / f"scene/{WORK_FOLDER}/database.db"
    before = database.stat().st_ino
    calls = []

    def note(step, done, total):
        calls.append((step, done, total))
        if step == "undistortion":
            assert database.stat().st_ino == before

    report = run_capture(tmp_path / "photos", tmp_path / "scene", progress=note, **settings)
    assert report.registered == 7
    assert [call for call in calls if call[0] in ("features", "matching")] == [("features", 7, 7), ("matching", 7, 7)]


def test_a_wrong_focal_length_in_the_files_does_no_harm(captured, tmp_path):
    """Five times the true one; with more than one value of distortion two of the seven are placed."""
    folder, _, _, _ = captured
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    in_35mm = 0xA405
    exif.get_ifd(0x8769)[in_35mm] = round(5 * FOCAL * 36 / WIDTH)
    for path in (folder / "photos").iterdir():
        Image.open(path).save(tmp_path / "photos" / f"{path.stem}.jpg", quality=98, exif=exif)
    report = run_capture(tmp_path / "photos", tmp_path / "scene", max_features=1500)
    assert report.registered == 7
    [camera] = pycolmap.Reconstruction(str(tmp_path / "scene/sparse/0")).cameras.values()
    assert camera.focal_length_x == pytest.approx(FOCAL, rel=0.05)


@pytest.mark.parametrize("matcher", ["exhaustive", "sequential"])
def test_image_pairs(matcher):
    names = [str(i) for i in range(50)]
    pairs = image_pairs(names, matcher)
    assert len(set(pairs)) == len(pairs)
    distances = {int(second) - int(first) for first, second in pairs}
    assert distances == set(range(1, 50)) if matcher == "exhaustive" else distances == {*range(1, 11), 16, 32}
    assert ("0", "1") in pairs
    assert ("48", "49") in pairs


def test_photographs_without_overlap(tmp_path):
    for i in range(4):
        write_image(tmp_path / f"photos/{i}.png", 160, 120, seed=i)
    with pytest.raises(DataError, match="no photographs could be placed") as caught:
        run_capture(tmp_path / "photos", tmp_path / "scene", max_features=300)
    assert "0 of 4" in str(caught.value)
    assert "overlap" in str(caught.value)
    assert not (tmp_path / "scene/sparse").exists()


def test_bad_calls(tmp_path):
    with pytest.raises(DataError, match="missing"):
        run_capture(tmp_path / "none", tmp_path / "out")
    write_image(tmp_path / "photos/a.png")
    (tmp_path / "photos/b.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match="too few") as caught:
        run_capture(tmp_path / "photos", tmp_path / "out")
    assert ".heic" in str(caught.value)
    for wrong in ({"camera_model": "FOV"}, {"matcher": "magic"}):
        with pytest.raises(ConfigError, match="not known"):
            run_capture(tmp_path / "photos", tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_finding_photographs(tmp_path):
    for name in ("b/2.png", "a.JPG", "b/1.png", ".hidden/3.png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    names, sizes = find_photos(tmp_path)
    assert names == ["a.JPG", "b/1.png", "b/2.png"]
    assert sizes == [(12, 8)] * 3
