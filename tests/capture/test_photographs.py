"""Finding photographs, telling cameras apart, and making all of them readable and upright."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fieldlab.capture.photographs import cameras_of, find_photographs, prepare_photographs
from fieldlab.errors import DataError
from tests.data.data_builders import write_image

ORIENTATION, MAKE, MODEL, INNER, FOCAL = 0x0112, 0x010F, 0x0110, 0x8769, 0x920A


def save(path, picture, model=None, focal=None, orientation=None):
    exif = Image.Exif()
    if model:
        exif[MAKE], exif[MODEL] = "Maker", model
    if focal:
        exif.get_ifd(INNER)[FOCAL] = focal
    if orientation:
        exif[ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, exif=exif)


def test_finding(tmp_path):
    for name in ("b/2.png", "a.JPG", "b/1.png", ".hidden/3.png", "b/._1.png", "scene/images/a.jpg"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    found, unreadable = find_photographs(tmp_path, without=tmp_path / "scene")
    assert [photograph.name for photograph in found] == ["a.JPG", "b/1.png", "b/2.png"]
    assert unreadable == []


def test_names_in_the_scene_are_whole_and_unique(tmp_path):
    for name in ("a b.png", "a_b.png", "c.jpg"):
        write_image(tmp_path / name)
    Image.new("RGB", (8, 8)).save(tmp_path / "c.webp")
    found, _ = find_photographs(tmp_path)
    assert sorted(photograph.name for photograph in found) == ["a_b.png", "a_b_2.png", "c.jpg", "c_2.jpg"]


def test_cameras_are_told_apart(tmp_path):
    picture = np.zeros((6, 8, 3), np.uint8)
    save(tmp_path / "0.jpg", picture, "One", 4.2)
    save(tmp_path / "1.jpg", picture, "One", 4.2)
    save(tmp_path / "2.jpg", picture, "One", 9.0)
    save(tmp_path / "3.jpg", picture, "Two", 4.2)
    save(tmp_path / "4.jpg", picture.transpose(1, 0, 2), "Two", 4.2)
    save(tmp_path / "5.jpg", picture.transpose(1, 0, 2), "Two", 4.2, orientation=8)
    found, _ = find_photographs(tmp_path)
    assert cameras_of(found) == {
        "Maker, One, 4.2 mm, 8x6": 2, "Maker, Two, 4.2 mm, 8x6": 2, "Maker, One, 9 mm, 8x6": 1,
        "Maker, Two, 4.2 mm, 6x8": 1,
    }  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_the_file_says(orientation, tmp_path):
    """The upright picture has red at its top left, and tells its focal length, but no turn, any more."""
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12] = [255, 0, 0]
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    for i in range(3):
        save(tmp_path / f"photos/{i}.jpg", np.ascontiguousarray(stored), "One", 4.2, orientation)
    found, _ = find_photographs(tmp_path / "photos")
    prepare_photographs(found, tmp_path / "ready", lambda done: None)
    with Image.open(tmp_path / "ready/0.jpg") as image:
        assert image.size == (24, 16)
        shown = np.asarray(image).astype(int)
        assert image.getexif().get(ORIENTATION, 1) == 1
        assert float(image.getexif().get_ifd(INNER)[FOCAL]) == pytest.approx(4.2)
    assert shown[2, 2, 0] > 200
    assert shown[13, 20, 0] < 50
    assert (tmp_path / "ready/0.jpg").is_symlink() == (orientation == 1)


def test_transparency_and_lossless_pictures_stay(tmp_path):
    values = write_image(tmp_path / "photos/0.png", alpha=True)
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    Image.fromarray(values).save(tmp_path / "photos/0.png", exif=exif)
    for i in (1, 2):
        write_image(tmp_path / f"photos/{i}.png")
    found, _ = find_photographs(tmp_path / "photos")
    prepare_photographs(found, tmp_path / "ready", lambda done: None)
    with Image.open(tmp_path / "ready/0.png") as image:
        assert np.array_equal(np.asarray(image), values[::-1, ::-1])


def test_preparing_goes_on(tmp_path):
    for i in range(4):
        save(tmp_path / f"photos/{i}.jpg", np.zeros((8, 8, 3), np.uint8), orientation=3)
    found, _ = find_photographs(tmp_path / "photos")

    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_photographs(found, tmp_path / "ready", stop)
    assert sorted(path.name for path in (tmp_path / "ready").iterdir()) == ["0.jpg", "1.jpg"]
    (tmp_path / "ready/1.jpg").write_bytes(b"as it was")
    prepare_photographs(found, tmp_path / "ready", lambda done: None)
    assert len(list((tmp_path / "ready").iterdir())) == 4
    assert (tmp_path / "ready/1.jpg").read_bytes() == b"as it was"


def test_a_picture_that_is_cut_short(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        save(tmp_path / f"{i}.jpg", rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), orientation=3)
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2])
    found, _ = find_photographs(tmp_path)
    with pytest.raises(DataError, match="damaged") as caught:
        prepare_photographs(found, tmp_path / "ready", lambda done: None)
    assert "1.jpg" in str(caught.value)
    assert not (tmp_path / "ready/1.jpg").exists()


def test_what_cannot_be_used_is_named(tmp_path):
    for i in range(3):
        write_image(tmp_path / f"{i}.png")
    (tmp_path / "3.jpg").write_bytes(b"x")
    found, unreadable = find_photographs(tmp_path)
    assert len(found) == 3
    assert len(unreadable) == 1
    assert unreadable[0].startswith("3.jpg is left out")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/0.CR2").write_bytes(b"x")
    with pytest.raises(DataError, match=r"too few") as caught:
        find_photographs(tmp_path / "raw")
    assert "develop the .cr2 files" in str(caught.value)
