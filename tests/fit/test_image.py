"""Pictures at their own precision, their pixels as a signal, and fitting them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fieldlab.errors import ConfigError, DataError
from fieldlab.fit.config import FitSettings, ImageOptions
from fieldlab.fit.fitting import Fitting, Placed
from fieldlab.fit.image import ImageTask, error_map, gradient_magnitude, pixel_centers, reconstruct, round_up, score
from fieldlab.fit.photo import Photo, read_photo, write_photo
from fieldlab.fit.signal import Signal
from tests.fit.shapes import SMALL


def waves(height=24, width=40, channels=3) -> Photo:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    planes = [0.5 + 0.4 * torch.sin(7 * x * (c + 1) + 3 * y) for c in range(channels)]
    return Photo(torch.stack(planes, dim=-1), 8)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_kind_of_png_comes_back_exactly(tmp_path, bits, channels):
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 1 << bits, (9, 7, channels))
    photo = Photo(torch.from_numpy((stored / ((1 << bits) - 1)).astype(np.float32)), bits)
    path = tmp_path / "made.png"
    write_photo(path, photo)
    again = read_photo(path)
    assert again.bits == bits
    assert np.array_equal((again.values.numpy() * again.levels).round(), stored)
    with Image.open(path) as seen:  # another reader agrees on size and on the upper eight bits
        assert seen.size == (7, 9)
        if channels in (3, 4):
            assert np.abs(np.asarray(seen).astype(int) - stored // (1 << (bits - 8))).max() <= 1


def test_palettes_and_single_bits(tmp_path):
    colors = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    palette = Image.fromarray(colors).quantize(5)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read_photo(tmp_path / "palette.png").values * 255, np.asarray(palette.convert("RGB")))
    palette.save(tmp_path / "clear.png", transparency=0)
    assert read_photo(tmp_path / "clear.png").values.shape == (8, 8, 4)
    Image.fromarray(colors[..., 0] > 100).save(tmp_path / "bits.png")
    assert set(read_photo(tmp_path / "bits.png").values.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("turned", range(1, 9))
def test_pictures_are_upright(tmp_path, turned):
    from PIL import ImageOps

    stored = np.random.default_rng(0).integers(0, 255, (5, 8, 3)).astype(np.uint8)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = turned
    image.save(tmp_path / "turned.png", exif=image.getexif())
    with Image.open(tmp_path / "turned.png") as seen:
        wanted = np.asarray(ImageOps.exif_transpose(seen))
    assert np.array_equal((read_photo(tmp_path / "turned.png").values * 255).round(), wanted)


def test_values_beyond_16_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match="do not fit 16 bits"):
        read_photo(tmp_path / "deep.tif")


def test_a_picture_of_one_color_has_no_place_of_importance():
    assert bool((ImageTask(Photo(torch.zeros(6, 6, 3), 8)).importance() == 1).all())


def test_what_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="missing"):
        read_photo(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match="not a picture"):
        read_photo(tmp_path / "text.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match="not a picture"):
        read_photo(tmp_path / "empty.png")
    for bits in (8, 16):
        path = tmp_path / f"cut{bits}.png"
        write_photo(path, Photo(torch.rand(50, 50, 3), bits))
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(DataError, match="damaged"):
            read_photo(path)
    Image.fromarray(np.random.default_rng(0).random((4, 4)).astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="floating-point"):
        read_photo(tmp_path / "float.tif")


def test_cropping_and_shrinking():
    photo = Photo(torch.rand(20, 32, 3), 8)
    square = photo.prepared(ImageOptions("square")).values
    assert torch.equal(square, photo.quantized().values[:, 6:26])
    half = photo.prepared(ImageOptions("none", 16))
    wanted = photo.values.reshape(10, 2, 16, 2, 3).mean((1, 3))
    assert (half.values - wanted).abs().max() <= 0.5 / 255 + 1e-6
    clear = torch.zeros(2, 2, 4)
    clear[0, 0] = 1.0
    assert photo.prepared(ImageOptions("none", 1)).values.shape == (1, 1, 3)
    clear = Photo(clear, 16).prepared(ImageOptions("none", 1)).values
    assert torch.allclose(clear, torch.tensor([1, 1, 1, 0.25]), atol=1e-4)
    for options in ({"crop": "round"}, {"size": 0}):
        with pytest.raises(ConfigError):
            ImageOptions(**options)


def test_pixel_centers_keep_the_aspect():
    wanted = [[x, y] for y in (0.125, 0.375) for x in (0.125, 0.375, 0.625, 0.875)]
    assert torch.allclose(pixel_centers(2, 4), torch.tensor(wanted))


def test_a_batch_takes_one_pixel_of_each_run():
    task = ImageTask(waves(10, 10))
    generator = torch.Generator().manual_seed(0)
    chosen = torch.stack([task.batch(0, 20, generator) for _ in range(200)])
    assert torch.equal(chosen // 5, torch.arange(20).expand(200, 20))
    assert set(chosen[:, 3].tolist()) == {15, 16, 17, 18, 19}
    assert task.x[task.batch(0, 100, generator)].shape == task.x[task.batch(0, 1000, generator)].shape == (100, 2)


def test_gradients_of_a_ramp_and_of_an_edge():
    ramp = torch.arange(12.0).expand(6, 12)[..., None] / 12
    assert torch.allclose(gradient_magnitude(ramp)[:, 1:-1], torch.tensor(1 / 12))
    both = torch.cat((ramp, ramp), dim=2)
    assert torch.allclose(gradient_magnitude(both)[:, 1:-1], torch.tensor(2**0.5 / 12))
    assert gradient_magnitude(torch.ones(5, 5, 3)).abs().max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_waves_are_learnt(channels):
    photo = waves(channels=channels)
    task = ImageTask(photo)
    signal = Signal(SMALL, 2, channels, torch.Generator().manual_seed(0))
    fitting = Fitting(signal, task, FitSettings(steps=200))
    fitting.start()
    events = list(fitting.events())
    assert events[0].learning_rate == pytest.approx(1e-2)
    assert events[-1].learning_rate == pytest.approx(1e-4, rel=0.05)
    made = reconstruct(signal, photo)
    found = score(made, photo)
    assert found.psnr > 35
    assert found.ssim is not None
    assert found.ssim > 0.95
    assert error_map(made, photo).dtype == np.uint8
    assert score(photo, photo).psnr == float("inf")


def test_small_pictures_have_no_ssim():
    photo = waves(3, 5)
    assert score(photo, photo).ssim is None
    one = ImageTask(waves(1, 1))
    fitting = Fitting(Signal(SMALL, 2, 3), one, FitSettings(steps=2))
    assert len(list(fitting.events())) == 2
    with pytest.raises(DataError, match="no pixels"):
        ImageTask(Photo(torch.zeros(0, 4, 3), 8))


@pytest.mark.parametrize(("value", "wanted"), [(0.0, 1e-6), (0.011, 0.02), (0.2, 0.2), (0.51, 1.0), (7.0, 10.0)])
def test_scales_end_at_round_numbers(value, wanted):
    assert round_up(value) == pytest.approx(wanted)


class Mosaic(torch.nn.Module):
    """An encoding that lays itself out: one value per point, found by its place in the list it was laid out for."""

    def __init__(self, count):
        super().__init__()
        self.dims, self.n_out = 2, 1
        self.values = torch.nn.Parameter(torch.zeros(count))
        self.placed = None
        self.looked_up = 0

    def place(self, points, weights, generator):
        self.placed = points, weights

    def nearest(self, x):
        self.looked_up += len(x)
        return torch.cdist(x, self.placed[0]).argmin(1, keepdim=True).int()

    def forward(self, x, neighbors=None):
        return self.values[(self.nearest(x) if neighbors is None else neighbors)[:, 0].long()][:, None]

    def param_groups(self):
        return []

    def advance(self, progress):
        return False

    def regularize(self, fraction):
        pass


def test_encodings_that_adapt_are_laid_out_once_and_asked_once_for_neighbors():
    photo = waves(6, 8, 1)
    signal = Signal(SMALL, 2, 1)
    signal.encoding = Mosaic(48)
    signal.decoder = type(signal.decoder)(1, 1, 16, 1)
    signal.decoder_params = torch.nn.Parameter(torch.randn(signal.decoder.n_params))
    assert isinstance(signal.encoding, Placed)
    fitting = Fitting(signal, ImageTask(photo), FitSettings(steps=5, batch=16))
    fitting.start()
    list(fitting.events())
    assert torch.equal(signal.encoding.placed[1], gradient_magnitude(photo.values).reshape(-1))
    assert signal.encoding.looked_up == 48
    assert not isinstance(Signal(SMALL, 2, 1).encoding, Placed)
