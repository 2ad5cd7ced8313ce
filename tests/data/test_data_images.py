"""Pictures and masks: every mode becomes bytes, and making smaller respects alpha."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fieldlab.data import images
from fieldlab.data.images import image_size, read_image, read_mask, resize_area, resize_mask
from fieldlab.errors import DataError


def brute_area(values, width, height):
    """Area average of [H,W,C] by overlap of pixel squares."""
    rows, columns, channels = values.shape
    out = np.zeros((height, width, channels))
    for y in range(height):
        for x in range(width):
            top, bottom = y * rows / height, (y + 1) * rows / height
            left, right = x * columns / width, (x + 1) * columns / width
            for j in range(rows):
                for i in range(columns):
                    overlap = max(0, min(bottom, j + 1) - max(top, j)) * max(0, min(right, i + 1) - max(left, i))
                    out[y, x] += overlap * values[j, i]
    return out / (rows / height * columns / width)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(0, 10_000))
def test_area_average_by_whole_factors(height, width, factor, seed):
    values = np.random.default_rng(seed).integers(0, 256, (height * factor, width * factor, 3), dtype=np.uint8)
    got = resize_area(values, width, height).astype(float)
    assert np.abs(got - brute_area(values.astype(float), width, height)).max() <= 0.5 + 1e-3


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 10_000))
def test_other_factors_keep_the_range_and_the_mean(height, width, seed):
    """Box filtering weighs whole pixels when the factor is no whole number, so compare means, not pixels."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = resize_area(values, max(1, width * 2 // 3), max(1, height * 2 // 3))
    assert small.shape == (max(1, height * 2 // 3), max(1, width * 2 // 3), 3)
    assert small.min() >= values.min()
    assert small.max() <= values.max()
    flat = np.full_like(values, 77)
    assert (resize_area(flat, small.shape[1], small.shape[0]) == 77).all()


def test_alpha_weighs_color():
    """A red pixel beside an empty green one stays red, half as opaque."""
    picture = np.array([[[200, 0, 0, 255], [0, 250, 0, 0]]], dtype=np.uint8)
    assert resize_area(picture, 1, 1).tolist() == [[[200, 0, 0, 128]]]
    empty = np.array([[[9, 9, 9, 0], [9, 9, 9, 0]]], dtype=np.uint8)
    assert resize_area(empty, 1, 1)[0, 0, 3] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 4), st.integers(0, 10_000))
def test_compositing_commutes_with_downscaling(height, width, factor, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height * factor, width * factor, 4), dtype=np.uint8)

    def over_white(values):
        alpha = values[..., 3:] / 255.0
        return values[..., :3] * alpha + 255 * (1 - alpha)

    got = over_white(resize_area(picture, width, height).astype(float))
    assert np.abs(got - brute_area(over_white(picture.astype(float)), width, height)).max() < 2.0


def test_mask_shrinks_conservatively():
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=bool)
    assert resize_mask(mask, 2, 1).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("mode", "shape", "value", "expected"),
    [
        ("L", (2, 3), 90, [90, 90, 90]),
        ("LA", (2, 3, 2), [90, 40], [90, 90, 90, 40]),
        ("RGB", (2, 3, 3), [1, 2, 3], [1, 2, 3]),
        ("RGBA", (2, 3, 4), [1, 2, 3, 4], [1, 2, 3, 4]),
    ],
)
def test_modes(tmp_path, mode, shape, value, expected):
    array = np.broadcast_to(np.array(value, dtype=np.uint8), shape)
    Image.fromarray(np.ascontiguousarray(array)).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert got.shape == (2, 3, len(expected))
    assert got[1, 2].tolist() == expected
    assert image_size(tmp_path / "a.png") == (3, 2, len(expected) == 4)


def test_sixteen_bits_and_palette(tmp_path):
    Image.fromarray(np.full((2, 2), 65535, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png") == 255).all()
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert read_image(tmp_path / "palette.png")[0, 0].tolist() == [10, 20, 30, 255]


def test_bad_files(tmp_path):
    with pytest.raises(DataError, match="missing"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match="not a picture"):
        image_size(tmp_path / "text.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert image_size(tmp_path / "cut.png")[:2] == (64, 64)
    with pytest.raises(DataError, match="damaged") as caught:
        read_image(tmp_path / "cut.png", described_in=tmp_path / "transforms.json", field="frames[3].file_path")
    assert "frames[3].file_path in transforms.json" in str(caught.value)
    Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="5x4"):
        read_mask(tmp_path / "mask.png", 4, 4)


def test_memory_is_known_here():
    free = images.available_memory()
    assert free is None or free > 0
