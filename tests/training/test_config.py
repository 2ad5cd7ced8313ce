"""Settings, their file, and the schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fieldlab.data.options import SceneOptions
from fieldlab.errors import ConfigError
from fieldlab.runs.config import read_config, write_config
from fieldlab.runs.folder import RunFolder
from fieldlab.training.build import EMPTY, FieldChoice, new_train_config
from fieldlab.training.config import TrainConfig
from fieldlab.training.schedule import Schedule
from fieldlab.training.session import train_session
from tests.scenes import ball_scene, run_config


def test_config_survives_its_file(tmp_path):
    config = run_config("some scene", SceneOptions(aabb=(0, 0, 0, 1, 2, 3.5)), steps=7, distortion=0.5)
    write_config(tmp_path / "config.toml", config)
    assert read_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml =", "not TOML"),
        ("source = 'x'", "incomplete"),
        ("source='x'\n[field]\nkind='hashgrid'\n[train]\nstepz=3", "no such setting"),
        ("source='x'\n[field]\nkind='hashgrid'\n[train]\nsteps='many'", "wrong type"),
        ("source='x'\n[field]\nkind='hashgrid'\n[train]\nloss='best'", "out of range"),
        ("source='x'\n[field]\nkind='hashgrid'\n[train]\n[scene]\naabb=[1, 2]", "wrong type"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


def test_progress_by_steps_seconds_or_whichever_ends_first():
    assert Schedule(TrainConfig(steps=10)).fraction(5, 99.0) == 0.5
    assert Schedule(TrainConfig(seconds=10.0)).fraction(99, 2.5) == 0.25
    both = Schedule(TrainConfig(steps=10, seconds=10.0))
    assert both.fraction(5, 1.0) == 0.5
    assert both.fraction(1, 7.0) == 0.7
    assert not both.finished(9, 9.9)
    assert both.finished(10, 0.0)
    assert both.finished(0, 10.0)
    assert both.seconds_left(5, 4.0) == 4.0
    assert both.seconds_left(0, 0.0) is None


def test_learning_rate_warms_up_and_decays():
    config = TrainConfig(steps=1000, warmup_steps=10, learning_rate=0.01, decay_start=0.5, final_learning_rate=0.04)
    schedule = Schedule(config)
    assert schedule.learning_rate(0, 0.0) == pytest.approx(0.001)
    assert schedule.learning_rate(9, 0.0) == pytest.approx(0.01)
    assert schedule.learning_rate(400, 0.4) == pytest.approx(0.01)
    assert schedule.learning_rate(750, 0.75) == pytest.approx(0.01 * 0.2)
    assert schedule.learning_rate(1000, 1.0) == pytest.approx(0.01 * 0.04)


def test_the_distortion_loss_is_for_content_at_any_distance():
    """Of fields it does not harm, unless a person says otherwise."""
    near, far = ball_scene(alpha=False), ball_scene(alpha=False)
    far.unbounded = True

    def weight(scene, kind="hashgrid", **settings):
        return new_train_config(scene, FieldChoice(kind), torch.device("cpu"), **settings).get(TrainConfig).distortion

    assert weight(near) == weight(far, "vm") == weight(far, "vm+hashgrid") == 0
    assert weight(far) == weight(far, "voxel") > 0
    assert weight(far, distortion=0.0) == 0
    assert weight(far, "vm", distortion=0.5) == weight(near, distortion=0.5) == 0.5


def test_opacity_costs_where_surroundings_are_the_background():
    def weight(**changes) -> float:
        scene = replace(ball_scene(), **changes)
        return new_train_config(scene, FieldChoice("hashgrid"), torch.device("cpu")).get(TrainConfig).opacity

    assert weight(unbounded=True, plain=True) == EMPTY > 0
    assert weight(unbounded=True) == weight(plain=True) == weight() == 0


def test_training_composites_on_the_color_of_the_surroundings(tmp_path):
    scene = replace(ball_scene(alpha=False), unbounded=True, plain=True, background="#191206")
    config = run_config(steps=1)
    session = train_session(RunFolder.create(tmp_path / "run", config), scene, config, torch.device("cpu"))
    expected = torch.tensor([0x19, 0x12, 0x06]) / 255
    assert torch.allclose(session.model.background(), expected)
    _, _, background = session.loop._draw(4)
    assert torch.allclose(background, expected.expand(4, 3))
