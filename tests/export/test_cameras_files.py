"""Cameras written for nerfstudio and COLMAP are the same cameras when they are read again."""

from __future__ import annotations

import json
import math

import numpy as np
import pycolmap
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.data.colmap import read_colmap
from fieldlab.data.frames import Reading, Skips
from fieldlab.data.options import SceneOptions
from fieldlab.data.transforms import read_transforms
from fieldlab.errors import ConfigError, RunFolderError
from fieldlab.export.cameras_files import write_colmap, write_transforms
from fieldlab.export.points import PointCloud
from fieldlab.pictures.camera_path import look_at
from fieldlab.sources.load import load_scene

LENSES = {
    "pinhole": (CameraModel.PERSPECTIVE, (0.0,) * 6),
    "opencv": (CameraModel.PERSPECTIVE, (0.1, -0.02, 0.001, 0.002, 0.0, 0.0)),
    "full": (CameraModel.PERSPECTIVE, (0.1, -0.02, 0.001, 0.002, 0.003, 0.0)),
    "eighth": (CameraModel.PERSPECTIVE, (0.1, -0.02, 0.001, 0.002, 0.003, 0.004)),
    "fisheye": (CameraModel.FISHEYE, (0.05, -0.01, 0.002, -0.0003, 0.0, 0.0)),
    "sphere": (CameraModel.EQUIRECTANGULAR, (0.0,) * 6),
}


def random_cameras(lens: str, n: int = 4, seed: int = 0, shared: bool = False) -> Cameras:
    """Cameras turned in all ways at positions far from the origin."""
    rng = np.random.default_rng(seed)
    model, distortion = LENSES[lens]
    poses = np.concatenate((Rotation.random(n, random_state=seed).as_matrix(), rng.normal(2, 5, (n, 3, 1))), axis=2)
    sizes = np.tile([60, 40], (n, 1)) if shared else rng.integers(30, 90, (n, 2))
    intrinsics = np.tile([55.25, 57.5, 29.0, 21.5], (n, 1)) + (0 if shared else rng.uniform(0, 3, (n, 4)))
    if model == CameraModel.EQUIRECTANGULAR:
        intrinsics = np.concatenate((sizes / [2 * math.pi, math.pi], sizes / 2), axis=1)
    return Cameras(
        camera_to_world=torch.from_numpy(poses).float(),
        intrinsics=torch.from_numpy(intrinsics).float(),
        size=torch.from_numpy(sizes).long(),
        model=torch.full((n,), int(model)),
        distortion=torch.tensor(distortion).expand(n, 6).contiguous(),
    )


def names_of(cameras: Cameras) -> list[str]:
    return [f"view_{i}.png" for i in range(len(cameras))]


def write_pictures(folder, cameras: Cameras) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for i, size in enumerate(cameras.size.tolist()):
        Image.new("RGB", size).save(folder / "images" / f"view_{i}.png")


def same(reading: Reading, cameras: Cameras) -> None:
    """The frames of a reading are the cameras."""
    assert len(reading.frames) == len(cameras)
    for i, frame in enumerate(reading.frames):
        width, height = cameras.size[i].tolist()
        assert np.allclose(frame.camera_to_world, cameras.camera_to_world[i].numpy(), atol=1e-5)
        assert np.allclose(frame.lens.intrinsics(width, height), cameras.intrinsics[i].numpy(), atol=1e-5)
        assert np.allclose(frame.lens.distortion, cameras.distortion[i].numpy(), atol=1e-7)
        assert frame.lens.model == cameras.model[i]
        assert frame.lens.size == (width, height)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("shared", [False, True])
def test_transforms_are_read_again(tmp_path, lens, shared):
    cameras = random_cameras(lens, seed=3, shared=shared)
    write_transforms(tmp_path, cameras, [f"images/{name}" for name in names_of(cameras)])
    same(read_transforms(tmp_path, SceneOptions(), Skips(False)), cameras)
    data = json.loads((tmp_path / "transforms.json").read_text())
    assert ("fl_x" in data) == shared
    assert all(("fl_x" in frame) != shared for frame in data["frames"])
    where = data if shared else data["frames"][0]
    assert ("k1" in where) == any(LENSES[lens][1])
    expected = {"pinhole": "PINHOLE", "fisheye": "OPENCV_FISHEYE", "sphere": "EQUIRECTANGULAR"}.get(lens, "OPENCV")
    assert data["camera_model"] == expected


