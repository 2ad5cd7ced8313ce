"""What holds for all representations and compositions of them: sizes, budgets, learning, checkpoints, pictures."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import tomli_w
import torch

from fieldlab.errors import ConfigError
from fieldlab.fields.base import Field, FieldConfig, FieldProgress
from fieldlab.fields.kernels import Kernels
from fieldlab.fields.kinds import kinds
from fieldlab.fields.registry import (
    build_field,
    config_from_dict,
    config_named,
    config_to_dict,
    spelled,
    with_settings,
)  # fmt: skip
from fieldlab.ops import native
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint, load_model
from fieldlab.runs.values import tomllib
from fieldlab.training.build import choose_model, fitted_to_bytes
from fieldlab.training.config import TrainConfig
from fieldlab.training.trainer import Trainer
from tests.scenes import ball_scene

NAMES = [*kinds(), "vm+hashgrid", "neurbf+cp", "hashgrid:neurbf", "vm:mlp"]
SMALL = 60_000
every = pytest.mark.parametrize("name", NAMES)


def small(name: str) -> FieldConfig:
    """Few values, and detail to match."""
    return config_named(name).fitted_to_footprint(24).fitted_to(SMALL)


def trainer_of(name: str, steps: int = 80, teacher: RadianceModel | None = None) -> Trainer:
    scene = ball_scene(n=16)
    config = small(name)
    recipe = {**config.recipe, "samples_per_step": 2048, "warmup_steps": 5}
    settings = TrainConfig(steps=steps, occupancy_warmup=12, occupancy_every=4, **recipe)
    model_config = replace(choose_model(scene, settings), grid_resolution=32, step=0.03)
    return Trainer(build_model(config, model_config, 0), scene.splits["train"], settings, teacher=teacher)


@pytest.fixture(scope="module")
def trained():
    """Each representation after a few steps; trained once."""
    made: dict[str, tuple[Trainer, list[float]]] = {}

    def get(name: str) -> tuple[Trainer, list[float]]:
        if name not in made:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            trainer = trainer_of(name)
            made[name] = trainer, [event.loss for event in trainer.events()]
            torch.set_num_threads(threads)
        return made[name]

    return get


def test_the_usual_hybrid_has_a_name():
    assert spelled(config_named("hybrid")) == "vm+hashgrid"


@every
def test_configurations_survive_toml(name):
    config = small(name)
    assert config_from_dict(tomllib.loads(tomli_w.dumps(config_to_dict(config)))) == config
    assert spelled(config) == name


@every
@pytest.mark.parametrize("budget", [SMALL, 300_000, 2_000_000])
def test_budgets_hold(name, budget):
    config = config_named(name).fitted_to(budget)
    assert 0 < config.size().trainable <= budget
    assert config.size().fixed >= 0
    # A table or perceptron grows in steps; nothing wastes more than half of what it may have, but for a perceptron
    # that is as wide and deep as it gets.
    if "mlp" not in name:
        assert config.size().trainable > 0.4 * budget


@pytest.mark.slow
@every
def test_budgets_in_bytes_hold(name):
    config = fitted_to_bytes(config_named(name), 1_000_000)
    assert 0 < config.size().n_bytes <= 1_000_000


@every
def test_budgets_that_are_too_small(name):
    for budget in (1, 300):
        with pytest.raises(ConfigError, match="smallest"):
            config_named(name).fitted_to(budget)
    with pytest.raises(ConfigError, match="smallest"):
        fitted_to_bytes(config_named(name), 500)


@pytest.mark.slow
@every
def test_sizes_are_never_exceeded(name, trained):
    trainer, _ = trained(name)
    field, size = trainer.model.field, small(name).size()
    assert 0 < field.n_parameters <= size.trainable
    assert 0 <= field.n_fixed <= size.fixed
    assert 4 * field.n_parameters <= field.n_bytes <= size.n_bytes


@pytest.mark.slow
@every
def test_fields_learn(name, trained):
    _, losses = trained(name)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


@pytest.mark.slow
@every
def test_all_parameters_are_trained(name):
    trainer = trainer_of(name)
    field = trainer.model.field
    groups = [id(p) for group in field.param_groups() for p in group.parameters if p.numel()]
    assert len(groups) == len(set(groups))
    assert set(groups) == {id(p) for p in field.parameters() if p.numel()}


@every
def test_checkpoints_restore(name, trained):
    trainer, _ = trained(name)
    arrays, header = trainer.state()
    checkpoint = Checkpoint({k: v.clone() for k, v in arrays.items()}, {"training": header})
    config = config_from_dict(config_to_dict(small(name)))
    other = build_model(config, trainer.model.config, seed=5)
    load_model(other, checkpoint)
    x, d = points(300)
    assert torch.equal(trainer.model.density(x), other.density(x))
    assert torch.equal(trainer.model.rgb(x, d), other.rgb(x, d))


@pytest.mark.slow
@every
def test_the_fused_renderer_agrees(name, trained):
    model = trained(name)[0].model.eval()
    assert model.field.fused_plan() is not None
    cameras = ball_scene().splits["test"].cameras
    fused = model.render_image(cameras, 0, channels=("rgb", "depth", "opacity"))
    native.set_backend("reference")
    try:
        plain = model.render_image(cameras, 0, channels=("rgb", "depth", "opacity"))
    finally:
        native.set_backend("native")
    for channel in ("rgb", "opacity"):
        assert torch.allclose(fused[channel], plain[channel], atol=2e-3), channel
    seen = plain["opacity"] > 0.5
    assert torch.allclose(fused["depth"][seen], plain["depth"][seen], rtol=1e-2)


def fixed_field(name: str) -> Field:
    """A field whose every parameter and kernel is given by a seed: training amplifies each processor's rounding."""
    field, generator = trainer_of(name).model.field, torch.Generator().manual_seed(3)
    for part in field.modules():
        if isinstance(part, Kernels):
            places = torch.rand(4 * len(part.centers), 3, generator=generator)
            part.place(places, torch.ones(len(places)), generator)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter += 0.2 * (torch.rand(parameter.shape, generator=generator) - 0.5)
    return field


