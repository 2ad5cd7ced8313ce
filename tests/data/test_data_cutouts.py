"""Objects alone in opaque pictures: on a plain background or in masks, and what only looks like it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from fieldlab.data.background import background_color
from fieldlab.data.bounds import Bounds, find_bounds
from fieldlab.data.cutouts import Cutout, find_cutout
from fieldlab.data.options import SceneOptions
from fieldlab.data.views import Views
from fieldlab.sources.load import load_scene
from tests.data.data_builders import opengl, ring
from tests.data.test_data_bounds import around, reading, silhouettes_of

SPHERES = [((0.4, -0.3, 0.2), 0.4), ((-0.5, 0.4, -0.2), 0.3)]
LOW, HIGH = (
    np.min([np.array(center) - radius for center, radius in SPHERES], axis=0),
    np.max([np.array(center) + radius for center, radius in SPHERES], axis=0),
)
DISTANCE = 4.0


def outlines(poses=None) -> Views:
    return silhouettes_of(poses or around(10, DISTANCE), SPHERES, focal=70.0, width=96, height=72)


def photographed(level: float, noise: float = 0.0, quality: int = 85) -> Views:
    """Textured spheres before a gray level, with noise, as JPEG."""
    views = outlines()
    generator = np.random.default_rng(0)
    pictures = []
    for i in range(len(views)):
        shown = views.image(i)[..., 3:].numpy() > 0
        texture = 70 + 110 * generator.random((9, 12, 1)).repeat(8, 0).repeat(8, 1) + np.array([0, 10, -20])
        picture = np.where(shown, texture, level) + noise * generator.normal(size=(*shown.shape[:2], 3))
        stored = io.BytesIO()
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(stored, "JPEG", quality=quality)
        pictures.append(np.asarray(Image.open(stored)).reshape(-1, 3))
    return Views(views.cameras, views.names, torch.from_numpy(np.concatenate(pictures)))


def masked(shown: torch.Tensor, seed: int = 0) -> Views:
    """Pictures full of things, of which the pixels of bool [sum(H*W)] are to be used."""
    views = outlines()
    views.pixels = torch.randint(0, 256, (len(shown), 3), generator=torch.Generator().manual_seed(seed)).byte()
    views.masks = shown
    return views


def bounds_of(views: Views, **options) -> Bounds:
    return find_bounds(views, reading(), SceneOptions(**{"cube": False, **options}))


def assert_around_object(bounds: Bounds) -> None:
    assert not bounds.unbounded
    assert (bounds.aabb[0] <= LOW).all()
    assert (bounds.aabb[1] >= HIGH).all()
    assert (np.ptp(bounds.aabb, axis=0) <= 1.5 * (HIGH - LOW)).all()
    assert 0 < bounds.near < DISTANCE - 0.9


def assert_ordinary(views: Views) -> None:
    """The box is what cameras alone would give."""
    bounds, cameras_alone = bounds_of(views), bounds_of(photographed(128))
    assert bounds.unbounded
    assert bounds.background is None
    assert np.allclose(bounds.aabb, cameras_alone.aabb)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "noise", "color"), [(255, 0, "white"), (250, 2, "white"), (0, 0, "black"), (9, 4, "black")]
)
def test_plain_background(level, noise, color):
    bounds = bounds_of(photographed(level, noise))
    assert bounds.background == color
    assert_around_object(bounds)
    assert any(f"plain {color}" in note for note in bounds.notes)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "noise"), [(128, 0), (215, 0), (90, 0)])
def test_other_backgrounds_are_part_of_the_photograph(level, noise):
    assert_ordinary(photographed(level, noise))


@pytest.mark.slow
@pytest.mark.parametrize(("level", "noise"), [(40, 0), (30, 25)])
def test_dark_surroundings_are_the_background_and_may_hold_something(level, noise):
    bounds, cameras_alone = bounds_of(photographed(level, noise)), bounds_of(photographed(128))
    assert bounds.unbounded
    assert np.allclose(background_color(bounds.background), level / 255, atol=2.5 / 255)
    assert np.allclose(bounds.aabb, cameras_alone.aabb)
    assert any("dark" in note for note in bounds.notes)


@pytest.mark.slow
def test_a_black_rim_is_not_dark_surroundings():
    views = photographed(128)
    for i in range(len(views)):
        image = views.image(i)
        image[:3], image[-3:], image[:, :3], image[:, -3:] = 0, 0, 0, 0
    assert bounds_of(views).background is None


@pytest.mark.slow
def test_a_few_bright_photographs_among_dark_ones():
    views = photographed(30)
    for i in (4, 7):  # of twenty
        views.image(i)[:] = 150
    assert bounds_of(views).background == "#1e1e1e"
    views.image(9)[:] = 150
    assert bounds_of(views).background is None


def test_pictures_that_are_not_of_an_object():
    views = photographed(128)
    for i in range(len(views)):  # what undistortion leaves along the borders
        image = views.image(i)
        image[:3], image[-3:], image[:, :3], image[:, -3:] = 0, 0, 0, 0
    assert find_cutout(views) is None
    views.pixels[:] = 0  # the lens cap was on
    assert find_cutout(views) is None


@pytest.mark.slow
def test_an_object_at_the_border_of_a_few_views():
    views = photographed(255)
    views.image(3)[:, :30] = 90
    bounds = bounds_of(views)
    assert bounds.background == "white"
    assert_around_object(bounds)
    for i in range(6):
        views.image(i)[:, :30] = 90
    assert find_cutout(views) is None


@pytest.mark.slow
def test_holes_and_speckles():
    views = photographed(255, quality=100)
    image = views.image(0)
    rows, columns = (outlines().image(0)[..., 3] > 0).nonzero().double().mean(0).round().long().tolist()
    image[rows - 8 : rows + 9, columns - 8 : columns + 9] = 90
    image[rows - 2 : rows + 3, columns - 2 : columns + 3] = 255  # a highlight
    image[5, 5] = 0  # dust on the sensor
    shown = Cutout("white", 10).shown(views, 0)
    assert shown[rows, columns]
    assert not shown[5, 5]
    assert not shown[0].any()


@pytest.mark.slow
def test_masks_of_an_object():
    bounds = bounds_of(masked(outlines().pixels[:, 3] > 0))
    assert bounds.background is None
    assert_around_object(bounds)
    assert any("masks" in note for note in bounds.notes)


@pytest.mark.slow
def test_masks_of_other_things():
    views = outlines()
    everything = torch.ones(len(views.pixels), dtype=torch.bool)
    assert_ordinary(masked(views.pixels[:, 3] == 0))  # somebody who is to be ignored
    rows, columns = torch.meshgrid(torch.arange(72) - 35.5, torch.arange(96) - 47.5, indexing="ij")
    for radius in (20, 34):  # the rim of a lens
        lens = (rows.square() + columns.square()).sqrt() < radius
        assert_ordinary(masked(lens.reshape(-1).repeat(len(views))))
    sides = torch.stack([torch.rot90(rows, 2 * (i % 2)) > 10 for i in range(len(views))])
    assert find_cutout(masked(sides.reshape(-1))) is None  # what goes on beyond the pictures
    assert_ordinary(masked(everything))


@pytest.mark.slow
def test_masks_that_have_nothing_in_common():
    """Another place in every view: no object in space looks like that."""
    views = outlines()
    shown = torch.zeros(len(views), 72, 96, dtype=torch.bool)
    for i, picture in enumerate(shown):
        row, column = 4 + 9 * (i % 6), 4 + 25 * (i % 3)
        picture[row : row + 12, column : column + 12] = True
    assert find_cutout(masked(shown.reshape(-1))) == Cutout("masks")
    assert_ordinary(masked(shown.reshape(-1)))


@pytest.mark.slow
def test_masks_that_are_wrong_in_one_view():
    views = outlines(around(20, DISTANCE))
    shown = views.pixels[:, 3] > 0
    wrong = Views(views.cameras, views.names, views.pixels[:, :3], shown)
    wrong.mask(5)[:] = False
    wrong.mask(5)[4:9, 4:9] = True
    assert_around_object(bounds_of(wrong))


@pytest.mark.slow
def test_what_is_nearly_as_large_as_the_ring_of_cameras_is_not_an_object():
    views = silhouettes_of(around(10, DISTANCE), [((0.3, 0.0, 0.2), 3.0)], focal=26.0, width=96, height=72)
    photographs = Views(views.cameras, views.names, views.pixels[:, :3], views.pixels[:, 3] > 0)
    assert find_cutout(photographs) == Cutout("masks")
    assert bounds_of(photographs).unbounded


@pytest.mark.slow
def test_scene_of_an_object_on_white(tmp_path):
    poses = ring(12, DISTANCE, 1.5)
    drawn = silhouettes_of(poses, SPHERES, focal=70.0, width=96, height=72)
    frames = []
    for i, pose in enumerate(poses):
        shown = drawn.image(i)[..., 3:].numpy() > 0
        Image.fromarray(np.where(shown, [90, 60, 160], 255).astype(np.uint8)).save(tmp_path / f"{i}.jpg")
        frames.append({"file_path": f"{i}.jpg", "transform_matrix": opengl(pose)})
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 70.0, "w": 96, "h": 72, "frames": frames}))
    scene = load_scene(tmp_path)
    assert scene.splits["train"].channels == 3
    assert (scene.background, scene.plain, scene.unbounded) == ("white", True, False)
    assert not load_scene(tmp_path, SceneOptions(background="black")).plain
    assert not load_scene(tmp_path, SceneOptions(unbounded=True)).plain
    given = load_scene(tmp_path, SceneOptions(aabb=(-2, -2, -2, 2, 2, 2)))
    assert (given.background, given.plain, given.unbounded) == ("white", True, False)
    assert given.aabb.tolist() == [[-2, -2, -2], [2, 2, 2]]
