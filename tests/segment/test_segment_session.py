"""A run that is segmented: what is refused before anything is learnt, and edits of its tree that stay."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldlab.data.options import SceneOptions
from fieldlab.errors import ConfigError, DataError
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import RunInfo
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.runs.session import Session
from fieldlab.segment.config import SEGMENTED, SegmentSettings
from fieldlab.segment.files import TREE, read_hierarchy
from fieldlab.segment.find_masks import find_masks
from fieldlab.segment.masks import ImageMasks
from fieldlab.segment.pairs import LEAST_INSIDE, has_contrast
from fieldlab.segment.session import segment_session, write_tree
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from tests.scenes import ball_scene, run_config, tiny_field

SIZE = (24, 24)
SCENE = SceneRecord.of(ball_scene(n=4, size=SIZE[0]))


@pytest.fixture
def model(monkeypatch) -> RadianceModel:
    """A model of two balls that nothing connects, the one with eight times the surface of the other's."""
    scene = ball_scene(n=4, size=SIZE[0])
    made = build_model(tiny_field(), replace(choose_model(scene, TrainConfig()), step=0.02), 0)
    balls = ((-0.3, 0.5), (0.7, 0.18))

    def density(x: torch.Tensor) -> torch.Tensor:
        world = 2 * x - 1
        inside = [(world - torch.tensor([at, 0.0, 0.0])).norm(dim=1) < radius for at, radius in balls]
        return torch.where(inside[0] | inside[1], 500.0, 0.0)

    monkeypatch.setattr(made.field, "density", density)
    return made.eval().requires_grad_(False)


def session(model, tmp_path, **options) -> Session:
    settings = SegmentSettings(steps=1, features=4, pixels=64, masks="masks")
    config = RunConfig(SEGMENTED.name, "ball", tiny_field(), (TrainConfig(), settings, SceneOptions()))
    run = RunFolder.create(tmp_path / "run", config)
    mask = np.arange(SIZE[1]) < SIZE[1] // 2
    masks = {i: ImageMasks.of([np.tile(mask, (SIZE[0], 1))], SIZE) for i in range(4)}
    return segment_session(run, config, model, SCENE, masks, **options)


@pytest.mark.slow
def test_a_smallest_part_that_is_too_large_is_refused_before_learning(model, tmp_path):
    with pytest.raises(ConfigError, match=r"--least(.|\n)*points, of \d+ on the surface") as caught:
        session(model, tmp_path, least=100_000)
    most, every = (int(word) for word in str(caught.value.expected).split() if word.isdecimal() and int(word) > 1)
    assert 0.5 * every < most < every  # of the large ball
    with pytest.raises(ConfigError, match="--least"):
        session(model, tmp_path, least=most + 1)
    with pytest.raises(ConfigError, match="--least"):
        session(model, tmp_path, least=0)
    made = session(model, tmp_path, least=most)
    assert write_tree(made, most)[0].sizes.max() == every


@pytest.mark.slow
def test_edits_of_the_tree_are_kept_when_another_is_made(model, tmp_path):
    made = session(model, tmp_path, least=20)
    write_tree(made, 20)
    assert write_tree(made, 20)[1] is None
    file = made.run.path / TREE
    tree = json.loads(file.read_text())
    tree["nodes"][0]["name"] = "all of it"
    file.write_text(json.dumps(tree))
    _, edits = write_tree(made, 20)
    assert edits is not None
    assert json.loads(edits.read_text()) == tree
    assert "all of it" not in read_hierarchy(made.run.path).names


def some(pixels: int) -> ImageMasks:
    return ImageMasks.of([(np.arange(SIZE[0] * SIZE[1]) < pixels).reshape(SIZE)], SIZE)


def test_masks_that_tell_nothing_apart_teach_nothing():
    every = SIZE[0] * SIZE[1]
    pixels = (0, LEAST_INSIDE - 1, LEAST_INSIDE, every - LEAST_INSIDE, every - LEAST_INSIDE + 1, every)
    assert [has_contrast(some(n)) for n in pixels] == [False, False, True, True, False, False]
    assert not has_contrast(ImageMasks.of([], SIZE))


def test_masks_that_teach_nothing_are_refused(tmp_path):
    info = RunInfo(RunFolder(tmp_path), run_config(), SCENE, 0, 0.0, None, None, tmp_path)

    def write(*pixels: int) -> str:
        for name, n in zip(SCENE.names["train"], pixels, strict=True):
            rle = {"size": list(SIZE), "counts": [0, n, SIZE[0] * SIZE[1] - n]}
            (tmp_path / f"{name}.json").write_text(json.dumps([{"segmentation": rle}]))
        return str(tmp_path)

    every = SIZE[0] * SIZE[1]
    for pixels in ((every, every, every, every), (every, 40, every, 3)):
        with pytest.raises(DataError, match="teach nothing"):
            find_masks(write(*pixels), info)
    assert sorted(find_masks(write(every, 40, 50, 3), info)) == [0, 1, 2, 3]