def derivative(field: Field, x: torch.Tensor) -> torch.Tensor:
    """[S,3] of log-density and a mixture of the latent by position."""
    x = x.clone().requires_grad_()
    mixed(field, x).sum().backward()
    return x.grad


def mixed(field: Field, x: torch.Tensor) -> torch.Tensor:
    log_density, latent = field.geometry(x)
    return log_density + latent @ torch.linspace(-1, 1, latent.shape[1], dtype=x.dtype)


def share_close(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Of the samples [S,C] that are right to a thousandth."""
    size = expected.norm(dim=1)
    assert (size > 0).all()
    return float(((found - expected).norm(dim=1) <= 1e-3 * (size + size.median())).float().mean())


@pytest.mark.slow
@every
def test_derivatives_by_position(name):
    """Of the kernels, for every instruction set, by automatic differentiation of the references in double precision,
    and of that by differences. The few others allowed lie on a kink: a cell's border, or a unit that switches."""
    field = fixed_field(name)
    exact = copy.deepcopy(field).double()
    x = torch.rand(400, 3, generator=torch.Generator().manual_seed(2)) * 0.5 + 0.25
    with native.use_backend("reference"):
        expected = derivative(exact, x.double())
        # A longer step crosses many kinks: an octave k of 10 has 2^k periods, and hundreds of units switch with each.
        step, direction = 1e-8, torch.nn.functional.normalize(torch.tensor([[0.5], [-0.7], [0.6]]).double(), dim=0)
        with torch.no_grad():
            ahead, behind = (mixed(exact, x.double() + sign * step * direction.t()) for sign in (1, -1))
    assert share_close((ahead - behind)[:, None] / (2 * step), expected @ direction) >= 0.99
    before = native.library.instruction_set()
    try:
        for name in native.library.instruction_sets():
            native.library.choose_instruction_set(name)
            assert share_close(derivative(field, x).double(), expected) >= 0.99, name
    finally:
        native.library.choose_instruction_set(before)


@every
def test_density_is_that_of_geometry(name, trained):
    field, (x, _) = trained(name)[0].model.field, points(200)
    x = (x + 1) / 2
    assert torch.allclose(field.density(x), field.sigma(field.geometry(x)[0]), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neurbf", "neurbf+cp", "hashgrid:neurbf"])
@pytest.mark.parametrize("teacher", ["hashgrid", "vm", "voxel", "mlp"])
def test_any_field_places_kernels(name, teacher, trained):
    model: RadianceModel = trained(teacher)[0].model
    trainer = trainer_of(name, teacher=model)
    trainer.start()
    encodings = [m for m in trainer.model.field.modules() if hasattr(m, "n_placed")]
    assert encodings
    for encoding in encodings:
        assert encoding.n_placed > 0
        centers = encoding.centers[encoding.index_order[encoding.index_order >= 0].long()]
        assert bool(((centers >= 0) & (centers <= 1)).all())
        anywhere = torch.rand(4096, 3, generator=torch.Generator().manual_seed(0))
        assert float(density(model, centers)) > 3 * float(density(model, anywhere))


def density(model: RadianceModel, x: torch.Tensor) -> torch.Tensor:
    """Mean of the density at unit coordinates, as the occupancy grid lets it be seen."""
    with torch.no_grad():
        return (model.field.density(x) * model.occupied(x)).mean()


def test_fields_that_no_teacher_helps_say_so(trained):
    with pytest.raises(ConfigError, match="cannot begin from that one"):
        trainer_of("hashgrid", teacher=trained("voxel")[0].model).start()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vm+hybrid", "cannot be part"),
        ("voxel+vm", "cannot be part"),
        ("voxel:vm", "cannot be part"),
        ("vm+hashgird", "did you mean hashgrid"),
        ("vm+", "no such field"),
        ("vm+hashgrid:cp", "either added or joined"),
        ("+".join(["vm"] * 9), "several parts"),
    ],
)
def test_what_cannot_be_joined(name, words):
    with pytest.raises(ConfigError, match=words):
        config_named(name)


