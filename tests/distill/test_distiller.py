"""Distillation between all kinds of fields."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fieldlab.distill.config import DistillSettings
from fieldlab.distill.distiller import Distiller
from fieldlab.distill.session import student_config
from fieldlab.edit.editing import edited_model
from fieldlab.errors import CheckpointError, ConfigError
from fieldlab.fields.base import FieldConfig
from fieldlab.fields.head import HeadConfig
from fieldlab.fields.kinds import kinds
from fieldlab.fields.registry import config_named
from fieldlab.render.build import build_model
from fieldlab.render.model import RadianceModel
from fieldlab.runs.checkpoint import Checkpoint, load_model
from fieldlab.training.build import choose_model
from fieldlab.training.config import TrainConfig
from fieldlab.training.trainer import Trainer
from tests.scenes import ball_scene, ring_cameras

NAMES = [*kinds(), "vm+hashgrid"]
CAMERAS = ring_cameras(16)


def small(name: str) -> FieldConfig:
    return config_named(name).fitted_to_footprint(24).fitted_to(40_000).as_part()


@pytest.fixture(autouse=True)
def one_thread():
    """Small fields are faster without waiting for other threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train(name: str, **settings) -> RadianceModel:
    scene = ball_scene(n=16)
    config = small(name)
    # Noise of a field that has not settled cannot be copied to cells.
    settled = {"learning_rate": 1e-2 if name == "hashgrid" else config.recipe.get("learning_rate", 1e-2)}
    settled |= {"decay_start": 0.3, "final_learning_rate": 0.03}
    train = {
        **config.recipe,
        **settled,
        "samples_per_step": 2048,
        "warmup_steps": 5,
        "occupancy_warmup": 12,
        **settings,
    }
    train = TrainConfig(steps=60, occupancy_every=4, **train)
    if train.appearance:
        config = config.with_appearance(train.appearance)
    model = replace(choose_model(scene, train), grid_resolution=32, step=0.03)
    trainer = Trainer(build_model(config, model, 0), scene.splits["train"], train)
    for _ in trainer.events():
        pass
    return trainer.model.requires_grad_(False)


@pytest.fixture(scope="module")
def teacher():
    """Each representation after a few steps; trained once."""
    made: dict[str, RadianceModel] = {}

    def get(name: str) -> RadianceModel:
        if name not in made:
            made[name] = train(name)
        return made[name]

    return get


def distiller_of(teacher: RadianceModel, name: str, steps: int = 50, field: FieldConfig | None = None, **settings):
    field = field or small(name)
    recipe = {**field.recipe, **field.distill_recipe, "samples_per_step": 2048, "warmup_steps": 5}
    student = build_model(field, student_config(field, teacher), 1)
    settings = DistillSettings(**{"reuse": 1, **settings})
    return Distiller(teacher, student, CAMERAS, settings, TrainConfig(steps=steps, **recipe))


def difference(a: RadianceModel, b: RadianceModel) -> float:
    """Mean squared difference of a picture."""
    cameras = ring_cameras(5, size=24)
    return float((a.render_image(cameras, 2)["rgb"] - b.render_image(cameras, 2)["rgb"]).square().mean())


LEARNT = {"hashgrid": 250, "mlp": 300, "vm": 120}
"""Steps to kinds that are learnt from nothing, or nearly; the others begin with almost all of it."""


def pairs():
    """Teacher and student; a perceptron learns from all teachers alike, so that one is enough."""
    for name in ("hashgrid", "voxel", "cp"):
        for to in NAMES:
            if to != "mlp" or name == "voxel":
                yield pytest.param(name, to, marks=[pytest.mark.slow] if to in LEARNT else [])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "to"), pairs())
def test_every_pair_has_all_three_levels_and_learns(teacher, name, to):
    from_, d = teacher(name), distiller_of(teacher(name), to, LEARNT.get(to, 50))
    d.start()
    stages, losses = [], []
    for event in d.events():
        stages.append(event.stage)
        losses.append(event.loss)
    d.finish()
    assert sorted(set(stages), key=stages.index) == ["latents", "samples", "pixels"]
    empty = build_model(d.student.field.config, d.student.config, 1)  # what it began as, seen in the same cells
    empty.occupancy.values.copy_(from_.occupancy.values)
    empty.occupancy.changed()
    assert losses[-1] < 0.5 * losses[0]
    assert difference(from_, d.student) < min(0.004, 0.2 * difference(from_, empty))


