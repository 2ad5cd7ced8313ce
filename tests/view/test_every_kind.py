"""What the viewer shows works whatever the field is: channels, hidden parts, and edits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from fieldlab.edit.editing import edited_model
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.fields.head import HeadConfig
from fieldlab.fields.kinds import kinds
from fieldlab.fields.registry import config_named
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.segment.config import HEAD
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from fieldlab.training.trainer import Trainer
from fieldlab.view.cameras import eye_of
from fieldlab.view.channels import channels_of, paint
from fieldlab.view.display import CHANNELS, DisplaySettings
from fieldlab.view.gbuffer import render_gbuffer
from fieldlab.view.scene_source import LoadedScene
from fieldlab.view.shown_run import ShownRun
from tests.scenes import ball_scene, ring_cameras
from tests.view.ball import halves

NAMES = [*kinds(), "vm+hashgrid", "hashgrid:neurbf"]
GRID = HashGridConfig(n_levels=2, n_features=2, log2_hashmap_size=8, base_resolution=4, finest_resolution=8)


def trained(name: str) -> RadianceModel:
    scene, config = ball_scene(n=12, size=20), config_named(name).fitted_to_footprint(24).fitted_to(30_000)
    settings = TrainConfig(steps=40, occupancy_warmup=12, occupancy_every=4,
                           **{**config.recipe, "samples_per_step": 2048, "warmup_steps": 5})  # fmt: skip
    model = build_model(config, replace(choose_model(scene, settings), grid_resolution=32, step=0.03), 0)
    for _ in Trainer(model, scene.splits["train"], settings).events():
        pass
    return model.eval().requires_grad_(False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_is_seen_hidden_and_edited(name):
    model = trained(name)
    model.add_head(HeadConfig(HEAD, 8, GRID, width=16, layers=1), torch.Generator().manual_seed(1))
    scene = ball_scene(n=12, size=20)
    run = ShownRun(name, model, SceneRecord.of(scene), halves(), source=LoadedScene(scene))
    cameras = eye_of(ring_cameras(8).camera_to_world[1], math.radians(45), 1.25).cameras(40, 32)
    seen = render_gbuffer(model, cameras)
    assert channels_of(run) == CHANNELS
    shown = float(seen.opacity.sum())
    assert shown > 20
    for channel in CHANNELS:
        made = paint(seen, run, DisplaySettings(channel=channel, threshold=0.1))
        assert made.shape == (32, 40, 3)
        assert bool(made.isfinite().all())
        assert float(made.view(-1, 3).std(0).max()) > 1e-3, channel
    assert float(render_gbuffer(run.visible(frozenset({1}), frozenset()), cameras).opacity.sum()) < 0.9 * shown
    edited = edited_model(model, ["remove box -1 -1 0 1 1 1"], torch.Generator().manual_seed(0))
    assert float(render_gbuffer(edited, cameras).opacity.sum()) < 0.9 * shown
