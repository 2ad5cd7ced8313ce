"""Colors, sheets and video files."""

from __future__ import annotations

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image

from fieldlab.errors import ConfigError, RunFolderError
from fieldlab.pictures.colormap import (
    DepthRange,
    color_depth,
    color_normals,
    color_opacity,
    depth_range,
    heat,
    rainbow,
)
from fieldlab.pictures.sheets import (
    beside,
    depth_legend,
    error_legend,
    error_picture,
    fitted,
    labeled,
    sheet,
    to_uint8,
    write_picture,
)
from fieldlab.pictures.video import check_output, even, write_frames

WHITE = torch.ones(3)


def test_maps_are_continuous_bounded_and_ordered():
    values = torch.linspace(-0.5, 1.5, 4001)
    for colors in (rainbow(values), heat(values)):
        assert colors.min() >= 0
        assert colors.max() <= 1
        assert colors.diff(dim=0).abs().max() < 0.01
    lightness = heat(torch.linspace(0, 1, 200)) @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert (lightness.diff() > 0).all()
    assert rainbow(torch.tensor([0.0]))[0, 2] > rainbow(torch.tensor([0.0]))[0, 1]
    assert rainbow(torch.tensor(float("nan"))).isfinite().all()


def test_depth_is_warm_near_and_background_where_empty():
    depth = torch.tensor([[2.0, 6.0, 3.0]])
    colors = color_depth(depth, torch.tensor([[1.0, 1.0, 0.0]]), DepthRange(2.0, 6.0), WHITE)
    assert torch.allclose(colors[0, 0], rainbow(torch.tensor(1.0)))
    assert torch.allclose(colors[0, 1], rainbow(torch.tensor(0.0)))
    assert torch.allclose(colors[0, 2], WHITE)
    middle = color_depth(torch.tensor([[3.0]]), torch.ones(1, 1), DepthRange(2.0, 6.0), WHITE)
    assert torch.allclose(middle[0, 0], rainbow(torch.tensor(0.5)), atol=1e-5)  # 1/3 is halfway from 1/6 to 1/2


def test_depth_range_ignores_what_is_empty():
    depth = torch.linspace(1, 5, 1000).reshape(10, 100)
    opacity = torch.ones(10, 100)
    opacity[5:] = 0
    found = depth_range([depth], [opacity])
    assert found.near == pytest.approx(1.02, abs=0.01)
    assert found.far == pytest.approx(2.98, abs=0.02)
    assert depth_range([depth], [torch.zeros(10, 100)]).near < depth_range([depth], [torch.zeros(10, 100)]).far


def test_normals_and_opacity():
    normal = torch.tensor([[[0.0, 0.0, 1.0]]])
    assert torch.allclose(color_normals(normal, torch.ones(1, 1), WHITE)[0, 0], torch.tensor([0.5, 0.5, 1.0]))
    assert torch.equal(color_opacity(torch.tensor([[0.25]])), torch.full((1, 1, 3), 0.25))


def test_error_picture_is_dark_where_right():
    target = torch.full((4, 4, 3), 0.5)
    prediction = target.clone()
    prediction[0, 0] += 0.3
    picture = error_picture(prediction, target)
    assert picture[1, 1].sum() < 20
    assert picture[0, 0].sum() > 600


def test_sheet_holds_its_pictures_unchanged():
    red = np.full((20, 30, 3), (255, 0, 0), np.uint8)
    blue = np.full((40, 10, 3), (0, 0, 255), np.uint8)
    made = sheet([[red, blue], [labeled(red, "a label longer than the picture")]])
    assert (made == (255, 0, 0)).all(-1).sum() == 2 * 600
    assert (made == (0, 0, 255)).all(-1).sum() == 400
    assert (made[0] == 255).all()
    assert beside([red, blue]).shape == (40, 46, 3)
    assert fitted(red, 10).shape == (10, 15, 3)
    assert labeled(red, "x").shape[1] == 30
    assert labeled(red, "a label longer than the picture").shape[1] > 100
    assert (labeled(np.full((20, 60, 3), 255, np.uint8), "text") < 128).any()  # something is written


