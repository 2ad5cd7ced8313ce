"""The training loop on a small ball."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fieldlab.errors import CheckpointError, DataError
from fieldlab.render.build import build_model
from fieldlab.runs.checkpoint import Checkpoint
from fieldlab.training.build import choose_model, training_views
from fieldlab.training.config import TrainConfig
from fieldlab.training.trainer import Trainer
from tests.scenes import ball_scene, tiny_field


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(scene=None, field=None, **settings) -> Trainer:
    scene = scene or ball_scene()
    # Coarser and more hurried than in earnest, for speed.
    hurry = {"samples_per_step": 4096, "warmup_steps": 5, "occupancy_warmup": 12, "occupancy_every": 4}
    config = TrainConfig(**{"steps": 20, **hurry, **settings})
    model_config = replace(choose_model(scene, config), grid_resolution=32, step=0.02)
    model = build_model(field or tiny_field(appearance=config.appearance), model_config, config.seed)
    return Trainer(model, scene.splits["train"], config)


def arrays_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: array.clone() for name, array in trainer.state()[0].items()}


@pytest.mark.slow
def test_training_learns_the_ball():
    scene = ball_scene(n=24)
    trainer = make(scene=scene, steps=150)
    events = list(trainer.events())
    assert [e.step for e in events] == list(range(1, 151))
    assert events[-1].psnr > 22 > events[5].psnr
    model, test = trainer.model.eval(), scene.splits["test"]
    for i in range(len(test)):
        out = model.render_image(test.cameras, i)["rgb"]
        rgba = test.image(i).float() / 255
        target = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        assert float((out - target).square().mean()) < 10 ** (-2.0)
    assert trainer.model.occupancy.occupied_fraction() < 0.3


@pytest.mark.slow
def test_same_seed_same_result():
    a, b, other = make(), make(), make(seed=1)
    for trainer in (a, b, other):
        list(trainer.events())
    assert all(torch.equal(x, y) for x, y in zip(arrays_of(a).values(), arrays_of(b).values(), strict=True))
    assert not torch.equal(a.model.field.encoding.table, other.model.field.encoding.table)


@pytest.mark.slow
def test_resuming_changes_nothing():
    whole = make()
    list(whole.events())
    first = make()
    for event in first.events():
        if event.step == 9:
            first.stop()
    assert first.progress.step == 9
    arrays, header = first.state()
    second = make(seed=0)
    second.start(Checkpoint({k: v.clone() for k, v in arrays.items()}, {"training": header}))
    list(second.events())
    assert second.progress.step == 20
    expected = arrays_of(whole)
    assert all(torch.equal(array, expected[name]) for name, array in arrays_of(second).items())


def test_checkpoints_of_something_else_are_refused():
    trainer = make()
    arrays, header = trainer.state()
    larger = make(field=tiny_field(log2_hashmap_size=11))
    with pytest.raises(CheckpointError, match="wrong shape"):
        larger.start(Checkpoint(dict(arrays), {"training": header}))
    with pytest.raises(CheckpointError, match="go on training"):
        trainer.start(Checkpoint(dict(arrays), {}))
    del arrays["optimizer.table.0.m"]
    with pytest.raises(CheckpointError, match="optimizer's state"):
        trainer.start(Checkpoint(dict(arrays), {"training": header}))


@pytest.mark.slow
def test_rays_follow_the_sample_budget():
    trainer = make(steps=30, samples_per_step=4096)
    list(trainer.events())
    assert trainer.progress.samples / trainer.progress.step > 0.5 * 4096
    batch = trainer.loader.batch(trainer.loader.draw(trainer.progress.rays, trainer.generator))
    out = trainer.model(batch.rays, prune=True)
    assert 0.6 * 4096 < len(out.samples) < 1.5 * 4096


@pytest.mark.slow
def test_time_limits_training():
    trainer = make(steps=None, seconds=0.5)
    events = list(trainer.events())
    assert all(event.seconds < 0.5 for event in events[:-1])
    assert events[-1].seconds >= 0.5


@pytest.mark.slow
def test_pictures_without_alpha_train_too():
    trainer = make(scene=ball_scene(alpha=False), steps=120, background="white")
    assert list(trainer.events())[-1].psnr > 17


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"distortion": 0.01}, {"loss": "huber"}, {"appearance": 4}, {"prune": False}])
def test_options_train(settings):
    events = list(make(steps=60, samples_per_step=8192, **settings).events())
    assert events[-1].psnr > events[3].psnr + 3


@pytest.mark.slow
def test_a_weight_of_opacity_clears_away_what_looks_like_the_background():
    scene = ball_scene(alpha=False)  # on white
    rays = scene.splits["test"].cameras.image_rays(0)

    def train(opacity: float) -> tuple[torch.Tensor, torch.Tensor]:
        trainer = make(scene, steps=80, background="white", opacity=opacity)
        list(trainer.events())
        seen = trainer.model.render_rays(rays)
        ball = scene.splits["test"].image(0).reshape(-1, 3).float().mean(1) < 200
        return seen.opacity[ball].mean(), seen.opacity[~ball].mean()

    (ball, around), (ball_cleared, around_cleared) = train(0.0), train(0.01)
    assert around_cleared < 0.7 * around
    assert ball_cleared > 0.8 * ball


def test_pose_refinement_moves_cameras_back():
    scene = ball_scene(n=12, size=24)
    cameras = scene.splits["train"].cameras
    true = cameras.camera_to_world.clone()
    cameras.camera_to_world[0, :, 3] += torch.tensor([0.12, -0.1, 0.1])
    wrong = float((cameras.camera_to_world - true)[0, :, 3].norm())
    trainer = make(scene=scene, steps=250, pose_refinement=True)
    list(trainer.events())
    # Free of an outer frame all cameras may drift together; what counts is the outlier against the others.
    with torch.no_grad():
        moved = trainer.poses(cameras.camera_to_world)
    reprojection = [_outline_error(moved, cameras, 0), _outline_error(cameras.camera_to_world, cameras, 0)]
    assert wrong > 0.1
    assert reprojection[0] < 0.7 * reprojection[1]


def _outline_error(poses, cameras, i) -> float:
    """How far from the picture's middle, in pixels, the ball's center is seen; in the photograph it is there."""
    pixels, _, _ = replace(cameras, camera_to_world=poses).project(i, torch.zeros(1, 3))
    return float((pixels[0] - cameras.size[i] / 2).norm())


def test_no_training_views():
    scene = ball_scene()
    scene.splits["train"] = scene.splits["train"].subset([])
    with pytest.raises(DataError, match="no training views"):
        training_views(scene)
    del scene.splits["train"]
    with pytest.raises(DataError, match="no training views"):
        training_views(scene)


def test_all_rays_missing_the_box():
    scene = ball_scene()
    scene.aabb = scene.aabb + 50.0
    with pytest.raises(DataError, match="all rays miss the box"):
        make(scene=scene)


def test_rays_say_how_faint_cells_may_be_from_time_to_time():
    trainer = make(occupancy_every=4)
    gains = []
    trainer.start()
    for _ in range(9):
        trainer.step()
        gains.append(list(trainer.progress.gains))
    assert gains[:3] == [[], [], []]
    assert all(gains[3:])
    assert trainer.model.occupancy.gains.tolist() == gains[-1]
    again = make(occupancy_every=4)
    arrays, header = trainer.state()
    again.start(Checkpoint(arrays, {"training": header}))
    assert again.model.occupancy.gains.tolist() == gains[-1]


def test_samples_before_the_content_learn_less():
    trainer = make()
    trainer.model.config = replace(trainer.model.config, content=2.5)
    asked = []
    forward = trainer.model.forward
    trainer.model.forward = lambda *args, **settings: (
        asked.append(settings["full_gradient"]) or forward(*args, **settings)
    )
    trainer.start()
    trainer.step()
    assert asked == [2.5]
