"""Frames of videos that are written here: which are taken, how they are turned, and going on."""

from __future__ import annotations

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from fieldlab.capture.video import default_frames, duration, frame_name, sharpest, sharpness, write_frames
from fieldlab.errors import DataError

WIDTH, HEIGHT, COUNT = 96, 64, 20
SHARP = [2, 9, 11, 19]  # one of each five


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Twenty frames at 10 a second: the one of number i is red with strength 10 i at its top left, and noise below."""
    path = tmp_path_factory.mktemp("video") / "a clip: 1.mp4"
    generator = np.random.default_rng(0)
    writer = imageio_ffmpeg.write_frames(str(path), (WIDTH, HEIGHT), fps=10, quality=None, output_params=["-crf", "5"])
    writer.send(None)
    for i in range(COUNT):
        frame = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
        frame[32:] = generator.integers(0, 255, (32, WIDTH, 1)) if i in SHARP else 128
        frame[:32, :48] = [10 * i + 30, 0, 0]
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    return path


@pytest.mark.slow
def test_the_sharpest_of_each_interval(video):
    told = []
    values = sharpness(video, told.append)
    assert told == list(range(1, COUNT + 1))
    assert sharpest(values, 4) == SHARP
    assert duration(video) == pytest.approx(2.0, abs=0.15)


@pytest.mark.slow
def test_frames_go_on_and_are_the_right_ones(video, tmp_path):
    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_frames(video, SHARP, tmp_path, stop)
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    assert sorted(before) == [frame_name(2), frame_name(9)]
    told = []
    write_frames(video, SHARP, tmp_path, told.append)
    assert told == [2, 3, 4]
    assert before.items() <= {path.name: path.stat().st_ino for path in tmp_path.iterdir()}.items()
    for i in SHARP:
        with Image.open(tmp_path / frame_name(i)) as image:
            assert image.size == (WIDTH, HEIGHT)
            assert np.asarray(image)[8, 8, 0] == pytest.approx(10 * i + 30, abs=12)


@pytest.mark.slow
def test_rotation_is_honored(video, tmp_path):
    turned = tmp_path / "turned.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", "90", "-i", f"file:{video}"]
    subprocess.run([*command, "-c", "copy", str(turned)], check=True)
    write_frames(turned, [19], tmp_path, lambda done: None)
    with Image.open(tmp_path / frame_name(19)) as image:
        assert image.size == (HEIGHT, WIDTH)
        assert np.asarray(image)[WIDTH - 8, 8, 0] > 150  # a quarter turn counterclockwise takes top left to bottom left


@pytest.mark.slow
def test_a_video_that_is_cut_short_gives_what_it_has(video, tmp_path):
    whole = tmp_path / "whole.mkv"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", f"file:{video}"]
    subprocess.run([*command, "-c:v", "mjpeg", str(whole)], check=True)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 3 < len(sharpness(cut, lambda done: None)) < COUNT


def test_no_video(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x" * 100)
    for read in (duration, lambda path: sharpness(path, lambda done: None)):
        with pytest.raises(DataError, match="cannot be read") as caught:
            read(path)
        assert "clip.mp4" in str(caught.value)


@pytest.mark.parametrize(("seconds", "expected"), [(1, 40), (20, 50), (600, 150)])
def test_how_many_frames(seconds, expected):
    assert default_frames(seconds) == expected


def test_fewer_frames_than_asked_for():
    assert sharpest(np.arange(5.0), 9) == [0, 1, 2, 3, 4]
    assert sharpest(np.array([]), 9) == []
