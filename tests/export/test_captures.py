"""Views of a run as a capture: it trains again, and cameras alone find the photographs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from fieldlab.apps.main import main
from fieldlab.errors import ConfigError, DataError
from fieldlab.export.captures import export_cameras, export_maps
from fieldlab.export.views import ChosenViews, choose_views, picture_names
from fieldlab.pictures.nerfstudio_path import CameraPath, write_camera_path
from fieldlab.runs.load import load_run
from fieldlab.sources.load import load_scene
from tests.apps.conftest import write_scene
from tests.scenes import ring_cameras


def test_pictures_of_cameras_are_within_images():
    cameras = ring_cameras(2)
    assert picture_names(ChosenViews(cameras, ["images/a.jpg", "images/b/c.JPG"])) == ["a.jpg", "b/c.JPG"]
    assert picture_names(ChosenViews(cameras, ["./train/r_0", "a.b"])) == ["train/r_0.png", "a.b.png"]
    assert picture_names(ChosenViews(cameras, ["images/a.jpg", "b.jpg"])) == ["images/a.jpg", "b.jpg"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that shows a ball."""
    out = tmp_path_factory.mktemp("runs") / "ball"
    train(write_scene(tmp_path_factory.mktemp("scene") / "ball"), out)
    return out


def train(data: Path, out: Path) -> None:
    arguments = ["train", str(data), "--out", str(out), "--steps", "100", "--field", "hashgrid", "--params", "60k"]
    assert main([*arguments, "--samples-per-step", "4096", "--device", "cpu"]) == 0


def exported(run: Path, folder: Path, views: str, kinds=("depth",)) -> int:
    """The number of views that were exported; nothing is left out."""
    count, notes = export_maps(folder, *load_run(run), views, kinds, "exr", None, None)
    assert not notes
    return count


@pytest.mark.slow
def test_an_exported_run_trains_again(trained, tmp_path):
    assert exported(trained, tmp_path / "all", "all") == 17
    scene = load_scene(tmp_path / "all")
    assert scene.format == "transforms"
    assert {split: len(views) for split, views in scene.splits.items()} == {"train": 14, "test": 3}
    assert scene.splits["train"].channels == 4
    assert scene.points is not None
    assert not scene.unbounded
    model, info = load_run(trained)
    for split, views in scene.splits.items():
        own = info.scene.cameras[split]
        assert torch.allclose(views.cameras.camera_to_world, own.camera_to_world, atol=1e-5)
        assert torch.allclose(views.cameras.intrinsics, own.intrinsics, atol=1e-4)
    train(tmp_path / "all", tmp_path / "again")
    again, learnt = load_run(tmp_path / "again")
    white = torch.ones(3)
    for i in range(3):
        shown = [m.render_image(r.scene.cameras["test"], i, background=white)["rgb"]
                 for m, r in ((model, info), (again, learnt))]  # fmt: skip
        assert -10 * math.log10(float((shown[0] - shown[1]).square().mean())) > 22
    colmap = tmp_path / "colmap"
    colmap.mkdir()
    for name in ("images", "sparse"):
        (tmp_path / "all" / name).rename(colmap / name)
    found = load_scene(colmap)
    assert found.format == "colmap"
    assert sum(len(views) for views in found.splits.values()) == 17


@pytest.mark.slow
def test_views_are_splits_or_a_path(trained, tmp_path):
    _, info = load_run(trained)
    assert len(choose_views("train", info).names) == 14
    assert choose_views("all", info).names[-1] == "test/r_2.png"
    info.scene.names = {split: [Path(name).name for name in names] for split, names in info.scene.names.items()}
    assert choose_views("test", info).names[-1] == "r_2.png"
    assert choose_views("all", info).names[-1] == "test/r_2.png"
    with pytest.raises(DataError, match="no such split"):
        choose_views("val", info)
    write_camera_path(tmp_path / "path.json", CameraPath(info.scene.cameras["test"][:2], 30.0))
    assert exported(trained, tmp_path / "path", str(tmp_path / "path.json"), ("depth", "opacity")) == 2
    assert sorted(file.name for file in (tmp_path / "path" / "depth").iterdir()) == ["frame_00000.exr",
                                                                                    "frame_00001.exr"]  # fmt: skip
    assert load_scene(tmp_path / "path").splits["train"].names == ["images/frame_00001.png"]
    with pytest.raises(ConfigError, match="holds the photographs"):
        exported(trained, Path(info.scene.source), "test")


@pytest.mark.slow
def test_cameras_alone_find_the_photographs(trained, tmp_path):
    model, info = load_run(trained)
    assert export_cameras(tmp_path / "out", model, info, "all") == (17, [])
    assert not (tmp_path / "out" / "images").exists()
    (tmp_path / "out" / "images").symlink_to(info.scene.source)
    scene = load_scene(tmp_path / "out")
    assert {split: len(views) for split, views in scene.splits.items()} == {"train": 14, "test": 3}
    again = load_scene(info.scene.source)
    assert torch.equal(scene.splits["test"].pixels, again.splits["test"].pixels)
    header = (tmp_path / "out" / "points.ply").read_bytes().split(b"end_header")[0]
    assert b"property float confidence" in header
