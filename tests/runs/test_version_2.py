"""Runs that earlier versions wrote: a tiny one of every kind, as fieldlab of November 2026 left them in format 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import trimesh
from PIL import Image

from fieldlab.apps.main import main
from fieldlab.edit.edited import EditedField
from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.segment.config import SegmentSettings
from fieldlab.segment.segmentation import Segmentation
from tests.apps.conftest import write_scene

STORED = Path(__file__).parent / "version_2"
KINDS = ("trained", "distilled", "edited", "segmented", "image", "sdf")


@pytest.fixture
def stored(tmp_path):
    """Copies of the runs where they say that they and their photographs are."""
    scene = write_scene(tmp_path / "captures" / "ball")
    photo = tmp_path / "captures" / "photo.png"
    Image.new("RGB", (16, 12), (200, 90, 30)).save(photo)
    solid = tmp_path / "captures" / "ball.obj"
    trimesh.creation.icosphere(subdivisions=1).export(solid)
    for kind in KINDS:
        shutil.copytree(STORED / kind, tmp_path / "runs" / kind)
        file = tmp_path / "runs" / kind / "config.toml"
        text = file.read_text().replace('"/captures/ball"', f'"{scene}"').replace('"/captures/photo.png"', f'"{photo}"')
        text = text.replace('"/captures/ball.obj"', f'"{solid}"')
        file.write_text(text.replace('"/runs/', f'"{tmp_path}/runs/'))
    return tmp_path / "runs"


@pytest.mark.parametrize("kind", KINDS)
def test_they_say_what_they_are(stored, kind):
    assert RunFolder.open(stored / kind).config().kind == kind


@pytest.mark.parametrize("kind", KINDS[:4])
def test_they_show_what_they_showed(stored, kind):
    expected = json.loads((STORED / "expected.json").read_text())[kind]
    model, info = load_run(stored / kind)
    assert (info.step, info.config.field.kind) == (expected["step"], expected["field"])
    assert info.psnr == pytest.approx(expected["psnr"])
    picture = model.render_image(info.scene.cameras["test"].scaled(1 / 3), 0)["rgb"]
    wanted = torch.tensor(expected["rgb"])
    assert float(wanted.float().std()) > 20  # there is something to see
    assert (picture * 255 - wanted).abs().max() < 1.6


def test_the_segmented_one_has_its_tree(stored):
    found, info = Segmentation.load(stored / "segmented")
    assert len(found.hierarchy.ids) == 81
    assert info.config.parent == str(stored / "trained")
    assert info.config.parent_fingerprint == RunFolder.open(stored / "distilled").config().parent_fingerprint != ""


def test_the_edited_one_has_its_edits(stored):
    model, info = load_run(stored / "edited")
    assert isinstance(model.field, EditedField)
    assert model.field.config.edits == ("recolor sphere 0 0 0 0.5 to 1 0 0",)
    assert info.config.parent == str(stored / "trained")


@pytest.mark.slow
def test_they_go_on(stored, capfd, monkeypatch):
    small = HashGridConfig(n_levels=3, n_features=2, log2_hashmap_size=9, base_resolution=8, finest_resolution=32)
    head = SegmentSettings.head  # as small as it was when the runs were made
    monkeypatch.setattr(SegmentSettings, "head", lambda self: head(self, small))
    source, trained = RunFolder.open(stored / "trained").config().source, str(stored / "trained")
    photo, solid = (RunFolder.open(stored / kind).config().source for kind in ("image", "sdf"))
    for kind, line in (
        ("trained", ["train", source]),
        ("distilled", ["distill", trained, "--to", "hashgrid"]),
        ("segmented", ["segment", trained, "--masks", "auto"]),
        ("image", ["fit", "image", photo]),
        ("sdf", ["fit", "sdf", solid, "--resolution", "16", "--iou-points", "1000"]),
    ):
        before = RunFolder.open(stored / kind).latest_checkpoint()
        wanted = before.step + 2
        arguments = [*line, "--out", str(stored / kind), "--resume", "--steps", str(wanted), "--device", "cpu"]
        assert main(arguments) == 0, capfd.readouterr().err
        after = RunFolder.open(stored / kind).latest_checkpoint()
        assert after.step == wanted
        # The running average went on too, it did not begin anew.
        weights = [c.header["training"]["progress"]["weight"] for c in (before, after)]
        assert weights[0] < weights[1]
        assert f'kind = "{kind}"' in (stored / kind / "config.toml").read_text()  # from here on it is stored


def test_each_goes_on_with_its_own_command(stored, capfd):
    source = RunFolder.open(stored / "trained").config().source
    for kind, command in (("distilled", "distill"), ("segmented", "segment"), ("edited", "edit"), ("sdf", "fit sdf")):
        assert main(["train", source, "--out", str(stored / kind), "--resume", "--device", "cpu"]) == 1
        assert f"go on with fieldlab {command}" in capfd.readouterr().err