def test_legends_fit_their_height():
    for height in (40, 200):
        for legend in (depth_legend(height, DepthRange(1, 4)), error_legend(height)):
            assert legend.shape[0] == height
            assert (legend[:, 20:] < 100).any()


def test_rounding_and_picture_files(tmp_path):
    picture = to_uint8(torch.tensor([[[0.0, 1.0, 0.5], [-1.0, 2.0, 1 / 255]]]))
    assert picture.tolist() == [[[0, 255, 128], [0, 255, 1]]]
    write_picture(tmp_path / "a" / "p.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / "p.png")), picture)
    with pytest.raises(ConfigError, match="suffix"):
        write_picture(tmp_path / "p.xyz", picture)


def frames(n: int, height: int = 33, width: int = 47):
    for i in range(n):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:, : 4 * (i + 1)] = (200, 60, 20)
        yield frame


def test_mp4_has_even_size_all_frames_and_their_colors(tmp_path):
    seen = []
    assert write_frames(tmp_path / "v.mp4", frames(7), 10, seen.append) == 7
    assert seen == list(range(1, 8))
    reader = imageio.get_reader(tmp_path / "v.mp4")
    read = [frame for frame in reader]  # noqa: C416  (list() asks for a length, which is infinite)
    assert len(read) == 7
    assert read[0].shape == (34, 48, 3)
    assert reader.get_meta_data()["fps"] == 10
    assert np.abs(read[6][10:20, 4:20].astype(int) - (200, 60, 20)).max() < 16
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_gif_plays_at_its_rate_and_for_ever(tmp_path):
    write_frames(tmp_path / "v.gif", frames(5), 20)
    gif = Image.open(tmp_path / "v.gif")
    assert gif.n_frames == 5
    assert gif.info["duration"] == 50
    assert gif.info["loop"] == 0
    assert gif.size == (47, 33)


def test_folder_and_single_picture(tmp_path):
    write_frames(tmp_path / "out", frames(3), 20)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "00001.png")), list(frames(2))[1])
    with pytest.raises(ConfigError, match="not empty"):
        write_frames(tmp_path / "out", frames(3), 20)
    write_frames(tmp_path / "one.png", frames(1), 20)
    assert Image.open(tmp_path / "one.png").size == (47, 33)
    with pytest.raises(ConfigError, match="one frame"):
        write_frames(tmp_path / "two.png", frames(2), 20)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "out"]


@pytest.mark.parametrize("name", ["v.mp4", "v.gif", "v.png", "v"])
def test_nothing_partial_stays(tmp_path, name):
    def breaking():
        yield from frames(2)
        raise KeyboardInterrupt

    def nothing():
        return iter(())

    if name != "v.png":
        with pytest.raises(KeyboardInterrupt):
            write_frames(tmp_path / name, breaking(), 10)
    with pytest.raises(ConfigError, match="no frames"):
        write_frames(tmp_path / name, nothing(), 10)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be(tmp_path):
    for name, kind in (("a.mp4", "mp4"), ("a.GIF", "gif"), ("a.png", "png"), ("a", "folder")):
        assert check_output(tmp_path / name) == kind
    with pytest.raises(ConfigError, match="kind of file"):
        check_output(tmp_path / "a.avi")
    (tmp_path / "d.mp4").mkdir()
    with pytest.raises(ConfigError, match="folder in the place"):
        check_output(tmp_path / "d.mp4")
    for fps in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="frame rate"):
            write_frames(tmp_path / "a.mp4", frames(2), fps)
    (tmp_path / "file").write_text("")
    for name in ("a.mp4", "a.gif", "b"):
        with pytest.raises(RunFolderError):
            write_frames(tmp_path / "file" / name, frames(2), 5)


def test_even():
    assert even(np.zeros((3, 4, 3))).shape == (4, 4, 3)
    assert even(np.zeros((4, 5, 3))).shape == (4, 6, 3)
