"""Readers and scenes: what is written in each format comes back as the same cameras, pixels and splits."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.data.options import SceneOptions
from fieldlab.data.scene import FORMATS, Format, detect_format, register_format
from fieldlab.errors import ConfigError, DataError
from fieldlab.export.cameras_files import write_transforms
from fieldlab.sources.load import load_scene
from tests.data.data_builders import look_at, opengl, ring, write_image


def test_transforms(capture):
    made = capture(10)
    scene = load_scene(made.save())
    assert scene.format == "transforms"
    assert scene.splits["test"].names == ["images/000.png", "images/008.png"]
    train = scene.splits["train"]
    assert len(train) == 8
    assert np.abs(train.cameras.camera_to_world.numpy() - np.stack(made.poses)[[1, 2, 3, 4, 5, 6, 7, 9]]).max() < 1e-6
    assert train.cameras.intrinsics[0].tolist() == [10, 10, 6, 4]
    for i, k in enumerate([1, 2, 3, 4, 5, 6, 7, 9]):
        assert np.array_equal(train.image(i).numpy(), made.images[k])
    assert scene.unbounded
    assert scene.background == "black"
    assert train.masks is None
    index, pixels = train.locate(torch.tensor([0, 12 * 8 + 13, 8 * 96 - 1]))
    assert index.tolist() == [0, 1, 7]
    assert pixels.tolist() == [[0.5, 0.5], [1.5, 1.5], [11.5, 7.5]]
    labels = dict(scene.describe())
    assert labels["train views"] == "8, 12x8, RGB"


def test_intrinsics_of_single_frames(capture):
    made = capture(3)
    del made.data["fl_x"]
    made.data |= {"camera_angle_x": 0.5, "k1": 0.1, "p2": 0.01}
    made.frames[1] |= {"fl_x": 20.0, "fl_y": 30.0, "cx": 5.0, "cy": 3.0, "k1": 0.2, "k4": 0.01}
    cameras = load_scene(made.save(), SceneOptions(test_every=0)).splits["train"].cameras
    focal = 6 / math.tan(0.25)
    assert cameras.intrinsics[0].tolist() == pytest.approx([focal, focal, 6, 4])
    assert cameras.intrinsics[1].tolist() == [20, 30, 5, 3]
    assert cameras.distortion[0].tolist() == pytest.approx([0.1, 0, 0, 0.01, 0, 0])
    assert cameras.distortion[1].tolist() == pytest.approx([0.2, 0, 0, 0.01, 0, 0.01])


@pytest.mark.parametrize(
    ("keys", "model", "distortion"),
    [
        (
            {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.2, "p1": 9},
            CameraModel.FISHEYE,
            [0.1, 0, 0, 0.2, 0, 0],
        ),
        ({"is_fisheye": True, "k3": 0.1}, CameraModel.FISHEYE, [0, 0, 0.1, 0, 0, 0]),
        ({"camera_model": "PINHOLE"}, CameraModel.PERSPECTIVE, [0] * 6),
        ({"camera_model": "EQUIRECTANGULAR"}, CameraModel.EQUIRECTANGULAR, [0] * 6),
    ],
)
def test_camera_models(capture, keys, model, distortion):
    made = capture(2)
    made.data |= keys
    cameras = load_scene(made.save()).splits["train"].cameras
    assert cameras.model.tolist() == [model]
    assert cameras.distortion[0].tolist() == pytest.approx(distortion)
    if model == CameraModel.EQUIRECTANGULAR:
        assert cameras.intrinsics[0].tolist() == pytest.approx([12 / (2 * math.pi), 8 / math.pi, 6, 4])


def test_nerfstudio_lists(capture):
    made = capture(6)
    made.data |= {
        "train_filenames": ["images/000.png", "./images/001.png"],
        "test_filenames": ["images/004.png"],
        "val_filenames": ["images/005.png"],
    }
    scene = load_scene(made.save())
    assert {split: views.names for split, views in scene.splits.items()} == {
        "train": ["images/000.png", "images/001.png"],
        "val": ["images/005.png"],
        "test": ["images/004.png"],
    }


def test_val_takes_the_place_of_test(capture):
    made = capture(4)
    made.data |= {"train_filenames": ["images/000.png", "images/001.png"], "val_filenames": ["images/003.png"]}
    scene = load_scene(made.save())
    assert scene.splits["test"].names == ["images/003.png"]
    assert any("val split" in note for note in scene.notes)


def test_blender(tmp_path):
    poses = ring(5)
    for split, chosen in (("train", [0, 1, 2]), ("test", [3]), ("val", [4])):
        frames = []
        for i in chosen:
            write_image(tmp_path / f"{split}/r_{i}.png", alpha=True, seed=i)
            frames.append({"file_path": f"./{split}/r_{i}", "rotation": 0.1, "transform_matrix": opengl(poses[i])})
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": 0.8, "frames": frames}))
    scene = load_scene(tmp_path)
    assert scene.format == "blender"
    assert scene.background == "white"
    assert {split: views.names for split, views in scene.splits.items()} == {
        "train": ["train/r_0.png", "train/r_1.png", "train/r_2.png"],
        "val": ["val/r_4.png"],
        "test": ["test/r_3.png"],
    }
    assert scene.splits["train"].channels == 4
    assert scene.splits["test"].cameras.intrinsics[0, 0] == pytest.approx(6 / math.tan(0.4))
    assert torch.allclose(scene.splits["test"].cameras.camera_to_world[0], torch.from_numpy(poses[3]).float())


def test_downscaling(capture):
    made = capture(3)
    scene = load_scene(made.save(), SceneOptions(downscale=2, test_every=0))
    views = scene.splits["train"]
    assert views.cameras.size.tolist() == [[6, 4]] * 3
    assert views.cameras.intrinsics[0].tolist() == [5, 5, 3, 2]
    expected = made.images[0].reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert np.abs(views.image(0).numpy() - expected).max() <= 0.5
    views = load_scene(made.folder, SceneOptions(max_side=4, test_every=0)).splits["train"]
    assert views.cameras.size[0].tolist() == [4, 3]
    assert views.cameras.intrinsics[0].tolist() == pytest.approx([10 / 3, 10 * 3 / 8, 2, 1.5])


def test_pictures_of_different_sizes(capture):
    made = capture(4)
    made.images[2] = write_image(made.folder / "images/002.png", 24, 16, seed=2)  # the same picture, larger
    made.images[3] = write_image(made.folder / "images/003.png", 20, 30, seed=3)
    made.frames[3] |= {"w": 20, "h": 30}
    scene = load_scene(made.save(), SceneOptions(test_every=0))
    views = scene.splits["train"]
    assert views.cameras.size.tolist() == [[12, 8], [12, 8], [24, 16], [20, 30]]
    assert views.cameras.intrinsics[2].tolist() == [20, 20, 12, 8]
    for i in range(4):
        assert np.array_equal(views.image(i).numpy(), made.images[i])
    assert any("another resolution" in note for note in scene.notes)
    some = views.subset([3, 0])
    assert np.array_equal(some.image(0).numpy(), made.images[3])
    assert np.array_equal(some.image(1).numpy(), made.images[0])


def test_masks(capture):
    made = capture(3)
    mask = np.zeros((8, 12), dtype=np.uint8)
    mask[:4] = 255
    (made.folder / "elsewhere").mkdir()
    Image.fromarray(mask).save(made.folder / "elsewhere/m.png")
    made.frames[0]["mask_path"] = "elsewhere/m.png"
    (made.folder / "masks").mkdir()
    Image.fromarray(255 - mask).save(made.folder / "masks/001.png")
    views = load_scene(made.save(), SceneOptions(test_every=0)).splits["train"]
    assert views.mask(0)[:4].all()
    assert not views.mask(0)[4:].any()
    assert not views.mask(1)[:4].any()
    assert views.mask(1)[4:].all()
    assert views.mask(2).all()


def test_opaque_alpha_is_dropped(capture):
    made = capture(2)
    for i in range(2):
        Image.fromarray(np.dstack((made.images[i], np.full((8, 12), 255, np.uint8)))).save(
            made.folder / f"images/{i:03d}.png"
        )
    scene = load_scene(made.save())
    assert scene.splits["train"].channels == 3
    assert scene.unbounded


def test_sparse_points(capture):
    trimesh = pytest.importorskip("trimesh")
    made = capture(3)
    points = np.random.default_rng(0).normal(size=(40, 3))
    cloud = trimesh.PointCloud(points, colors=np.tile([10, 20, 30, 255], (40, 1)).astype(np.uint8))
    cloud.export(made.folder / "points.ply")
    made.data["ply_file_path"] = "points.ply"
    scene = load_scene(made.save())
    assert np.abs(scene.points.numpy() - points).max() < 1e-5
    assert scene.point_colors[0].tolist() == [10, 20, 30]
    made.data["ply_file_path"] = "gone.ply"
    scene = load_scene(made.save())
    assert scene.points is None
    assert any("gone.ply" in note for note in scene.notes)
    (made.folder / "points.ply").write_text("ply\nformat ascii 1.0\nelement vertex 9")
    made.data["ply_file_path"] = "points.ply"
    with pytest.raises(DataError, match="sparse points"):
        load_scene(made.save())


@pytest.mark.parametrize("model", list(CameraModel))
def test_writer_round_trip(tmp_path, model):
    n = 3
    for i in range(n):
        write_image(tmp_path / f"images/{i}.png", 20 + i, 10, seed=i)
    distortion = {0: [0.1, -0.02, 0.001, 0.002, 0.003, 0.004], 1: [0.1, 0.2, 0.03, 0.04, 0, 0], 2: [0.0] * 6}[
        int(model)
    ]
    sizes = torch.tensor([[20 + i, 10] for i in range(n)])
    intrinsics = torch.stack([torch.tensor([15.25 + i, 16, 9, 5.5]) for i in range(n)])
    if model == CameraModel.EQUIRECTANGULAR:
        turn = torch.tensor([2 * math.pi, math.pi])
        intrinsics = torch.cat((sizes / turn, sizes / 2), dim=1)
    cameras = Cameras(
        camera_to_world=torch.from_numpy(np.stack(ring(n))).float(),
        intrinsics=intrinsics,
        size=sizes,
        model=torch.full((n,), int(model)),
        distortion=torch.tensor(distortion).expand(n, 6),
    )
    names = [f"images/{i}.png" for i in range(n)]
    write_transforms(tmp_path, cameras, names, splits=["test"] + ["train"] * (n - 1))
    scene = load_scene(tmp_path)
    back = Cameras.concatenate([scene.splits["test"].cameras, scene.splits["train"].cameras])
    assert scene.splits["test"].names + scene.splits["train"].names == names
    assert torch.allclose(back.camera_to_world, cameras.camera_to_world, atol=1e-6)
    assert torch.allclose(back.intrinsics, cameras.intrinsics)
    assert torch.allclose(back.distortion, cameras.distortion)
    assert torch.equal(back.size, cameras.size)
    assert torch.equal(back.model, cameras.model)


def write_llff(folder, poses, factor=1):
    rows = []
    for pose in poses:
        right, down, forward, position = pose.T
        matrix = np.stack((down, right, -forward, position, [8 * factor, 12 * factor, 10 * factor]), axis=1)
        rows.append(np.concatenate((matrix.reshape(-1), [2.0, 9.0])))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "poses_bounds.npy", np.array(rows))


def facing(count):
    return [look_at(np.array([-5.0, 0.2 * i, 0.1 * (i % 3)]), np.array([20.0, 0.2 * i, 0.0])) for i in range(count)]


def test_llff(tmp_path):
    poses = facing(9)
    write_llff(tmp_path, poses, factor=8)
    for i in range(9):
        write_image(tmp_path / f"images_8/image{i:03d}.png", seed=i)
        write_image(tmp_path / f"images_4/image{i:03d}.png", 24, 16, seed=i)
        if i:
            write_image(tmp_path / f"images/IMG_{i}.png", 96, 64, seed=i)  # one too few
    scene = load_scene(tmp_path)
    assert scene.format == "llff"
    assert scene.splits["train"].cameras.size[0].tolist() == [24, 16]
    assert scene.splits["train"].cameras.intrinsics[0].tolist() == [20, 20, 12, 8]
    assert np.abs(scene.splits["train"].cameras.camera_to_world.numpy() - np.stack(poses)[1:8]).max() < 1e-6
    assert scene.splits["test"].names == ["images_4/image000.png", "images_4/image008.png"]
    smaller = load_scene(tmp_path, SceneOptions(images="images_8"))
    assert smaller.splits["train"].cameras.intrinsics[0].tolist() == [10, 10, 6, 4]


def test_llff_previews_are_not_taken_for_the_originals(tmp_path):
    write_llff(tmp_path, facing(3), factor=8)
    for i in range(3):
        write_image(tmp_path / f"images/IMG_{i}.png", 24, 16)
        write_image(tmp_path / f"images_8/image{i}.png", 12, 8)
    assert load_scene(tmp_path).splits["train"].names[0] == "images_8/image1.png"


def make_reconstruction(poses, model="OPENCV", params=(10, 11, 6, 4, 0.05, -0.01, 0.001, 0.002), points=200):
    pycolmap = pytest.importorskip("pycolmap")
    made = pycolmap.Reconstruction()
    camera = pycolmap.Camera(camera_id=1, model=model, width=12, height=8, params=list(params))
    made.add_camera_with_trivial_rig(camera)
    generator = np.random.default_rng(0)
    for i, pose in enumerate(poses):
        rotation = pose[:, :3].T
        cam_from_world = pycolmap.Rigid3d(pycolmap.Rotation3d(rotation), -rotation @ pose[:, 3])
        image = pycolmap.Image(f"{i:03d}.png", [[1.0, 1.0]] * points, 1, i + 1)
        made.add_image_with_trivial_frame(image, cam_from_world)
    for k in range(points):
        track = pycolmap.Track()
        for i in range(len(poses)):
            track.add_element(i + 1, k)
        made.add_point3D(0.3 * generator.normal(size=3), track, np.array([k % 256, 1, 2], dtype=np.uint8))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("where", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_colmap(tmp_path, text, where):
    poses = ring(9)
    made = make_reconstruction(poses)
    folder = tmp_path / where
    folder.mkdir(parents=True, exist_ok=True)
    (made.write_text if text else made.write_binary)(str(folder))
    for i in range(9):
        write_image(tmp_path / f"images/{i:03d}.png", seed=i)
    for source in {tmp_path, folder}:
        scene = load_scene(source)
        assert scene.format == "colmap"
        cameras = scene.splits["train"].cameras
        assert np.abs(cameras.camera_to_world.numpy() - np.stack(poses)[1:8]).max() < 1e-5
        assert cameras.intrinsics[0].tolist() == [10, 11, 6, 4]
        assert cameras.distortion[0].tolist() == pytest.approx([0.05, -0.01, 0.001, 0.002, 0, 0])
        assert scene.points.shape == (200, 3)
        assert scene.point_colors[:, 1:].unique(dim=0).tolist() == [[1, 2]]
        assert len(scene.splits["test"]) == 2


def write_llff_beside_colmap(folder, names):
    """A model with lens distortion of nine views, and the poses that LLFF makes of it."""
    poses = facing(9)
    (folder / "sparse/0").mkdir(parents=True)
    make_reconstruction(poses, points=20).write_binary(str(folder / "sparse/0"))
    write_llff(folder, poses, factor=1)
    for i, name in enumerate(names):
        write_image(folder / "images" / name, seed=i)
    return folder


@pytest.mark.slow
def test_colmap_goes_before_llff(tmp_path):
    folder = write_llff_beside_colmap(tmp_path, [f"{i:03d}.png" for i in range(9)])
    for source in (folder, folder / "poses_bounds.npy"):
        scene = load_scene(source)
        assert scene.format == "colmap"
        assert scene.splits["train"].cameras.distortion[0, 0] == pytest.approx(0.05)
        assert any("lens distortion" in note for note in scene.notes)
    forced = load_scene(folder, SceneOptions(format="llff"))
    assert forced.format == "llff"
    assert (forced.splits["train"].cameras.distortion == 0).all()


@pytest.mark.slow
def test_llff_goes_before_a_model_that_lacks_pictures(tmp_path):
    """The pictures have other names than in the model, or the model has fewer views."""
    renamed = write_llff_beside_colmap(tmp_path / "renamed", [f"{i:03d}.png" for i in range(8)] + ["IMG_9.png"])
    fewer = write_llff_beside_colmap(tmp_path / "fewer", [f"{i:03d}.png" for i in range(9)])
    make_reconstruction(facing(9)[:5], points=20).write_binary(str(fewer / "sparse/0"))
    damaged = write_llff_beside_colmap(tmp_path / "damaged", [f"{i:03d}.png" for i in range(9)])
    (damaged / "sparse/0/images.bin").write_bytes(b"cut short")
    for folder in (renamed, fewer, damaged):
        scene = load_scene(folder)
        assert scene.format == "llff"
        assert sum(len(views) for views in scene.splits.values()) == 9
        assert any("not from the COLMAP model" in note for note in scene.notes)


def test_detection_and_forcing(capture, tmp_path):
    made = capture(3)
    folder = made.save()
    assert detect_format(folder) == "transforms"
    assert detect_format(folder / "transforms.json") == "transforms"
    assert load_scene(folder / "transforms.json").name == "scene"
    with pytest.raises(DataError, match=r"poses_bounds\.npy"):
        load_scene(folder, SceneOptions(format="llff"))
    with pytest.raises(ConfigError, match="format"):
        load_scene(folder, SceneOptions(format="nonsense"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="not recognized"):
        load_scene(tmp_path / "empty")
    with pytest.raises(DataError, match="not found"):
        load_scene("no such scene")


def test_another_format_can_be_registered(capture, monkeypatch):
    made = capture(3)
    made.save("poses.mine")
    monkeypatch.setattr("fieldlab.data.scene.FORMATS", dict(FORMATS))

    def read(path, options, skips):
        return FORMATS["transforms"].read(path / "poses.mine", options, skips)

    register_format("mine", lambda path: (path / "poses.mine").is_file(), read)
    assert len(load_scene(made.folder).splits["train"]) == 2
    assert isinstance(FORMATS["transforms"], Format)


def test_scene_files(capture, tmp_path):
    made = capture(10)
    made.save()
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\ndescription = "ten pictures"\n[data]\npath = "scene"\ndownscale = 2\ntest_every = 5\n'
        "aabb = [-1, -2, -3, 1, 2, 3]\n[train]\nsteps = 100\n"
    )
    scene = load_scene(file)
    assert scene.name == "mine"
    assert scene.description == "ten pictures"
    assert scene.recommended == {"steps": 100}
    assert scene.aabb.tolist() == [[-1, -2, -3], [1, 2, 3]]
    assert len(scene.splits["test"]) == 2
    assert scene.splits["train"].cameras.size[0].tolist() == [6, 4]
    assert load_scene(file, SceneOptions(downscale=4)).splits["train"].cameras.size[0].tolist() == [3, 2]
    for text, message in (
        ("nonsense", "cannot be read"),
        ('[data]\npath = "gone"\n', "missing"),
        ('[data]\npath = "scene"\nwrong = 1\n', "unknown options"),
        ("[data]\ndownscale = 2\n", "does not say where"),
        ('name = "a"\n', "needs one source"),
        ("color = 1\n[data]\n", "unknown keys"),
    ):
        file.write_text(text)
        with pytest.raises((DataError, ConfigError), match=message) as caught:
            load_scene(file)
        assert caught.value.file == file
    with pytest.raises(DataError, match="missing"):
        load_scene(tmp_path / "gone.toml")


@pytest.mark.slow
def test_procedural_scenes_by_name():
    scene = load_scene("robot", SceneOptions(max_side=16, aabb=(-2, -2, -2, 2, 2, 2), background="black"))
    assert scene.source == "robot"
    assert scene.splits["train"].cameras.size[0].tolist() == [16, 16]
    assert scene.aabb.tolist() == [[-2, -2, -2], [2, 2, 2]]
    assert scene.background == "black"
    assert {"train", "test"} <= set(scene.splits)


def test_options_are_checked(capture):
    folder = capture(2).save()
    for options in (
        SceneOptions(downscale=0),
        SceneOptions(max_side=0),
        SceneOptions(test_every=-1),
        SceneOptions(background="pink"),
        SceneOptions(aabb=(1, 0, 0, 0, 1, 1)),
    ):
        with pytest.raises(ConfigError):
            load_scene(folder, options)


def test_conversion_of_axes_by_hand(capture):
    """A camera of OpenGL without rotation looks along -z with y up, so a point up and ahead is above the middle."""
    made = capture(1)
    made.frames[0]["transform_matrix"] = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]]
    cameras = load_scene(made.save()).splits["train"].cameras
    pixels, depth, seen = cameras.project(0, torch.tensor([[1.0, 1.0, 0.0]]))
    assert pixels[0].tolist() == [6 + 2, 4 - 2]
    assert depth.tolist() == [5]
    assert seen.all()
