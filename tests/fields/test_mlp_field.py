"""NeRF's perceptron field: sizes, budgets, derivatives, hierarchical training, checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fieldlab.data.cameras import Rays
from fieldlab.errors import ConfigError
from fieldlab.fields.mlp import MLPConfig, MLPField
from fieldlab.fields.registry import build_field, config_from_dict, config_to_dict
from fieldlab.ops import native
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from fieldlab.training.trainer import Trainer
from tests.scenes import ball_scene

TINY = MLPConfig(
    width=32, geometry_layers=3, skip=2, octaves=4, color_width=32, coarse_width=16, coarse_layers=2, fine_samples=8
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(field=TINY, **settings) -> Trainer:
    scene = ball_scene()
    hurry = {"samples_per_step": 2048, "warmup_steps": 5, "occupancy_warmup": 12, "occupancy_every": 4}
    config = TrainConfig(**{"steps": 20, "learning_rate": 5e-3, **hurry, **settings})
    model = replace(choose_model(scene, config), grid_resolution=32, step=0.03)
    generator = torch.Generator().manual_seed(0)
    return Trainer(RadianceModel(build_field(field, 1.0, generator), model), scene.splits["train"], config)


def test_published_size():
    config = MLPConfig(hierarchical=False)
    trunk = 63 * 256 + 6 * 256 * 256 + (256 + 63) * 256 + 8 * 256 + 256 * 16 + 16
    assert config.geometry_spec().n_params == trunk
    field = build_field(config, 2.0)
    assert field.n_parameters == config.size().trainable == trunk + config.color_spec().n_params
    assert field.coarse is None
    both = build_field(MLPConfig(), 2.0)
    assert both.n_parameters == MLPConfig().size().trainable > field.n_parameters


@pytest.mark.parametrize("hierarchical", [True, False])
@pytest.mark.parametrize("budget", [5_000, 30_000, 200_000, 10_000_000])
def test_budgets(budget, hierarchical):
    config = MLPConfig(hierarchical=hierarchical).fitted_to(budget)
    assert config.size().trainable <= budget
    assert build_field(config, 1.0).n_parameters == config.size().trainable
    if config.width < 256:
        assert config._resized(config.width + 16, config.geometry_layers).size().trainable > budget


def test_the_smallest_field_is_named():
    smallest = MLPConfig()._resized(16, 1).size().trainable
    with pytest.raises(ConfigError, match=str(smallest)):
        MLPConfig().fitted_to(smallest - 1)
    assert MLPConfig().fitted_to(smallest).width == 16


@pytest.mark.parametrize(
    "values",
    [{"width": 40}, {"octaves": 0}, {"fine_samples": 1}, {"skip": 8}, {"geometry_layers": 9}, {"width": "wide"}],
)
def test_bad_values(values):
    with pytest.raises(ConfigError):
        config_from_dict({"kind": "mlp", **values})


def test_plain_values_round_trip():
    assert config_from_dict(config_to_dict(TINY)) == TINY


def test_starts_thin_and_native_is_the_reference():
    field = MLPField(MLPConfig(hierarchical=False), 2.0, torch.Generator().manual_seed(1))
    x = torch.rand(300, 3)
    log_density, latent = field.geometry(x)
    assert (log_density - field.log_density_offset).abs().max() < 3
    with native.use_backend("reference"):
        expected = field.geometry(x)
    assert torch.allclose(log_density, expected[0], atol=1e-4)
    assert torch.allclose(latent, expected[1], atol=1e-4)


def test_appearance():
    field = build_field(TINY.with_appearance(4), 1.0)
    x, d = torch.rand(5, 3), torch.nn.functional.normalize(torch.randn(5, 3), dim=-1)
    _, latent = field.geometry(x)
    assert field.color(latent, x, d, torch.randn(5, 4)).shape == field.color(latent, x, d).shape == (5, 3)
    assert field.coarse.config.appearance == 4


def test_hierarchical_samples_follow_the_coarse_weights():
    trainer = make()
    n = 40
    origins = torch.tensor([[0.0, 0.0, 4.0]]) + 0.2 * torch.rand(n, 3)
    rays = Rays(origins, torch.tensor([[0.0, 0.0, -1.0]]).repeat(n, 1))
    out = trainer.model(rays, hierarchical=True, jitter=torch.rand(n))
    seen = out.samples.counts
    assert set(seen.tolist()) <= {0, TINY.fine_samples}
    assert seen.max() > 0
    assert out.coarse_rgb.shape == (n, 3)
    (out.rgb.sum() + out.coarse_rgb.sum()).backward()
    assert all(p.grad is not None for p in trainer.model.field.parameters())
    assert trainer.model(rays).coarse_rgb is None


@pytest.mark.slow
@pytest.mark.parametrize("hierarchical", [True, False])
def test_training_learns(hierarchical):
    trainer = make(replace(TINY, hierarchical=hierarchical), steps=100)
    events = list(trainer.events())
    assert events[-1].psnr > events[5].psnr + 3


@pytest.mark.slow
def test_fused_rendering_is_that_of_the_separate_operations():
    trainer = make(replace(TINY, hierarchical=False), steps=30)
    list(trainer.events())
    model, cameras = trainer.model.eval(), trainer.views.cameras
    rays = cameras[0].image_rays(0)[::7]
    fused = model.render_rays(rays)
    model.field.fused_plan = lambda appearance=None: None
    assert torch.allclose(fused.rgb, model.render_rays(rays).rgb, atol=3e-3)


@pytest.mark.slow
def test_resuming_goes_on_exactly():
    whole = make(steps=8)
    list(whole.events())
    part = make(steps=8)
    part.start()
    for _ in range(4):
        part.step()
    arrays, header = part.state()
    again = make(steps=8)
    again.start(Checkpoint({k: v.clone() for k, v in arrays.items()}, {"training": header}))
    list(again.events())
    expected = whole.state()[0]
    assert all(torch.equal(v, expected[k]) for k, v in again.state()[0].items())
