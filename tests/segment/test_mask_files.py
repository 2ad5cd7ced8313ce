"""Masks in all the forms they come in, and in some in which they should not."""

from __future__ import annotations

import json

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from fieldlab.errors import DataError
from fieldlab.segment.mask_files import read_masks
from fieldlab.segment.truth import read_truth
from fieldlab.synthetic.rle import encode_rle

SIZE = (10, 14)
NAMES = ["r_0", "r_1", "r_10"]


def mask(x: int, y: int = 2, width: int = 4) -> np.ndarray:
    made = np.zeros(SIZE, bool)
    made[y : y + 5, x : x + width] = True
    return made


MASKS = {"r_0": [mask(1), mask(8)], "r_1": [mask(3)], "r_10": [mask(0), mask(5), mask(9)]}


def read(path, names=NAMES, size=SIZE, **options):
    return read_masks(path, names, [size] * len(names), **options)


def check(found, wanted=MASKS):
    assert set(found) == set(wanted)
    for name, masks in wanted.items():
        assert len(found[name]) == len(masks)
        for i, expected in enumerate(masks):
            assert (found[name].dense(i) == expected).all(), (name, i)


def compressed(m: np.ndarray) -> dict:
    rle = coco.encode(np.asfortranarray(m, dtype=np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


@pytest.mark.parametrize("encode", [encode_rle, compressed])
@pytest.mark.parametrize("below", ["", "train"])
def test_run_lengths(tmp_path, encode, below):
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    for name, masks in MASKS.items():
        (folder / f"{name}.json").write_text(json.dumps([{"segmentation": encode(m)} for m in masks]))
    check(read(tmp_path))


def test_compressed_run_lengths_of_many_shapes_add_up(tmp_path):
    rng = np.random.default_rng(0)
    masks = [rng.random(SIZE) < share for share in (0.01, 0.2, 0.5, 0.7)] + [np.ones(SIZE, bool)]
    for name in ("r_0", "r_1"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"segmentation": compressed(m)} for m in masks]))
    check(read(tmp_path), {"r_0": masks, "r_1": masks})


def test_polygons(tmp_path):
    square = {"segmentation": [[1, 2, 5, 2, 5, 7, 1, 7]]}
    for name in ("r_0", "r_1"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"annotations": [square]}))
    check(read(tmp_path), {"r_0": [mask(1)], "r_1": [mask(1)]})


def test_a_picture_per_mask(tmp_path):
    for name, masks in MASKS.items():
        for i, m in enumerate(masks):
            path = tmp_path / "train_seg" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            iio.imwrite(path, m.astype(np.uint8) * 255)
        (tmp_path / "train_seg" / name / "metadata.csv").write_text("id,area\n")
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train_seg" / "r_0_inside.npy", np.zeros((2, 2), bool))
    check(read(tmp_path))


def test_pictures_of_labels_one_per_level(tmp_path):
    for name, masks in MASKS.items():
        labels = np.zeros(SIZE, np.uint16)
        for i, m in enumerate(masks):
            labels[m] = 300 * (i + 1)
        iio.imwrite(tmp_path / f"{name}.png", labels)
    check(read(tmp_path))
    whole = np.zeros((*SIZE, 3), np.uint8)
    whole[MASKS["r_0"][0] | MASKS["r_0"][1]] = (0, 0, 9)
    iio.imwrite(tmp_path / "r_0_1.png", whole)
    found = read(tmp_path)
    assert len(found["r_0"]) == 3
    assert found["r_0"].parents().tolist() == [2, 2, -1]


def test_a_data_set_in_one_file(tmp_path):
    images = [{"id": i, "file_name": f"images/{name}.jpg"} for i, name in enumerate(NAMES)]
    annotations = [
        {"image_id": i, "segmentation": encode_rle(m)} for i, name in enumerate(NAMES) for m in MASKS[name]
    ]  # fmt: skip
    file = tmp_path / "masks.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    check(read(file))
    file.write_text(json.dumps({"images": images, "annotations": [{"segmentation": []}]}))
    with pytest.raises(DataError, match="incomplete"):
        read(file)


def test_masks_of_larger_photographs_are_made_smaller(tmp_path):
    for name in ("r_0", "r_1"):
        large = np.kron(mask(3), np.ones((2, 2))).astype(np.uint8)
        iio.imwrite(tmp_path / f"{name}.png", large)
    check(read(tmp_path), {"r_0": [mask(3)], "r_1": [mask(3)]})


