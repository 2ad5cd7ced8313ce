"""Captures of telephones as their programs export them: Record3D and Polycam, written here from an exact scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from fieldlab.data.depth_maps import MAX_POINTS
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import detect_format
from fieldlab.errors import DataError
from fieldlab.sources.load import load_scene
from tests.data.data_builders import opengl, ring, write_image

WIDTH, HEIGHT, FOCAL, CENTER = 24, 32, 30.0, (11.5, 16.25)
FLOOR = -0.5  # the only thing the sensor sees: the plane z = FLOOR
POSES = ring(10, 1.5, 1.0)


def floor_depth(pose: np.ndarray, width: int = 48, height: int = 64) -> np.ndarray:
    """z-depth [height,width] of the floor, by the formula; infinite above the horizon."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    scale = WIDTH / width
    local = np.stack(((columns * scale - CENTER[0]) / FOCAL, (rows * scale - CENTER[1]) / FOCAL), axis=-1)
    down = np.concatenate((local, np.ones((height, width, 1))), axis=-1) @ pose[2, :3]
    return np.where(down < 0, (FLOOR - pose[2, 3]) / np.minimum(down, -1e-9), np.inf)


def on_floor(scene) -> None:
    """Points are where the sensor saw them, from views to be learnt from."""
    assert 500 < len(scene.points) <= MAX_POINTS
    assert (scene.points[:, 2] - FLOOR).abs().max() < 5e-3  # depth maps hold 16-bit numbers or millimeters
    assert scene.near == pytest.approx(0.85 * scene.content)
    distance = (scene.points[:, None] - scene.splits["train"].cameras.origins).norm(dim=-1).amin(1)
    assert scene.content > distance.min()


