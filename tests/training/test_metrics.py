"""PSNR, SSIM and LPIPS against their formulas and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fieldlab.errors import CheckpointError, DataError
from fieldlab.training.lpips import CONVOLUTIONS, Lpips, load_lpips
from fieldlab.training.metrics import color_fitted, psnr, ssim, ssim_map


def pair(height: int, width: int, noise: float = 0.1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 8
    target = np.stack([np.sin(x) * 0.4 + 0.5, np.cos(y) * 0.4 + 0.5, np.sin(x * y / 9) * 0.3 + 0.5], -1)
    prediction = np.clip(target + rng.normal(0, noise, target.shape), 0, 1)
    return torch.tensor(prediction, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)


def test_psnr_of_a_constant_difference():
    assert psnr(torch.full((4, 5, 3), 0.6), torch.full((4, 5, 3), 0.5)) == pytest.approx(20.0, abs=1e-5)
    assert psnr(torch.ones(4, 5, 3), torch.ones(4, 5, 3)) == math.inf


def test_psnr_clips_before_it_compares():
    assert psnr(torch.full((2, 2, 3), 7.0), torch.full((2, 2, 3), 0.9)) == pytest.approx(20.0, abs=1e-4)


@given(st.integers(11, 40), st.integers(11, 40), st.floats(0.001, 0.4), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_both_metrics_agree_with_scikit_image(height: int, width: int, noise: float, seed: int):
    prediction, target = pair(height, width, noise, seed)
    a, b = target.numpy().astype(np.float64), prediction.numpy().astype(np.float64)
    assert psnr(prediction, target) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-3)
    expected = structural_similarity(
        a, b, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(prediction, target) == pytest.approx(expected, abs=1e-6)


def test_ssim_map_is_the_formula_of_one_window():
    prediction, target = pair(13, 17)
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    row, column, channel = 1, 4, 2
    x = prediction[row : row + 11, column : column + 11, channel].double().numpy()
    y = target[row : row + 11, column : column + 11, channel].double().numpy()
    mx, my = (window * x).sum(), (window * y).sum()
    vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
    cov = (window * (x - mx) * (y - my)).sum()
    expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert float(ssim_map(prediction, target)[row, column, channel]) == pytest.approx(expected, abs=1e-9)


def test_masks_leave_pixels_out():
    prediction, target = pair(30, 30)
    spoiled = prediction.clone()
    spoiled[:, 20:] = 1
    mask = torch.zeros(30, 30, dtype=torch.bool)
    mask[:, :15] = True  # window radius 5 reaches column 19
    assert psnr(spoiled, target, mask) == pytest.approx(psnr(prediction[:, :15], target[:, :15]))
    assert ssim(spoiled, target, mask) == pytest.approx(ssim(prediction[:, :20], target[:, :20]))
    for metric in (psnr, ssim):
        with pytest.raises(DataError, match="no pixel"):
            metric(prediction, target, torch.zeros(30, 30, dtype=torch.bool))


def test_shapes_are_checked():
    with pytest.raises(DataError, match="different shapes"):
        psnr(torch.zeros(4, 4, 3), torch.zeros(4, 5, 3))
    with pytest.raises(DataError, match="too small"):
        ssim(torch.zeros(10, 40, 3), torch.zeros(10, 40, 3))


def weights(path, layout: str = "lin{}.weight", **replaced):
    generator = torch.Generator().manual_seed(1)
    arrays = {}
    for i, (name, (n_in, n_out, kernel, *_)) in enumerate(CONVOLUTIONS.items()):
        arrays[f"{name}.weight"] = torch.randn(n_out, n_in, kernel, kernel, generator=generator) / (kernel * n_in**0.5)
        arrays[f"{name}.bias"] = torch.randn(n_out, generator=generator) * 0.1
        arrays[layout.format(i)] = torch.rand(1, n_out, 1, 1, generator=generator)
    arrays.update(replaced)
    save_file({name: value for name, value in arrays.items() if value is not None}, path)
    return path


def test_lpips_is_the_weighted_distance_of_unit_features(tmp_path):
    network = load_lpips(weights(tmp_path / "w.safetensors"))
    prediction, target = pair(64, 80)
    assert network.distance(target, target) == 0
    far = network.distance(pair(64, 80, 0.3)[0], target)
    near = network.distance(pair(64, 80, 0.03)[0], target)
    assert 0 < near < far

    arrays = weights(tmp_path / "again.safetensors")
    assert arrays.is_file()
    features = [network.features(image.permute(2, 0, 1)[None] * 2 - 1) for image in (prediction, target)]
    assert [tuple(f.shape[1:]) for f in features[0]] == [
        (64, 15, 19), (192, 7, 9), (384, 3, 4), (256, 3, 4), (256, 3, 4)
    ]  # fmt: skip
    total = 0.0
    for a, b, head in zip(*features, network.heads, strict=True):
        for row in range(a.shape[2]):
            for column in range(a.shape[3]):
                u, v = a[0, :, row, column], b[0, :, row, column]
                total += float((head * (u / u.norm() - v / v.norm()) ** 2).sum()) / (a.shape[2] * a.shape[3])
    assert network.distance(prediction, target) == pytest.approx(total, rel=1e-4)


def test_lpips_reads_both_names_of_the_heads(tmp_path):
    one = load_lpips(weights(tmp_path / "a.safetensors"))
    other = load_lpips(weights(tmp_path / "b.safetensors", "lin{}.model.1.weight"))
    assert all(torch.equal(a, b) for a, b in zip(one.heads, other.heads, strict=True))


def test_lpips_errors_name_the_file_and_the_array(tmp_path):
    with pytest.raises(CheckpointError, match="missing"):
        load_lpips(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00\x01")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_lpips(tmp_path / "cut.safetensors")
    with pytest.raises(CheckpointError, match=r"lin2\.weight"):
        load_lpips(weights(tmp_path / "short.safetensors", **{"lin2.weight": None}))
    with pytest.raises(CheckpointError, match="wrong size"):
        load_lpips(weights(tmp_path / "wide.safetensors", **{"features.0.bias": torch.zeros(65)}))
    with pytest.raises(DataError, match="too small"):
        Lpips().distance(torch.zeros(20, 20, 3), torch.zeros(20, 20, 3))


def test_colors_are_fitted_by_the_best_affine_map():
    g = torch.Generator().manual_seed(0)
    target = torch.rand(12, 12, 3, generator=g)
    change = torch.eye(3) * 0.8 + 0.05 * torch.rand(3, 3, generator=g)
    prediction = ((target - 0.05) @ change).clamp(0, 1)
    inside = ((prediction > 0) & (prediction < 1)).all(-1)
    assert psnr(prediction, target) < 25
    assert psnr(color_fitted(prediction, target, inside), target, inside) > 60


def test_masked_pixels_have_no_say_in_the_fit():
    g = torch.Generator().manual_seed(0)
    target = torch.rand(12, 12, 3, generator=g)
    mask = torch.ones(12, 12, dtype=torch.bool)
    mask[:, :6] = False
    spoilt = target.clone()
    spoilt[:, :6] = 0.0
    assert psnr(color_fitted(0.5 * target, spoilt, mask), spoilt, mask) > 60
    assert psnr(color_fitted(0.5 * target, spoilt), spoilt, mask) < 40


def test_a_picture_of_one_color_can_be_fitted():
    flat, target = torch.full((12, 12, 3), 0.2), torch.full((12, 12, 3), 0.6)
    assert psnr(color_fitted(flat, target), target) > 60
