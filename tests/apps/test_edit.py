"""fieldlab edit from the command line: edited runs are rendered, exported, edited again and distilled."""

from __future__ import annotations

import pytest
import torch

from fieldlab.apps.main import main
from fieldlab.runs.load import load_run
from tests.apps.test_commands import failure

pytestmark = pytest.mark.slow

HALF = "box -1.5 -1.5 0 1.5 1.5 1.5"  # the upper half of the ball


@pytest.fixture(scope="module")
def halved(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("edited") / "half"
    assert main(["edit", str(trained), f"remove {HALF}", "--out", str(out), "--device", "cpu"]) == 0
    return out


def opacity(run, height: float) -> float:
    """Mean opacity of rays through the middle of the scene at a height."""
    from fieldlab.data.cameras import Rays

    model, _ = load_run(run)
    y = torch.linspace(-0.3, 0.3, 20)
    origins = torch.stack((torch.full_like(y, -3), y, torch.full_like(y, height)), dim=1)
    directions = torch.tensor([[1.0, 0, 0]]).expand(20, 3).contiguous()
    return float(model.render_rays(Rays(origins, directions)).opacity.mean())


def test_removing_takes_away_and_says_what_is_behind(trained, halved, tmp_path, capsys):
    assert opacity(trained, 0.5) > 0.9
    assert opacity(halved, 0.5) < 0.05
    assert opacity(halved, -0.5) > 0.9
    again = tmp_path / "again"
    capsys.readouterr()
    assert main(["edit", str(trained), f"remove {HALF}", "--out", str(again), "--device", "cpu"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "now shows nothing" in said
    assert "fieldlab distill" in said


def test_an_edited_run_is_edited_again_and_moves_things(halved, tmp_path):
    out = tmp_path / "moved"
    lower = "box -1.5 -1.5 -1.5 1.5 1.5 0"
    assert main(["edit", str(halved), f"move {lower} by 0 0 0.9", "--out", str(out), "--device", "cpu"]) == 0
    model, info = load_run(out)
    assert list(model.field.config.edits) == [f"remove {HALF}", f"move {lower} by 0 0 0.9"]
    assert info.config.field.base.kind == "hashgrid"
    assert opacity(out, 0.4) > 0.9
    assert opacity(out, -0.6) < 0.05


def test_what_photographs_saw_is_what_was_there_before_any_edit(trained, halved):
    from fieldlab.data.cameras import Rays
    from fieldlab.edit.editing import _unedited

    origins = torch.tensor([[-3.0, 0.0, 0.5], [-3.0, 0.2, -0.5]])
    rays = Rays(origins, torch.tensor([[1.0, 0, 0]]).expand(2, 3).contiguous())
    whole, half = load_run(trained)[0], load_run(halved)[0]
    torch.testing.assert_close(_unedited(half).render_rays(rays).depth, whole.render_rays(rays).depth)
    assert _unedited(whole) is whole


def test_it_is_an_ordinary_run_and_becomes_an_ordinary_field(halved, tmp_path):
    assert main(["render", str(halved), "--out", str(tmp_path / "frames"), "--frames", "2", "--size", "24x24"]) == 0
    assert main(["export", str(halved), "--mesh", str(tmp_path / "half.ply"), "--resolution", "32"]) == 0
    assert main(["info", str(halved)]) == 0
    out = tmp_path / "voxel"
    assert main(["distill", str(halved), "--to", "voxel", "--out", str(out), "--steps", "20", "--device", "cpu"]) == 0
    assert load_run(out)[0].field.kind == "voxel"
    assert opacity(out, 0.5) < 0.1
    assert opacity(out, -0.5) > 0.8


def test_what_cannot_be_edited(trained, tmp_path, capsys):
    base = ["edit", str(trained), "--out", str(tmp_path / "out")]
    assert "selects nothing" in failure(capsys, [*base, "remove sphere 1.2 1.2 1.2 0.05"])
    assert "begins with what to do" in failure(capsys, [*base, "paint it black"])
    said = failure(capsys, [*base, f"remove {HALF}", f"recolor {HALF} to 1 0 0"])
    assert "selects nothing" in said  # what is gone cannot be recolored
    assert "one folder" in failure(capsys, ["edit", str(trained), f"remove {HALF}", "--out", str(trained)])
    assert not (tmp_path / "out").exists()