@pytest.mark.slow
def test_the_same_field_is_copied(teacher):
    d = distiller_of(teacher("hashgrid"), "hashgrid", steps=0)
    assert d.start() == ["from the teacher: the whole field copied: it is the same"]
    assert difference(d.teacher, d.student) == 0


@pytest.mark.slow
def test_what_can_be_computed_is_computed_and_said(teacher):
    fresh = {}
    for to in ("vm", "cp", "voxel", "neurbf"):
        d = distiller_of(teacher("hashgrid"), to)
        log = d.start()
        assert log
        fresh[to] = difference(d.teacher, d.student)
        without = distiller_of(teacher("hashgrid"), to, initialize=False)
        assert without.start() == ["from the teacher: nothing that fits the student"]
        assert fresh[to] < 0.6 * difference(d.teacher, without.student)
    assert fresh["voxel"] < 3e-3


@pytest.mark.slow
def test_latents_are_compared_as_they_are_only_where_they_mean_the_same(teacher):
    for name, to, adapted in (("hashgrid", "vm", False), ("hashgrid", "voxel", True), ("voxel", "hashgrid", True)):
        d = distiller_of(teacher(name), to)
        d.start()
        assert (d.match.spec is not None) == adapted
    d = distiller_of(teacher("hashgrid"), "vm", initialize=False)  # its perceptron to color is another
    d.start()
    assert d.match.spec is not None


@pytest.mark.slow
def test_occupancy_is_the_teachers_at_first_then_of_both_then_the_students(teacher):
    d = distiller_of(teacher("hashgrid"), "vm", steps=40)
    d.start()
    theirs = d.teacher.occupancy.occupied()
    assert torch.equal(d.student.occupancy.occupied(), theirs)
    for _ in d.events():
        assert bool(d.student.occupancy.occupied()[theirs].all())
    union = d.student.occupancy.occupied()
    d.finish()
    assert not bool((d.student.occupancy.occupied() & ~union).any())
    assert d.student.config == replace(d.teacher.config, n_images=0)


@pytest.mark.slow
def test_empty_space_is_empty_in_the_student_too(teacher):
    d = distiller_of(teacher("hashgrid"), "hashgrid", field=replace(small("hashgrid"), n_levels=6), steps=250)
    d.start()
    for _ in d.events():
        pass
    x = torch.rand(4000, 3, generator=torch.Generator().manual_seed(3))
    x = x[~d.teacher.occupied(x)]
    with torch.no_grad():
        raw = d.student.field.geometry(x)[0] + d.student.field.log_unit
    before = build_model(d.student.field.config, d.student.config, 1).requires_grad_(False)
    assert float((raw > 1).float().mean()) < 0.05  # a third of what the whole cube lets through is lost at 1
    assert float(raw.median()) < -2
    assert float((before.field.geometry(x)[0] + before.field.log_unit).median()) > -0.5


@pytest.mark.slow
def test_a_slow_teacher_is_asked_less_often(teacher, monkeypatch):
    asked = []
    import fieldlab.distill.distiller as module

    find_targets = module.find_targets
    monkeypatch.setattr(module, "find_targets", lambda *args: asked.append(1) or find_targets(*args))
    d = distiller_of(teacher("hashgrid"), "vm", steps=12, reuse=4)
    d.start()
    for _ in d.events():
        pass
    assert len(asked) == 3


@pytest.mark.slow
@pytest.mark.parametrize("active", [True, False])
def test_hard_rays_come_again_when_learning_is_active(teacher, monkeypatch, active):
    monkeypatch.setattr("fieldlab.distill.mining.POOL", 64)
    import fieldlab.distill.distiller as module

    find, again = module.find_targets, []
    monkeypatch.setattr(module, "find_targets", lambda *args: again.append(int((args[4] == -1).sum())) or find(*args))
    d = distiller_of(teacher("hashgrid"), "vm", steps=20, active=active, samples_until=0.1, latents_until=0.05)
    d.start()
    for _ in d.events():
        pass
    assert (d.hard.count > 16) == active
    assert (again[-1] > 0) == active
    assert again[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "reuse"), [(1.1, 1), (2.3, 3), (1000, 64)])
