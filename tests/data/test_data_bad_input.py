"""Bad input: every mistake gives one error that names file and field, or is skipped and counted when asked for."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from test_data_readers import facing, make_reconstruction, write_llff

from fieldlab.data.options import SceneOptions
from fieldlab.errors import DataError
from fieldlab.sources.load import load_scene
from tests.data.data_builders import ring, write_image


def damage_matrix(change):
    def apply(made):
        matrix = np.array(made.frames[3]["transform_matrix"])
        made.frames[3]["transform_matrix"] = change(matrix).tolist()

    return apply


def scaled(matrix):
    matrix[:3, :3] *= 2.5
    return matrix


def sheared(matrix):
    matrix[:3, 0] += 0.1 * matrix[:3, 1]
    return matrix


def mirrored(matrix):
    matrix[:3, 0] *= -1
    return matrix


def with_value(value):
    def change(matrix):
        matrix[1, 3] = value
        return matrix

    return change


def delete_image(made):
    (made.folder / "images/003.png").unlink()


def cut_image(made):
    write_image(made.folder / "images/003.png", 96, 64, seed=3)
    made.frames[3] |= {"w": 96, "h": 64}
    path = made.folder / "images/003.png"
    path.write_bytes(path.read_bytes()[:4000])


def text_image(made):
    (made.folder / "images/003.png").write_text("hello")


def other_shape(made):
    write_image(made.folder / "images/003.png", 8, 12)


def setter(key, value):
    def apply(made):
        made.frames[3][key] = value

    return apply


def deleter(key):
    def apply(made):
        del made.frames[3][key]

    return apply


# what is damaged in frame 3; words that the error must hold; whether skipping bad frames helps
FRAME_DAMAGE = {
    "missing image": (delete_image, ["003.png", "missing", "frames[3].file_path in transforms.json"]),
    "truncated image": (cut_image, ["003.png", "damaged", "frames[3].file_path in transforms.json"]),
    "not an image": (text_image, ["003.png", "not a picture"]),
    "no matrix": (deleter("transform_matrix"), ["transforms.json", "frames[3].transform_matrix"]),
    "no path": (deleter("file_path"), ["transforms.json", "frames[3].file_path"]),
    "matrix of words": (setter("transform_matrix", "abc"), ["frames[3].transform_matrix"]),
    "ragged matrix": (setter("transform_matrix", [[1, 2], [3]]), ["frames[3].transform_matrix"]),
    "small matrix": (setter("transform_matrix", [[1, 0], [0, 1]]), ["[2, 2]", "4x4"]),
    "nan": (damage_matrix(with_value(float("nan"))), ["frames[3].transform_matrix", "not finite", "nan"]),
    "infinity": (damage_matrix(with_value(float("inf"))), ["frames[3].transform_matrix", "not finite", "inf"]),
    "scaled": (damage_matrix(scaled), ["frames[3].transform_matrix", "scaled", "divide", "2.5"]),
    "sheared": (damage_matrix(sheared), ["frames[3].transform_matrix", "not orthonormal"]),
    "mirrored": (damage_matrix(mirrored), ["frames[3].transform_matrix", "mirror"]),
    "transposed": (damage_matrix(np.transpose), ["frames[3].transform_matrix", "last row"]),
    "duplicate": (setter("file_path", "images/002.png"), ["images/002.png", "listed twice", "frames[3].file_path"]),
    "other shape": (other_shape, ["003.png", "8x12", "12x8", "frames[3].file_path in transforms.json"]),
    "nan focal": (setter("fl_x", float("nan")), ["frames[3].fl_x", "finite"]),
    "negative focal": (setter("fl_x", -4), ["frames[3].fl_x", "positive"]),
    "focal in words": (setter("fl_x", "ten"), ["frames[3].fl_x", "'ten'"]),
    "nan distortion": (setter("k1", float("nan")), ["frames[3].k1"]),
    "unknown lens": (setter("camera_model", "FISHEYE624"), ["frames[3].camera_model", "FISHEYE624", "OPENCV"]),
    "missing mask": (setter("mask_path", "masks/none.png"), ["frames[3].mask_path", "masks/none.png"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FRAME_DAMAGE)
def test_bad_frame(capture, case):
    damage, words = FRAME_DAMAGE[case]
    made = capture(10)
    damage(made)
    folder = made.save()
    with pytest.raises(DataError) as caught:
        load_scene(folder)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert caught.value.file is not None

    scene = load_scene(folder, SceneOptions(skip_bad_frames=True))
    assert sum(len(views) for views in scene.splits.values()) == 9
    assert any(note.startswith("1 frames were skipped") for note in scene.notes)
    kept = [name for views in scene.splits.values() for name in views.names]
    assert "images/003.png" not in kept
    for split in scene.splits.values():
        for i, name in enumerate(split.names):
            assert np.array_equal(split.image(i).numpy(), made.images[int(name[7:10])])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["transforms.json", "not valid JSON", "line 1"]),
        ("[]", ["frames"]),
        ("{}", ["frames", "NoneType"]),
        ('{"frames": 3}', ["frames", "int"]),
        ('{"frames": [7]}', ["frames[0]", "not an object"]),
        ('{"frames": []}', ["no training views"]),
        ('{"frames": [], "aabb_scale": "big"}', ["aabb_scale"]),
    ],
)
def test_bad_transforms_file(tmp_path, text, words):
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(DataError) as caught:
        load_scene(tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_binary_garbage_as_json(tmp_path):
    (tmp_path / "transforms.json").write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(DataError, match="cannot be read"):
        load_scene(tmp_path)


def test_no_focal_length(capture):
    made = capture(2)
    del made.data["fl_x"]
    with pytest.raises(DataError, match="focal length") as caught:
        load_scene(made.save())
    assert "camera_angle_x" in str(caught.value)


def test_field_of_view_in_degrees(capture):
    made = capture(2)
    del made.data["fl_x"]
    made.data["camera_angle_x"] = 45.0
    with pytest.raises(DataError, match="radians"):
        load_scene(made.save())


def test_no_training_views(capture, tmp_path):
    made = capture(2)
    made.data["test_filenames"] = ["images/000.png"]
    with pytest.raises(DataError, match="no training views"):
        load_scene(made.save())
    (tmp_path / "b").mkdir()
    (tmp_path / "b/transforms_train.json").write_text('{"camera_angle_x": 1, "frames": []}')
    with pytest.raises(DataError, match="no training views") as caught:
        load_scene(tmp_path / "b")
    assert caught.value.file == tmp_path / "b/transforms_train.json"


def test_all_frames_bad(capture):
    made = capture(3)
    for frame in made.frames:
        del frame["transform_matrix"]
    with pytest.raises(DataError, match="no training views") as caught:
        load_scene(made.save(), SceneOptions(skip_bad_frames=True))
    assert "3 skipped" in str(caught.value)


def test_small_deviation_is_mended(capture):
    made = capture(4)
    matrix = np.array(made.frames[1]["transform_matrix"])
    matrix[:3, 0] *= 1 + 5e-4
    made.frames[1]["transform_matrix"] = matrix.tolist()
    scene = load_scene(made.save(), SceneOptions(test_every=0))
    rotation = scene.splits["train"].cameras.camera_to_world[1, :, :3].double()
    assert np.abs((rotation @ rotation.T).numpy() - np.eye(3)).max() < 1e-6
    assert any("orthonormal" in note and "1 poses" in note for note in scene.notes)


def test_too_little_memory(capture):
    folder = capture(4).save()
    with pytest.raises(DataError, match="do not fit") as caught:
        load_scene(folder, SceneOptions(max_memory_gb=1e-6))
    assert "downscale" in str(caught.value)
    assert len(load_scene(folder, SceneOptions(max_memory_gb=1e-4)).splits["train"]) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[:, :16], ["[N, 17]"]),
        (lambda rows: rows[0], ["[N, 17]"]),
        (lambda rows: rows[:0], ["[N, 17]"]),
        (lambda rows: rows[:4], ["4 poses", "images 5"]),
        (lambda rows: np.where(np.arange(17) == 3, np.nan, rows), ["row 0", "not finite"]),
        (lambda rows: np.where(np.arange(17) == 14, -1.0, rows), ["row 0", "focal length"]),
        (lambda rows: np.where(np.arange(17) == 16, np.inf, rows), ["row 0", "depth bound"]),
        (lambda rows: rows.astype(object), ["cannot be read"]),  # pickled, which is never read
    ],
)
def test_bad_llff(tmp_path, change, words):
    write_llff(tmp_path, facing(5))
    for i in range(5):
        write_image(tmp_path / f"images/{i}.png")
    rows = change(np.load(tmp_path / "poses_bounds.npy"))
    np.save(tmp_path / "poses_bounds.npy", rows, allow_pickle=True)
    with pytest.raises(DataError) as caught:
        load_scene(tmp_path)
    assert "poses_bounds.npy" in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.fixture
def colmap_scene(tmp_path):
    made = make_reconstruction(ring(4), points=20)
    for folder in ("bin", "txt"):
        (tmp_path / folder / "sparse/0").mkdir(parents=True)
        for i in range(4):
            write_image(tmp_path / f"{folder}/images/{i:03d}.png", seed=i)
    made.write_binary(str(tmp_path / "bin/sparse/0"))
    made.write_text(str(tmp_path / "txt/sparse/0"))
    return tmp_path


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_colmap_cut_short(colmap_scene, name):
    """Every length of every file gives an error that names it."""
    file = colmap_scene / f"bin/sparse/0/{name}.bin"
    whole = file.read_bytes()
    for length in sorted({0, 4, 8, 30, 70, len(whole) // 2, len(whole) - 1}):
        if length >= len(whole):
            continue
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match="cut short") as caught:
            load_scene(colmap_scene / "bin")
        assert caught.value.file == file


def test_colmap_counts_are_not_trusted(colmap_scene):
    file = colmap_scene / "bin/sparse/0/points3D.bin"
    file.write_bytes(struct.pack("<Q", 1 << 60) + file.read_bytes()[8:])
    with pytest.raises(DataError, match="cut short"):
        load_scene(colmap_scene / "bin")


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("cameras", "OPENCV", "FULL_OPENCV", ["camera 1", "FULL_OPENCV", "image_undistorter"]),
        ("cameras", "OPENCV", "GIBBERISH", ["camera 1", "GIBBERISH"]),
        ("cameras", " 10 11 ", " nan 11 ", ["nan"]),
        ("cameras", " 10 11 ", " ten 11 ", ["not a number"]),
        ("cameras", " 10 11 ", " 10 ", ["wrong number of parameters", "7", "8 for OPENCV"]),
        ("images", "000.png", "", ["no name"]),
        ("images", " 1 000.png", " 5 000.png", ["camera that is not there", "5"]),
    ],
)
def test_bad_colmap_text(colmap_scene, name, old, new, words):
    file = colmap_scene / f"txt/sparse/0/{name}.txt"
    edit(file, old, new)
    with pytest.raises(DataError) as caught:
        load_scene(colmap_scene / "txt")
    assert caught.value.file == file
    for word in words:
        assert word in str(caught.value)


def test_bad_colmap_binary(colmap_scene):
    file = colmap_scene / "bin/sparse/0/cameras.bin"
    whole = file.read_bytes()
    for number, word in ((10, "THIN_PRISM_FISHEYE"), (99, "number 99")):
        file.write_bytes(whole[:12] + struct.pack("<i", number) + whole[16:])
        with pytest.raises(DataError, match="not supported") as caught:
            load_scene(colmap_scene / "bin")
        assert word in str(caught.value)
        assert "camera 1" in str(caught.value)
    file.write_bytes(whole)
    images = colmap_scene / "bin/sparse/0/images.bin"
    content = images.read_bytes()
    images.write_bytes(content[:20] + struct.pack("<d", float("nan")) + content[28:])
    with pytest.raises(DataError, match="not finite") as caught:
        load_scene(colmap_scene / "bin")
    assert caught.value.file == images


def test_colmap_without_pictures_or_points(colmap_scene):
    for path in (colmap_scene / "bin/images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="not found") as caught:
        load_scene(colmap_scene / "bin")
    assert "000.png" in str(caught.value)
    (colmap_scene / "txt/sparse/0/points3D.txt").unlink()
    with pytest.raises(DataError, match="no points"):
        load_scene(colmap_scene / "txt")


def test_one_colmap_picture_missing(colmap_scene):
    (colmap_scene / "bin/images/002.png").unlink()
    with pytest.raises(DataError, match="missing") as caught:
        load_scene(colmap_scene / "bin")
    assert caught.value.file == colmap_scene / "bin/images/002.png"
    scene = load_scene(colmap_scene / "bin", SceneOptions(skip_bad_frames=True))
    assert sum(len(views) for views in scene.splits.values()) == 3


def test_bad_blender_split_is_named(tmp_path):
    pose = ring(1)[0]
    write_image(tmp_path / "train/r_0.png")
    matrix = np.eye(4)
    matrix[:3] = pose
    frame = {"file_path": "train/r_0", "transform_matrix": matrix.tolist()}
    (tmp_path / "transforms_train.json").write_text(json.dumps({"camera_angle_x": 1.0, "frames": [frame]}))
    (tmp_path / "transforms_test.json").write_text(json.dumps({"camera_angle_x": 1.0, "frames": [{"file_path": "x"}]}))
    with pytest.raises(DataError) as caught:
        load_scene(tmp_path)
    assert caught.value.file == tmp_path / "transforms_test.json"


def test_pictures_of_one_field_of_view_differ_in_shape(tmp_path):
    frames = []
    for i in range(4):
        write_image(tmp_path / f"train/r_{i}.png", 12, 8 if i == 2 else 12)
        pose = np.eye(4)
        pose[2, 3] = 4 + i
        frames.append({"file_path": f"./train/r_{i}", "transform_matrix": pose.tolist()})
    text = json.dumps({"camera_angle_x": 0.8, "frames": frames})
    (tmp_path / "transforms_train.json").write_text(text)
    with pytest.raises(DataError, match="differ in shape") as caught:
        load_scene(tmp_path)
    assert "r_2.png" in str(caught.value)
    assert "12x8" in str(caught.value)