class Record3D:
    """A capture under construction: change ``data`` and call ``save``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = [write_image(folder / f"rgb/{i}.jpg", WIDTH, HEIGHT, seed=i) for i in range(len(POSES))]
        poses = [np.array(opengl(pose)) for pose in POSES]
        self.data: dict = {
            "w": WIDTH, "h": HEIGHT, "fps": 60, "K": [FOCAL, 0, 0, 0, FOCAL, 0, *CENTER, 1],
            "poses": [[*Rotation.from_matrix(pose[:3, :3]).as_quat(), *pose[:3, 3]] for pose in poses],
        }  # fmt: skip

    def save(self) -> Path:
        (self.folder / "metadata.json").write_text(json.dumps(self.data))
        return self.folder


def write_exr(file: Path, values: np.ndarray) -> None:
    import OpenEXR

    file.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"R": values.astype(np.float16)}).write(str(file))


@pytest.fixture
def record3d(tmp_path: Path) -> Record3D:
    return Record3D(tmp_path / "capture/EXR_RGBD")


def everything(folder: Path):
    return load_scene(folder, SceneOptions(test_every=0)).splits["train"]


def assert_same_poses(cameras, poses, tolerance: float = 1e-6) -> None:
    assert np.abs(cameras.camera_to_world.numpy() - np.stack(poses)).max() < tolerance


@pytest.mark.slow
def test_record3d(record3d):
    folder = record3d.save()
    for source in (folder, folder.parent, folder / "metadata.json"):
        assert detect_format(source) == "record3d"
        views = everything(source)
        assert views.names == [f"rgb/{i}.jpg" for i in range(10)]
        assert_same_poses(views.cameras, POSES)
        assert views.cameras.intrinsics[0].tolist() == [FOCAL, FOCAL, *CENTER]


def test_record3d_pictures_of_another_size(record3d):
    for i in range(len(POSES)):
        write_image(record3d.folder / f"rgb/{i}.jpg", WIDTH // 2, HEIGHT // 2)
    assert everything(record3d.save()).cameras.intrinsics[3].tolist() == [15, 15, CENTER[0] / 2, CENTER[1] / 2]


def test_record3d_intrinsics_of_single_frames(record3d):
    record3d.data["perFrameIntrinsicCoeffs"] = [[20.0 + i, 21.0 + i, 12.0, 16.0 - i] for i in range(10)]
    found = everything(record3d.save()).cameras.intrinsics
    assert found[9].tolist() == [29, 30, 12, 7]
    record3d.data["perFrameIntrinsicCoeffs"].pop()
    with pytest.raises(DataError, match=r"perFrameIntrinsicCoeffs\[9\]"):
        load_scene(record3d.save())


def test_record3d_pictures_keep_their_pose_when_others_are_deleted(record3d):
    for i in (0, 1, 3, 4, 6):
        (record3d.folder / f"rgb/{i}.jpg").unlink()
    scene = load_scene(record3d.save(), SceneOptions(test_every=0))
    assert_same_poses(scene.splits["train"].cameras, [POSES[i] for i in (2, 5, 7, 8, 9)])
    assert any("10 poses and 5 pictures" in note for note in scene.notes)


def test_transforms_go_before_record3d(record3d):
    folder = record3d.save()
    frames = [{"file_path": "rgb/0.jpg", "transform_matrix": opengl(POSES[0])}]
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 9.0, "frames": frames}))
    assert detect_format(folder) == "transforms"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"poses": None}, "poses"),
        ({"poses": [[0, 0, 0, 1, 0, 0]] * 10}, r"poses\[0\]"),
        ({"poses": [[0, 0, 0, 1, 0, float("nan"), 0]] * 10}, r"poses\[0\]\[5\]"),
        ({"poses": [[0, 0, 0, 2, 0, 0, 0]] * 10}, "unit length"),
        ({"K": [1, 2, 3]}, "K"),
        ({"K": [0.0, 0, 0, 0, 10, 0, 6, 4, 1]}, "focal length"),
        ({"K": [10, 0, 0, 0, 10, 0, float("inf"), 4, 1]}, r"K\[6\]"),
        ({"w": "wide"}, "size"),
        ({"h": -3}, "positive"),
    ],
)
def test_bad_record3d_metadata(record3d, change, words):
    record3d.data |= change
    with pytest.raises(DataError, match=words) as error:
        load_scene(record3d.save())
    assert error.value.file.name == "metadata.json"


def test_record3d_without_pictures(record3d):
    for picture in (record3d.folder / "rgb").iterdir():
        picture.unlink()
    with pytest.raises(DataError, match="no pictures"):
        load_scene(record3d.save())


@pytest.mark.slow
def test_record3d_depth_becomes_points(record3d):
    for i, pose in enumerate(POSES):
        depth = floor_depth(pose)
        depth[:, :3] = np.nan
        write_exr(record3d.folder / f"depth/{i}.exr", depth)
    scene = load_scene(record3d.save())
    on_floor(scene)
    assert scene.point_colors.shape == scene.points.shape
    for i in range(1, len(POSES)):  # only a view that is held out has depth
        if i != 8:
            (record3d.folder / f"depth/{i}.exr").unlink()
    assert load_scene(record3d.folder).points is None
    (record3d.folder / "depth/1.exr").write_bytes(b"not a picture")
    assert any("1 depth maps were left out" in note for note in load_scene(record3d.folder).notes)


class Polycam:
    """An export with corrected and uncorrected keyframes; they differ in focal length, poses and pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for i in range(len(POSES)):
            self.camera("corrected_cameras", i, 0.0)
            self.camera("cameras", i, 1.0)
            write_image(folder / f"keyframes/corrected_images/{self.name(i)}.jpg", WIDTH, HEIGHT, seed=i)
            write_image(folder / f"keyframes/images/{self.name(i)}.jpg", WIDTH, HEIGHT, seed=i)

    @staticmethod
    def name(i: int) -> str:
        return str(9_999_996 + i)  # microseconds, which become longer

    def camera(self, kind: str, i: int, shift: float, **change) -> Path:
        matrix = opengl(POSES[i])
        data = {f"t_{row}{column}": matrix[row][column] for row in range(3) for column in range(4)}
        data |= {"fx": FOCAL + shift, "fy": FOCAL, "cx": CENTER[0], "cy": CENTER[1], "width": WIDTH, "height": HEIGHT}
        data["t_03"] += shift
        file = self.folder / f"keyframes/{kind}/{self.name(i)}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(data | {"blur_score": 3.5} | change))
        return file

    def drop(self, folder: str) -> None:
        for file in (self.folder / "keyframes" / folder).iterdir():
            file.unlink()
        (self.folder / "keyframes" / folder).rmdir()