def test_a_teacher_costs_no_more_than_the_student(teacher, monkeypatch, seconds, reuse):
    """Asking it takes so many seconds where a step of the student's takes one."""
    takes = iter((seconds, 1.0))
    monkeypatch.setattr("fieldlab.distill.distiller._seconds", lambda call, device: (call(), next(takes))[1])

    d = distiller_of(teacher("hashgrid"), "vm", reuse=0)
    log = d.start()
    assert next(takes, None) is None
    assert d.progress.reuse == reuse
    assert ("slow" in log[-1]) == (reuse > 1)


@pytest.mark.slow
def test_resuming_goes_on(teacher):
    d = distiller_of(teacher("hashgrid"), "vm", steps=30)
    d.start()
    for _ in range(12):
        d.step()
    arrays, training = d.state()
    again = distiller_of(teacher("hashgrid"), "vm", steps=30)
    again.start(Checkpoint({k: v.clone() for k, v in arrays.items()}, {"training": training}))
    assert again.progress == d.progress
    assert difference(d.student, again.student) == 0
    before = difference(d.teacher, again.student)
    while not again.finished:  # and let the cells be the teacher's, as they were before
        again.step()
    assert again.progress.step == 30
    assert difference(d.teacher, again.student) < before
    with pytest.raises(CheckpointError):
        distiller_of(teacher("hashgrid"), "cp").start(Checkpoint(arrays, {"training": training}))


@pytest.mark.slow
def test_appearance_is_inherited_where_a_field_can_have_one():
    model = train("hashgrid", appearance=4)
    field = small("vm").with_appearance(4)
    d = distiller_of(model, "vm", field=field, steps=8)
    assert "from the teacher: appearance of the photographs copied" in d.start()
    for _ in d.events():
        pass
    assert d.student.appearance.shape == model.appearance.shape
    plain = distiller_of(model, "voxel", steps=8)
    plain.start()
    for _ in plain.events():
        pass
    assert plain.student.appearance is None


def with_head(model: RadianceModel) -> RadianceModel:
    """The same model with features that say where on the ball a point is."""
    made = build_model(model.field.config, model.config, 0).requires_grad_(False)
    load_model(made, Checkpoint({f"model.{k}": v for k, v in model.state_dict().items()}, {}))
    head = made.add_head(HeadConfig("parts", 3, small("hashgrid")), torch.Generator().manual_seed(5))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(6)
    for _ in range(300):
        x = torch.rand(1024, 3, generator=generator)
        optimizer.zero_grad()
        (head(x) - x).square().mean().backward()
        optimizer.step()
    return made.requires_grad_(False)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["vm", "voxel", "mlp"])
def test_features_are_carried_along(teacher, to):
    model = with_head(teacher("hashgrid"))
    d = distiller_of(model, to, steps=8)
    assert "from the teacher: features parts copied" in d.start()
    for _ in d.events():
        pass
    points = torch.rand(300, 3) * 2 - 1
    assert torch.equal(d.student.features("parts", points), model.features("parts", points))
    arrays, training = d.state()
    again = distiller_of(model, to, steps=8)
    again.start(Checkpoint(arrays, {"training": training}))
    assert torch.equal(again.student.features("parts", points), model.features("parts", points))


@pytest.mark.slow
def test_features_of_what_was_moved_move_along(teacher):
    model = with_head(teacher("hashgrid"))
    moved = edited_model(model, ["move box -1 -1 -1 1 1 1 turn 0 0 1 90"], torch.Generator().manual_seed(0))
    d = distiller_of(moved, "vm", steps=60)
    d.start()
    while not d.finished:
        d.step()
    rays = CAMERAS.image_rays(0)
    wanted, found = moved.render_features("parts", rays), d.student.render_features("parts", rays)
    unmoved = model.render_features("parts", rays)
    assert float((found - wanted).square().mean()) < 0.1 * float((unmoved - wanted).square().mean())


def test_another_box_is_refused(teacher):
    d = distiller_of(teacher("hashgrid"), "vm")
    other = build_model(small("vm"), replace(d.teacher.config, aabb=(-2.0, -2, -2, 2, 2, 2)), 0)
    with pytest.raises(ConfigError, match="different boxes"):
        Distiller(d.teacher, other, CAMERAS, d.settings, d.train)