def test_other_views_masks_are_left_alone(tmp_path):
    for name in ("r_0", "r_1", "r_7"):
        iio.imwrite(tmp_path / f"{name}.png", mask(3).astype(np.uint8))
    assert set(read(tmp_path, others=["r_7"])) == {"r_0", "r_1"}
    with pytest.raises(DataError, match=r"do not exist(.|\n)*r_7"):
        read(tmp_path)


def one_bad(tmp_path, entry) -> None:
    for name, value in (("r_0", entry), ("r_1", {"segmentation": encode_rle(mask(1))})):
        (tmp_path / f"{name}.json").write_text(json.dumps([value]))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"segmentation": {"size": [10, 14], "counts": [100, 41]}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": [-5, 145]}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": "0"}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": "`"}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": "\u007f"}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": None}}, "add up"),
        ({"segmentation": {"size": [10], "counts": []}}, "no size"),
        ({"segmentation": {"size": [9, 20], "counts": [180]}}, "another size"),
        ({"segmentation": {"size": [-48, -48], "counts": [2304]}}, "another size"),
        ({"segmentation": {"size": [10_000_000, 14_000_000], "counts": [140_000_000_000_000]}}, "another size"),
        ({"segmentation": {"size": [float("inf"), 14], "counts": [140]}}, "no size"),
        ({"segmentation": {"size": [10, 14], "counts": [[1, 2], [3]]}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": [1 << 70]}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": [1 << 63, 1 << 63, 140]}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": "\ud800"}}, "add up"),
        ({"segmentation": {"size": [10, 14], "counts": "P" * 10 + "0"}}, "without an end"),
        ({"segmentation": [[1, 2, 3, 4]]}, "three corners"),
        ({"segmentation": [[1e9, 2e9, 3e9, 4, 10, 2e9]]}, "far outside"),
        ({"segmentation": [[1, 2, 5, 2, 5, -10.5]]}, "far outside"),
        ({"segmentation": [[1, 2, 5, 2, 5, 10**400]]}, "no list of numbers"),
        ({"segmentation": [[-14, -10, 28, 20] * 100_000]}, "too long"),
        ({"segmentation": ["no"]}, "no list of numbers"),
        ({"area": 3}, "no segmentation"),
        ("mask", "list of objects"),
    ],
)
def test_what_is_no_mask(tmp_path, entry, words):
    one_bad(tmp_path, entry)
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path)
    assert caught.value.file == tmp_path / "r_0.json"


def test_polygons_may_leave_their_photograph(tmp_path):
    for name in ("r_0", "r_1"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"segmentation": [[-3, 2, 5, 2, 5, 7, -3, 7]]}]))
    check(read(tmp_path), {"r_0": [mask(0, width=5)], "r_1": [mask(0, width=5)]})


def test_pictures_that_are_none(tmp_path):
    one_bad(tmp_path, {"segmentation": encode_rle(mask(3))})
    (tmp_path / "r_0.json").unlink()
    file = tmp_path / "r_0.png"
    iio.imwrite(file, np.random.default_rng(0).integers(0, 9, SIZE, dtype=np.uint8))
    whole = file.read_bytes()
    for data in (b"", b"\x89P", whole[:2], whole[:30], whole[:50]):
        file.write_bytes(data)
        with pytest.raises(DataError, match="picture of masks cannot be read") as caught:
            read(tmp_path)
        assert caught.value.file == file
        level = tmp_path / "truth" / "coarse" / "r_0.png"
        level.parent.mkdir(parents=True, exist_ok=True)
        level.write_bytes(data)
        with pytest.raises(DataError, match="picture of labels cannot be read"):
            read_truth(tmp_path / "truth", "r_0")


def test_grays_with_opacity(tmp_path):
    for name in ("r_0", "r_1"):
        gray = mask(3).astype(np.uint8) * 9
        Image.fromarray(np.stack((gray, np.full_like(gray, 255)), axis=2), "LA").save(tmp_path / f"{name}.png")
    check(read(tmp_path), {"r_0": [mask(3)], "r_1": [mask(3)]})


def test_too_little(tmp_path):
    with pytest.raises(DataError, match="no masks"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="fewer than two"):
        read(tmp_path)
    one_bad(tmp_path, {"segmentation": encode_rle(np.zeros(SIZE, bool))})  # empty
    with pytest.raises(DataError, match="fewer than two"):
        read(tmp_path)
    for text in ("{", "[" * 200_000):
        (tmp_path / "r_0.json").write_text(text)
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path)
    rng = np.random.default_rng(0)
    iio.imwrite(tmp_path / "r_0.png", rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    (tmp_path / "r_0.json").unlink()
    assert len(read(tmp_path)["r_0"]) > 50