@pytest.fixture
def polycam(tmp_path: Path) -> Polycam:
    return Polycam(tmp_path / "scan")


def test_polycam(polycam):
    for source in (polycam.folder, polycam.folder / "keyframes"):
        assert detect_format(source) == "polycam"
        views = everything(source)
        assert {Path(name).parent.name for name in views.names} == {"corrected_images"}
        order = [int(Path(name).stem) - 9_999_996 for name in views.names]
        assert_same_poses(views.cameras, [POSES[i] for i in order])
        assert views.cameras.intrinsics[0].tolist() == [FOCAL, FOCAL, *CENTER]


@pytest.mark.parametrize("missing", ["corrected_cameras", "corrected_images"])
def test_polycam_without_corrected_keyframes(polycam, missing):
    polycam.drop(missing)
    scene = load_scene(polycam.folder)
    assert scene.splits["train"].cameras.intrinsics[0, 0] == FOCAL + 1
    assert any("lens distortion is not known" in note for note in scene.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"t_12": None}, "t_12"),
        ({"t_12": float("nan")}, "t_12"),
        ({"t_00": 5.0}, "orthonormal"),
        ({"fx": 0}, "positive"),
        ({"cy": "center"}, "cy"),
        ({"width": float("inf")}, "width"),
    ],
)
def test_bad_polycam_camera(polycam, change, words):
    file = polycam.camera("corrected_cameras", 4, 0.0, **change)
    with pytest.raises(DataError, match=words) as error:
        load_scene(polycam.folder)
    assert error.value.file == file
    scene = load_scene(polycam.folder, SceneOptions(test_every=0, skip_bad_frames=True))
    assert len(scene.splits["train"]) == 9


def test_polycam_picture_that_is_missing(polycam):
    (polycam.folder / f"keyframes/corrected_images/{polycam.name(2)}.jpg").unlink()
    with pytest.raises(DataError, match="missing"):
        load_scene(polycam.folder)


def test_polycam_depth_becomes_points(polycam):
    for i, pose in enumerate(POSES):
        depth = np.nan_to_num(1000 * floor_depth(pose), posinf=0)
        sure = np.full(depth.shape, 255, dtype=np.uint8)
        depth[:16, 24:], sure[:16, 24:] = 2500, 127  # what the sensor only guesses
        for folder, values in (("depth", np.rint(depth).astype(np.uint16)), ("confidence", sure)):
            file = polycam.folder / f"keyframes/{folder}/{polycam.name(i)}.png"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(values).save(file)
    on_floor(load_scene(polycam.folder))


def test_depth_across_an_edge_is_left_out(record3d):
    """Halfway between a wall and what is behind it there is nothing."""
    for i in range(len(POSES)):
        depth = np.full((16, 12), 2.0)
        depth[:, 6], depth[:, 7:] = 1.5, 1.0
        depth[0, 0], depth[1, 0] = 7.0, 0.0
        write_exr(record3d.folder / f"depth/{i}.exr", depth)
    scene = load_scene(record3d.save())
    cameras = scene.splits["train"].cameras
    depths = torch.stack([cameras.project(i, scene.points)[1] for i in range(len(cameras))])
    off = torch.minimum((depths - 2).abs(), (depths - 1).abs()).amin(0)
    assert off.max() < 1e-3
    assert (depths - 1.5).abs().amin(1).max() > 0


@pytest.mark.slow
def test_record3d_door(real_data):
    """The poses and intrinsics that another program wrote from the same metadata."""
    folder = real_data("captures/record3d_door")
    ours = load_scene(folder / "EXR_RGBD", SceneOptions(downscale=8, test_every=0))
    theirs = load_scene(folder, SceneOptions(downscale=8))
    views = ours.splits["train"]
    places = {Path(name).name: i for i, name in enumerate(views.names)}
    for other in theirs.splits.values():
        cameras = views.cameras[torch.tensor([places[Path(name).name] for name in other.names])]
        assert (cameras.camera_to_world - other.cameras.camera_to_world).abs().max() < 1e-5
        assert torch.allclose(cameras.intrinsics, other.cameras.intrinsics)
    assert 10_000 < len(ours.points) <= MAX_POINTS