@pytest.mark.slow
@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_any_poses_survive_both_formats(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("poses")
    cameras = random_cameras("opencv", n=3, seed=seed)
    write_pictures(folder, cameras)
    write_transforms(folder, cameras, [f"images/{name}" for name in names_of(cameras)])
    write_colmap(folder, cameras, names_of(cameras))
    same(read_transforms(folder, SceneOptions(), Skips(False)), cameras)
    same(read_colmap(folder, SceneOptions(), Skips(False)), cameras)


@pytest.mark.parametrize("lens", sorted(set(LENSES) - {"eighth"}))
@pytest.mark.parametrize("shared", [False, True])
def test_pycolmap_projects_points_where_we_do(tmp_path, lens, shared):
    cameras = random_cameras(lens, seed=5, shared=shared)
    write_colmap(tmp_path, cameras, names_of(cameras))
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    assert len(model.cameras) == (1 if shared else len(cameras))
    assert model.num_reg_images() == len(cameras)
    images = sorted(model.images.values(), key=lambda image: image.name)
    assert [image.name for image in images] == names_of(cameras)
    for i, image in enumerate(images):
        camera = model.cameras[image.camera_id]
        assert (camera.width, camera.height) == tuple(cameras.size[i].tolist())
        pose = image.cam_from_world().inverse().matrix()
        assert np.allclose(pose, cameras.camera_to_world[i].numpy(), atol=1e-5)
        width, height = cameras.size[i].tolist()
        pixels = torch.rand(50, 2, generator=torch.Generator().manual_seed(i)) * torch.tensor([width, height])
        rays = cameras.rays(torch.full((50,), i), pixels)
        points = (rays.origins + 7 * rays.directions).double().numpy()
        local = np.linalg.inv(np.vstack((pose, [0, 0, 0, 1]))) @ np.concatenate((points, np.ones((50, 1))), axis=1).T
        found = np.array([camera.img_from_cam(point) for point in local[:3].T])
        assert np.allclose(found, pixels.numpy(), atol=2e-3)


@pytest.mark.parametrize(("lens", "name"), [("pinhole", "PINHOLE"), ("opencv", "OPENCV"), ("full", "FULL_OPENCV"),
                                            ("fisheye", "OPENCV_FISHEYE"), ("sphere", "EQUIRECTANGULAR")])  # fmt: skip
def test_lenses_get_the_simplest_colmap_model(tmp_path, lens, name):
    cameras = random_cameras(lens)
    write_pictures(tmp_path, cameras)
    write_colmap(tmp_path, cameras, names_of(cameras))
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    assert {camera.model_name for camera in model.cameras.values()} == {name}
    if lens != "full":
        same(read_colmap(tmp_path, SceneOptions(), Skips(False)), cameras)


def test_colmap_refuses_what_it_cannot_say(tmp_path):
    with pytest.raises(ConfigError, match="eighth power"):
        write_colmap(tmp_path, random_cameras("eighth"), names_of(random_cameras("eighth")))
    part = random_cameras("sphere")
    part.intrinsics = part.intrinsics * 1.5
    with pytest.raises(ConfigError, match="part of the sphere"):
        write_colmap(tmp_path, part, names_of(part))
    with pytest.raises(ConfigError, match="part of the sphere"):
        write_transforms(tmp_path, part, names_of(part))
    none = random_cameras("pinhole")[:0]
    for write in (write_colmap, write_transforms):
        with pytest.raises(ConfigError, match="no cameras"):
            write(tmp_path, none, [])
    assert not list(tmp_path.iterdir())


def test_mixed_models_go_to_colmap_alone(tmp_path):
    cameras = Cameras.concatenate([random_cameras("fisheye", 2), random_cameras("pinhole", 2, seed=1)])
    with pytest.raises(ConfigError, match="one camera model") as error:
        write_transforms(tmp_path, cameras, names_of(cameras))
    assert error.value.found == "perspective, fisheye"
    write_pictures(tmp_path, cameras)
    write_colmap(tmp_path, cameras, names_of(cameras))
    same(read_colmap(tmp_path, SceneOptions(), Skips(False)), cameras)


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png", "C:\\a.png", "..\\a.png", "", "."])
def test_names_stay_in_the_folder(tmp_path, name):
    cameras = random_cameras("pinhole", 1)
    for write in (write_colmap, write_transforms):
        with pytest.raises(ConfigError, match="leads out"):
            write(tmp_path, cameras, [name])


def test_names_are_one_for_each_camera(tmp_path):
    cameras = random_cameras("pinhole", 2)
    with pytest.raises(ConfigError, match="one name"):
        write_transforms(tmp_path, cameras, ["a.png"])
    with pytest.raises(ConfigError, match="two views"):
        write_transforms(tmp_path, cameras, ["a.png", "./a.png"])
    write_transforms(tmp_path, cameras, ["./train/r_0", "sub\\b.png"])
    data = json.loads((tmp_path / "transforms.json").read_text())
    assert [frame["file_path"] for frame in data["frames"]] == ["train/r_0", "sub/b.png"]


def test_splits_come_back_and_all_three_lists_are_there(tmp_path):
    cameras = random_cameras("pinhole", 5)
    write_pictures(tmp_path, cameras)
    names = [f"images/{name}" for name in names_of(cameras)]
    write_transforms(tmp_path, cameras, names, splits=["train", "test", "train", "train", "test"])
    data = json.loads((tmp_path / "transforms.json").read_text())
    assert data["val_filenames"] == data["test_filenames"] == [names[1], names[4]]
    scene = load_scene(tmp_path)
    assert {split: views.names for split, views in scene.splits.items()} == {
        "train": [names[0], names[2], names[3]], "test": [names[1], names[4]]
    }  # fmt: skip
    write_transforms(tmp_path, cameras, names, splits=["test"] * 5)
    assert "test_filenames" not in json.loads((tmp_path / "transforms.json").read_text())


def ball_cloud(n: int = 3000) -> PointCloud:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colors = rng.integers(0, 256, (n, 3), dtype=np.uint8)
    positions = (2 * normals + [5, 0, 1]).astype(np.float32)
    return PointCloud(positions, normals.astype(np.float32), colors, np.ones(n, dtype=np.float32))


def facing_the_ball(n: int = 6) -> Cameras:
    angle = torch.arange(n) / n * 2 * math.pi
    center = torch.tensor([5.0, 0, 1])
    positions = center + 9 * torch.stack((angle.cos(), angle.sin(), 0.1 * angle), dim=-1)
    return Cameras.pinhole(look_at(positions, center, torch.tensor([0.0, 0, 1])), 100.0, 80, 60)


@pytest.mark.slow
def test_points_have_colors_and_tracks_of_the_views_that_see_them(tmp_path):
    cameras, cloud = facing_the_ball(), ball_cloud()
    # Behind the ball is a wall of points, which it hides from the first camera.
    y, z = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(0, 2, 40))
    wall = np.stack((np.full(1600, 2.0), y.ravel(), z.ravel()), axis=1).astype(np.float32)
    facing = np.tile(np.array([[1.0, 0, 0]], dtype=np.float32), (1600, 1))
    positions, normals = np.concatenate((cloud.positions, wall)), np.concatenate((cloud.normals, facing))
    colors = np.concatenate((cloud.colors, np.zeros((1600, 3), dtype=np.uint8)))
    both = PointCloud(positions, normals, colors, np.ones(4600, dtype=np.float32))
    write_colmap(tmp_path, cameras, names_of(cameras), both)
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    points = [model.points3D[k] for k in sorted(model.points3D)]
    assert np.allclose([point.xyz for point in points], positions, atol=1e-6)
    assert np.array_equal([point.color for point in points], colors)
    sees = np.zeros((len(points), len(cameras)), dtype=bool)
    for k, point in enumerate(points):
        for element in point.track.elements:
            image = model.images[element.image_id]
            sees[k, int(image.name[5:-4])] = True
            pixel = image.points2D[element.point2D_idx].xy
            assert np.allclose(image.project_point(point.xyz), pixel, atol=1e-3)
    front = ((cameras.origins.numpy() - positions[:, None]) * normals[:, None]).sum(-1) > 0
    assert not (sees & ~front).any()
    assert sees[:3000].sum() > 0.6 * front[:3000].sum()  # outlines are hidden by what is beside them
    assert front[3000:, 0].all()
    assert not sees[3000:, 0].any()


def test_the_tracks_of_points_count_as_their_weights(tmp_path):
    cameras = facing_the_ball()
    write_pictures(tmp_path, cameras)
    write_colmap(tmp_path, cameras, names_of(cameras), ball_cloud())
    reading = read_colmap(tmp_path, SceneOptions(), Skips(False))
    assert reading.points is not None
    assert reading.points.shape == (3000, 3)
    assert np.median(reading.point_weights) >= 2
    scene = load_scene(tmp_path)
    assert np.allclose(scene.aabb.mean(0), [5, 0, 1], atol=0.5)


def test_folders_that_cannot_be_written(tmp_path):
    cameras = random_cameras("pinhole", 2)
    (tmp_path / "file").write_text("")
    for write in (write_colmap, write_transforms):
        with pytest.raises(RunFolderError):
            write(tmp_path / "file", cameras, names_of(cameras))
