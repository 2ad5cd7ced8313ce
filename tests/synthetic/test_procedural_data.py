"""Procedural scenes as data: splits, options, masks, meshes and the folder they are written to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fieldlab.errors import ConfigError, DataError
from fieldlab.sources.load import load_scene
from fieldlab.sources.scene_files import scene_files
from fieldlab.synthetic import (
    ProceduralOptions,
    SegmenterOptions,
    decode_rle,
    default_options,
    encode_rle,
    ground_truth,
    ground_truth_sdf,
    ground_truths,
    load_procedural,
    part_names,
    procedural_cameras,
    read_scene_file,
    scene_model,
    scene_names,
    simulate_masks,
    true_mesh,
    write_dataset,
)

SMALL = ProceduralOptions(n_train=4, n_test=2, size=32)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Arrays here are too small to be worth splitting, and threads that wait for each other crawl on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CLEAN = SegmenterOptions(drop=0.0, merge=0.0, ragged=0.0, least_area=1)
KEYS = {"segmentation", "area", "bbox", "predicted_iou", "stability_score", "point_coords", "crop_box"}


# --- scenes and their descriptions ---


@pytest.mark.parametrize("name", scene_names())
def test_every_scene_has_a_file_that_names_it(name: str) -> None:
    scene, options = read_scene_file(scene_files()[name])
    assert scene == name
    assert options == default_options(name)
    assert options.n_train >= 40
    assert options.n_test >= 8


def test_the_scenes_are_two_objects_and_one_open_place() -> None:
    assert len(scene_names()) >= 3
    assert sum(scene_model(name).unbounded for name in scene_names()) == 1


@pytest.mark.parametrize("name", scene_names())
def test_the_label_tree_is_one_tree(name: str) -> None:
    tree = part_names(name)
    assert tree.levels == ("object", "group", "part")
    for level in range(3):
        assert sorted(tree.names[level]) == list(range(len(tree.names[level])))
        assert len(set(tree.names[level].values())) == len(tree.names[level])
    assert len(tree.names[0]) < len(tree.names[1]) < len(tree.names[2])
    for level in (1, 2):
        assert set(tree.parents[level]) == set(tree.names[level])
        assert set(tree.parents[level].values()) == set(tree.names[level - 1])
        for child, parent in tree.parents[level].items():
            assert tree.names[level][child].rpartition("/")[0] == tree.names[level - 1][parent]


@pytest.mark.parametrize("name", [n for n in scene_names() if not scene_model(n).unbounded])
def test_the_box_of_an_object_holds_all_of_it(name: str) -> None:
    scene = scene_model(name)
    low, high = (torch.tensor(corner) for corner in scene.aabb)
    for part in scene.parts:
        assert (torch.tensor(part.shape.lower) >= low).all(), part.name
        assert (torch.tensor(part.shape.upper) <= high).all(), part.name


@pytest.mark.slow
@pytest.mark.parametrize("name", scene_names())
def test_a_loaded_scene_is_complete(name: str) -> None:
    scene = load_procedural(name, SMALL)
    model = scene_model(name)
    assert (scene.name, scene.format, scene.unbounded) == (name, "procedural", model.unbounded)
    assert scene.background in ("white", "black")
    assert scene.aabb.shape == (2, 3)
    assert (scene.aabb[1] > scene.aabb[0]).all()
    assert scene.near > 0
    for split, count in (("train", 4), ("test", 2)):
        views = scene.splits[split]
        assert len(views) == len(views.cameras) == count
        assert views.pixels.dtype == torch.uint8
        assert views.pixels.shape == (count * 32 * 32, 3 if model.unbounded else 4)
        assert views.image(1).shape == (32, 32, views.channels)
        for i, exact in enumerate(ground_truths(name, views.cameras)):
            assert views.image(i).float().std() > 10
            seen = (exact.depth > 0).float().mean()
            assert seen > (0.3 if model.unbounded else 0.08)
    eyes = torch.cat([scene.splits[split].cameras.origins for split in ("train", "test")])
    assert torch.pdist(eyes).min() > 0.2
    assert ground_truth_sdf(name)(eyes).min() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in scene_names() if not scene_model(n).unbounded])
def test_cameras_see_the_whole_object(name: str) -> None:
    cameras = procedural_cameras(name, ProceduralOptions(n_train=12, n_test=1, size=64))["train"]
    for exact in ground_truths(name, cameras):
        part = exact.ids[2]
        border = torch.cat([part[0], part[-1], part[:, 0], part[:, -1]])
        assert (border >= 0).float().mean() < 0.02


@pytest.mark.slow
def test_the_truth_of_many_pictures_is_that_of_each() -> None:
    cameras = procedural_cameras("toys", ProceduralOptions(n_train=3, n_test=1, size=24))["train"]
    for i, exact in enumerate(ground_truths("toys", cameras)):
        alone = ground_truth("toys", cameras, i)
        assert torch.equal(exact.ids, alone.ids)
        assert torch.allclose(exact.depth, alone.depth)
        assert torch.allclose(exact.normal, alone.normal, atol=1e-5)


@pytest.mark.slow
def test_loading_again_shares_nothing_that_can_be_spoiled() -> None:
    first = load_procedural("robot", SMALL)
    second = load_procedural("robot", SMALL)
    assert torch.equal(first.splits["train"].pixels, second.splits["train"].pixels)
    del first.splits["test"]
    first.aabb += 1
    third = load_procedural("robot", SMALL)
    assert "test" in third.splits
    assert torch.equal(third.aabb, second.aabb)


def test_the_seed_moves_the_cameras_and_nothing_else_does() -> None:
    one, same, other = (procedural_cameras("toys", ProceduralOptions(seed=s, size=32)) for s in (1, 1, 2))
    assert torch.equal(one["train"].camera_to_world, same["train"].camera_to_world)
    assert (one["train"].origins - other["train"].origins).norm(dim=1).max() > 0.05
    rotation = one["train"].camera_to_world[:, :, :3]
    assert torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(60, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(60), atol=1e-5)


@pytest.mark.slow
def test_load_scene_knows_names_and_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n[procedural]\nscene = "toys"\nn_train = 2\nn_test = 1\nsize = 24\n')
    scene = load_scene(file)
    assert scene.name == "mine"
    assert scene.splits["train"].image(0).shape == (24, 24, 4)


def test_impossible_scenes_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="robot"):
        load_procedural("nonsense")
    with pytest.raises(ConfigError, match="n_train"):
        load_procedural("robot", ProceduralOptions(n_train=0))
    with pytest.raises(ConfigError, match="size"):
        load_procedural("robot", ProceduralOptions(size=100_000))
    with pytest.raises(ConfigError, match="resolution"):
        true_mesh("robot", 4)
    file = tmp_path / "bad.toml"
    for text, part in (
        ("[procedural\n", "bad.toml"),
        ("[procedural]\nsize = 3\n", "procedural.scene"),
        ('[procedural]\nscene = "toys"\nsiez = 3\n', "siez"),
        ('[procedural]\nscene = "toys"\nsize = "big"\n', "procedural.size"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=part):
            read_scene_file(file)


# --- masks ---


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_run_lengths_round_trip(mask: np.ndarray) -> None:
    rle = encode_rle(mask)
    assert np.array_equal(decode_rle(rle), mask)
    values, expected = [False], [0]
    for value in (mask[y, x] for x in range(mask.shape[1]) for y in range(mask.shape[0])):
        if value == values[-1]:
            expected[-1] += 1
        else:
            values.append(value)
            expected.append(1)
    assert rle["counts"] == expected
    assert json.loads(json.dumps(rle)) == rle


def test_wrong_run_lengths_are_refused() -> None:
    for counts in ([3, 3], [3, 30], [-1, 13]):
        with pytest.raises(DataError, match="run lengths"):
            decode_rle({"size": [3, 4], "counts": counts})


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    cameras = procedural_cameras("toys", ProceduralOptions(n_train=6, n_test=1, size=96))["train"]
    return ground_truth("toys", cameras, 3).ids.numpy()


def test_masks_describe_themselves(ids: np.ndarray) -> None:
    masks = simulate_masks(ids, 7)
    assert len(masks) > 5
    assert [m["area"] for m in masks] == sorted((m["area"] for m in masks), reverse=True)
    for m in masks:
        assert set(m) == KEYS
        mask = decode_rle(m["segmentation"])
        assert mask.shape == ids.shape[1:]
        assert m["area"] == mask.sum() >= SegmenterOptions().least_area
        x, y, w, h = m["bbox"]
        assert mask[y : y + h, x : x + w].sum() == mask.sum()
        assert mask[y].any()
        assert mask[y + h - 1].any()
        assert mask[:, x].any()
        assert mask[:, x + w - 1].any()
        ((px, py),) = m["point_coords"]
        assert mask[py, px]
        assert 0 <= m["predicted_iou"] <= 1
        assert 0 <= m["stability_score"] <= 1
        assert m["crop_box"] == [0, 0, ids.shape[2], ids.shape[1]]


def test_masks_depend_on_the_seed_alone(ids: np.ndarray) -> None:
    assert simulate_masks(ids, 7) == simulate_masks(ids, 7)
    assert simulate_masks(ids, 7) != simulate_masks(ids, 8)


def test_a_perfect_segmenter_returns_the_labels(ids: np.ndarray) -> None:
    regions = [{r.tobytes() for r in (ids[level] == v for v in np.unique(ids[level]) if v >= 0)} for level in range(3)]
    found_levels = set()
    for seed in range(4):
        for m in simulate_masks(ids, seed, CLEAN):
            matches = [level for level in range(3) if decode_rle(m["segmentation"]).tobytes() in regions[level]]
            assert matches
            found_levels |= set(matches) if len(matches) == 1 else set()
    assert found_levels == {0, 1, 2}  # granularity is mixed


def test_every_fault_does_something(ids: np.ndarray) -> None:
    base = simulate_masks(ids, 1, CLEAN)
    dropped = simulate_masks(ids, 1, SegmenterOptions(drop=0.5, merge=0.0, ragged=0.0, least_area=1))
    assert 0 < len(dropped) < len(base)
    merged = simulate_masks(ids, 1, SegmenterOptions(drop=0.0, merge=1.0, ragged=0.0, least_area=1))
    assert len(merged) < len(base)
    regions = {(ids[level] == v).tobytes() for level in range(3) for v in np.unique(ids[level])}
    assert any(decode_rle(m["segmentation"]).tobytes() not in regions for m in merged)
    ragged = simulate_masks(ids, 1, SegmenterOptions(drop=0.0, merge=0.0, ragged=1.5, least_area=1))
    shown = [decode_rle(m["segmentation"]) for m in ragged]
    exact = [decode_rle(m["segmentation"]) for m in base if m["area"] > 150]
    overlaps = [max((mask & truth).sum() / (mask | truth).sum() for mask in shown) for truth in exact]
    assert 0.6 < np.median(overlaps) < 0.98


def test_a_picture_of_nothing_has_no_masks() -> None:
    assert simulate_masks(np.full((3, 20, 30), -1, dtype=np.int16), 0) == []


# --- solids and folders ---


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in scene_names() if not scene_model(n).unbounded])
def test_the_mesh_is_the_zero_set(name: str) -> None:
    trimesh = pytest.importorskip("trimesh")
    vertices, faces = true_mesh(name, 96)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0
    low, high = scene_model(name).aabb
    cell = float((np.asarray(high) - low).max()) / 96
    distance = ground_truth_sdf(name)(torch.from_numpy(vertices))
    assert distance.abs().max() < cell
    assert distance.abs().median() < 0.1 * cell
    points = torch.rand((40_000, 3), generator=torch.Generator().manual_seed(0)) * torch.tensor(high).sub(
        torch.tensor(low)
    ) + torch.tensor(low)
    share = (ground_truth_sdf(name)(points) < 0).float().mean().item()
    assert mesh.volume == pytest.approx(share * float(np.prod(np.asarray(high) - low)), rel=0.1)


@pytest.mark.slow
def test_the_folder_reads_back_as_it_was(tmp_path: Path) -> None:
    write_dataset("robot", tmp_path / "robot", SMALL)
    original, read = load_procedural("robot", SMALL), load_scene(tmp_path / "robot")
    assert read.format == "blender"
    for split in ("train", "test"):
        ours, theirs = original.splits[split], read.splits[split]
        assert len(ours) == len(theirs)
        assert torch.equal(ours.pixels, theirs.pixels)
        assert torch.allclose(ours.cameras.camera_to_world, theirs.cameras.camera_to_world, atol=1e-5)
        assert torch.allclose(ours.cameras.intrinsics, theirs.cameras.intrinsics, rtol=1e-5)
    truth = ground_truth("robot", original.splits["test"].cameras, 1)
    with np.load(tmp_path / "robot/labels/test/r_1.npz", allow_pickle=False) as labels:
        assert np.array_equal(labels["ids"], truth.ids.numpy())
        assert labels["ids"].dtype == np.int16
        assert np.array_equal(labels["depth"], truth.depth.numpy())
        assert np.array_equal(labels["normal"], truth.normal.numpy())
    parts = json.loads((tmp_path / "robot/parts.json").read_text())
    assert parts["levels"] == ["object", "group", "part"]
    assert parts["parts"] == list(part_names("robot").names[2].values())
    masks = json.loads((tmp_path / "robot/masks/train/r_0.json").read_text())
    assert set(masks[0]) == KEYS
    assert sorted(p.name for p in (tmp_path / "robot").iterdir()) == [
        "labels", "masks", "parts.json", "test", "train", "transforms_test.json", "transforms_train.json",
    ]  # fmt: skip


@pytest.mark.slow
def test_pictures_alone_can_be_written(tmp_path: Path) -> None:
    write_dataset("garden", tmp_path, ProceduralOptions(n_train=1, n_test=1, size=16), truth=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "test", "train", "transforms_test.json", "transforms_train.json",
    ]  # fmt: skip