def test_a_sum_is_the_sum():
    generator = torch.Generator().manual_seed(0)
    config = small("vm+hashgrid")
    field = build_field(config, 2.0, generator)
    x, _ = points(100)
    x = (x + 1) / 2
    (a, u), (b, v) = (part.geometry(x) for part in field.fields)
    log_density, latent = field.geometry(x)
    assert torch.allclose(log_density - field.log_density_offset, a + b - 2 * field.log_density_offset, atol=1e-5)
    assert torch.allclose(latent, u + v, atol=1e-6)


def test_parts_grow_inside_a_whole():
    """A tensor inside a sum becomes finer, and the whole says so to the optimizer."""
    field = build_field(small("vm+hashgrid"), 1.0, torch.Generator().manual_seed(0))
    before = field.n_parameters
    everywhere = FieldProgress(9, 0.9, lambda x: torch.ones(len(x), dtype=torch.bool), torch.Generator(), field)
    assert field.schedule(everywhere)
    assert field.n_parameters > before


def points(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, 3, generator=generator) * 2 - 1
    return x, torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)


def test_settings_by_name():
    given = ["n_kernels=77", "grid.density_rank=3", "compact=true", "overlap=0.5"]
    config = with_settings(config_named("neurbf"), given)
    assert (config.n_kernels, config.grid.density_rank, config.compact, config.overlap) == (77, 3, True, 0.5)
    config = with_settings(config_named("vm+hashgrid"), ["parts.1.n_levels=5", "color_layers=1"])
    assert (config.parts[1].n_levels, config.color_layers) == (5, 1)


def test_settings_that_are_only_possible_together():
    together = ["latent=20", "grid.latent=20", "grid.resolution=40", "grid.initial_resolution=20"]
    for given in (together, together[::-1]):
        config = with_settings(config_named("neurbf"), given)
        assert (config.latent, config.grid.latent, config.grid.resolution) == (20, 20, 40)
    config = with_settings(config_named("vm+hashgrid"), [f"{part}latent=9" for part in ("", "parts.0.", "parts.1.")])
    assert [p.latent for p in config.parts] == [9, 9]


@pytest.mark.parametrize("name", ["hashgrid:mlp", "mlp+hashgrid", "vm+mlp"])
def test_what_one_part_cannot_use_the_others_get(name):
    budget = 4_000_000
    assert 0.85 * budget < config_named(name).fitted_to(budget).size().trainable <= budget


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("vm", "rank=3", "no such setting"),
        ("vm", "density_rang=3", "did you mean density_rank"),
        ("vm", "density_rank=three", "wrong type"),
        ("vm", "density_rank", "has a value"),
        ("vm", "density_rank=0", "one or more"),
        ("vm", "density_rank.x=1", "not one setting"),
        ("neurbf", "compact=maybe", "wrong type"),
        ("neurbf", "grid=vm", "not one setting"),
        ("vm", "density_l1=nan", "a finite number"),
        ("vm", "density_l1=-1", "0 or more"),
        ("vm", "appearance=-1", "0 to 256"),
        ("vm", "latent=0", "1 to 64"),
        ("vm", "sh_degree=9", "1 to 4"),
        ("hashgrid", "base_resolution=0", "1 or more"),
        ("hashgrid", "n_levels=40", "1 to 32"),
        ("vm+mlp", "parts.7.width=16", "not one setting"),
    ],
)
def test_settings_that_make_no_sense(name, text, words):
    with pytest.raises(ConfigError, match=words):
        with_settings(config_named(name), [text]).size()


def test_a_whole_learns_at_its_parts_rates():
    whole = config_named("vm+hashgrid")
    field = build_field(whole.fitted_to(SMALL), 1.0)
    rates = {group.name: group.lr_scale * whole.recipe["learning_rate"] for group in field.param_groups()}
    for i, name in enumerate(("vm", "hashgrid")):
        alone = config_named(name)
        rate = alone.recipe.get("learning_rate", 1e-2)
        for group in build_field(alone.fitted_to(SMALL), 1.0).param_groups():
            assert rates[f"{i}.{group.name}"] == pytest.approx(group.lr_scale * rate)


def test_parts_have_no_networks_that_nothing_trains():
    field = build_field(config_named("mlp+hashgrid").fitted_to(SMALL), 1.0)
    assert all(part.coarse is None for part in field.fields)


def test_more_parts_than_the_renderer_takes():
    with pytest.raises(ConfigError, match="too many parts"):
        build_field(config_named("vm+cp+neurbf+hashgrid"), 1.0)


def test_a_voxel_field_never_forgets_everything():
    """What has learnt nothing yet is not thrown away, however short the training."""
    trainer = trainer_of("voxel", steps=3)
    list(trainer.events())
    assert trainer.model.field.n_parameters > 0
