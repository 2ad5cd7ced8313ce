"""Segmenting from the command line, and what is made of a segmented run."""

from __future__ import annotations

import json
import shutil

import imageio.v3 as iio
import numpy as np
import pytest
import trimesh
from pycocotools import mask as coco

from fieldlab.apps.main import main
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.segment.files import TREE, read_hierarchy
from fieldlab.segment.segmentation import Segmentation
from fieldlab.synthetic import ProceduralOptions, write_dataset
from tests.apps.test_commands import failure

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    write_dataset("toys", folder, ProceduralOptions(n_train=10, n_test=3, size=48))
    return folder


@pytest.fixture(scope="module")
def radiance(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "toys"
    command = ["train", str(data), "--out", str(out), "--steps", "150", "--field", "hashgrid", "--params", "100k",
               "--device", "cpu", "--samples-per-step", "8192"]  # fmt: skip
    assert main(command) == 0
    return out


@pytest.fixture(scope="module")
def segmented(data, radiance):
    out = radiance.parent / "parts"
    command = ["segment", str(radiance), "--masks", str(data / "masks"), "--out", str(out), "--steps", "60"]
    assert main([*command, "--device", "cpu"]) == 0
    return out


def test_a_segmented_run_has_a_tree_and_its_radiance_field_is_the_same(radiance, segmented):
    tree = read_hierarchy(segmented)
    assert len(tree.ids) > 3
    assert iio.imread(segmented / "renders" / "parts.png").ndim == 3
    made, info = Segmentation.load(segmented)
    before = RunFolder.open(radiance).latest_checkpoint().part("model.field")
    after = made.model.field.state_dict()
    assert all(bool((after[name] == array).all()) for name, array in before.items())
    shown = made.labels(info.scene.cameras["test"], 0, tree.thresholds(4)).numpy()
    assert (shown >= -1).all()
    assert len(np.unique(shown[0])) >= len(np.unique(shown[-1]))


def test_the_tree_goes_along_where_nothing_moves(segmented, tmp_path):
    student, red, moved = tmp_path / "student", tmp_path / "red", tmp_path / "moved"
    command = ["distill", str(segmented), "--to", "vm", "--out", str(student), "--steps", "3", "--device", "cpu"]
    assert main([*command, "--params", "60k"]) == 0
    box = "box -2 -2 -2 2 2 2"
    assert main(["edit", str(segmented), f"recolor  {box}  to 1 0 0", "--out", str(red)]) == 0
    assert main(["edit", str(segmented), f"move {box} scale 0.5", "--out", str(moved)]) == 0
    for run in (student, red):
        assert (read_hierarchy(run).ids == read_hierarchy(segmented).ids).all()
    assert not (moved / TREE).exists()
    info = Segmentation.load(student)[1]
    assert main(["select", str(student), "--view", "0", "--pixel", "24,24", "--level", "0.5"]) == 0
    assert info.step == 3


def test_labels_in_three_forms_say_the_same(segmented, tmp_path):
    out = tmp_path / "labels"
    assert main(["export", str(segmented), "--labels", str(out), "--thresholds", "3"]) == 0
    arrays = np.load(out / "r_1.npz")
    assert arrays["thresholds"].dtype == np.float32
    assert arrays["labels"].shape == (3, 48, 48)
    assert arrays["labels"].dtype == np.int32
    for t in range(3):
        picture = iio.imread(out / "labels" / f"{t:02d}" / "r_1.png")
        assert picture.dtype == np.uint16
        assert (picture.astype(int) - 1 == arrays["labels"][t]).all()
    coco_file = json.loads((out / "annotations.json").read_text())
    parents = {c["id"]: c["parent_id"] for c in coco_file["categories"]}
    masks = {a["category_id"]: coco.decode(a["segmentation"]).astype(bool)
             for a in coco_file["annotations"] if a["image_id"] == 1}  # fmt: skip
    for node, mask in masks.items():
        assert (mask[arrays["labels"][0] == node]).all()
        if parents[node] is not None:
            assert not (mask & ~masks[parents[node]]).any()


def test_a_glb_has_the_nodes_of_the_tree(segmented, tmp_path):
    file = tmp_path / "parts.glb"
    command = ["export", str(segmented), "--parts", str(file), "--points", str(tmp_path / "p.ply")]
    assert main([*command, "--resolution", "48"]) == 0
    tree = read_hierarchy(segmented)
    nodes = set(trimesh.load(file).graph.nodes) - {"world"}
    assert nodes <= set(tree.names)
    assert len(nodes) > 3
    assert b"property int node" in (tmp_path / "p.ply").read_bytes()[:400]


def test_what_is_pointed_at_is_what_its_labels_say(segmented, tmp_path, capsys):
    made, info = Segmentation.load(segmented)
    level = float(made.hierarchy.thresholds(3)[1])
    labels = made.labels(info.scene.cameras["test"], 0, made.hierarchy.thresholds(3))[1].numpy()
    rows, columns = np.nonzero(labels >= 0)
    y, x = int(rows[len(rows) // 2]), int(columns[len(rows) // 2])
    capsys.readouterr()
    command = ["select", str(segmented), "--view", "0", "--pixel", f"{x},{y}", "--level", str(level)]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)["selected"]
    assert found["node"] == labels[y, x]
    assert main([*command, "--up", "1"]) == 0
    above = json.loads(capsys.readouterr().out)["selected"]
    assert above["node"] == (found["node"] if found["parent"] is None else found["parent"])
    assert "no such pixel" in failure(capsys, ["select", str(segmented), "--view", "0", "--pixel", "48,0"])
    assert "no such view" in failure(capsys, ["select", str(segmented), "--view", "9", "--pixel", "1,1"])
    assert "either a pixel or a point" in failure(capsys, ["select", str(segmented), "--view", "0"])
    for option, value in (("--level", "nan"), ("--level", "-1"), ("--level", "inf"), ("--up", "-1")):
        assert option in failure(capsys, ["select", "nowhere", "--point", "0", "0", "0", option, value])


def test_parts_are_measured_against_exact_labels(data, segmented, tmp_path, capsys):
    file = tmp_path / "segments.json"
    labels = data / "labels" / "test"
    assert main(["eval", str(segmented), "--segments", str(labels), "--json", str(file), "--thresholds", "8"]) == 0
    found = json.loads(file.read_text())
    assert {"nc", "vc", "vc_skipped", "dense_nc", "miou"} <= set(found)
    for name in ("nc", "vc", "dense_nc", "miou"):
        assert len(found[name]["levels"]) == 3
        assert 0 < found[name]["mean"] < 1
    assert found["nc"]["mean"] <= found["dense_nc"]["mean"]
    capsys.readouterr()
    assert "no labels" in failure(capsys, ["eval", str(segmented), "--segments", str(tmp_path / "none")])
    assert "no view has labels" in failure(capsys, ["eval", str(segmented), "--segments", str(tmp_path)])


def test_going_on_and_what_is_refused(data, radiance, segmented, tmp_path, capsys):
    masks = str(data / "masks")
    out = tmp_path / "again"
    command = ["segment", str(radiance), "--masks", masks, "--out", str(out), "--device", "cpu"]
    assert main([*command, "--steps", "5"]) == 0
    edited = (out / TREE).read_text().replace("part_0", "all of it")
    (out / TREE).write_text(edited)
    capsys.readouterr()
    assert main([*command, "--resume", "--steps", "9"]) == 0
    assert "had been edited" in capsys.readouterr().err
    assert (out / f"{TREE}.bak").read_text() == edited
    before = (out / TREE).read_text()
    assert "--least" in failure(capsys, [*command, "--steps", "1", "--least", "1000000", "--overwrite"])
    assert (out / TREE).read_text() == before
    header = RunFolder.open(out).latest_checkpoint().header
    assert header["training"]["progress"]["step"] == 9
    for file in RunFolder.open(out).checkpoints():  # as if it had been interrupted before the first one
        file.unlink()
    assert main([*command, "--resume"]) == 0
    moved = tmp_path / "moved"  # the same run elsewhere
    shutil.copytree(radiance, moved)
    assert main(["segment", str(moved), *command[2:], "--resume"]) == 0
    other = tmp_path / "other"
    assert main(["edit", str(radiance), "keep sphere 0 0 0 2", "--out", str(other), "--device", "cpu"]) == 0
    assert "another one" in failure(capsys, ["segment", str(other), *command[2:], "--resume"])
    assert "no masks" in failure(capsys, ["segment", str(radiance), "--masks", str(tmp_path / "none")])
    assert "one folder" in failure(capsys, ["segment", str(radiance), "--masks", masks, "--out", str(radiance)])
    assert "go on with fieldlab segment" in failure(capsys, ["train", "x", "--out", str(out), "--resume"])
    assert "no hierarchy" in failure(capsys, ["export", str(radiance), "--labels", str(tmp_path / "labels")])
    tree = json.loads((segmented / TREE).read_text())
    tree["nodes"][0]["parent"] = tree["nodes"][-1]["id"]
    before = (segmented / TREE).read_text()
    (segmented / TREE).write_text(json.dumps(tree))
    try:
        assert "above themselves" in failure(capsys, ["select", str(segmented), "--point", "0", "0", "0"])
    finally:
        (segmented / TREE).write_text(before)


def test_masks_found_in_the_photographs(radiance, tmp_path):
    out = tmp_path / "auto"
    command = ["segment", str(radiance), "--masks", "auto", "--out", str(out), "--steps", "5", "--device", "cpu"]
    assert main(command) == 0
    assert (out / TREE).is_file()


def test_the_hierarchy_and_its_baselines_in_one_table(data, radiance, tmp_path):
    file = tmp_path / "bench.json"
    command = ["segment-bench", str(radiance), "--masks", str(data / "masks"), "--labels", str(data / "labels")]
    assert main([*command, "--seconds", "2", "--thresholds", "6", "--json", str(file), "--device", "cpu"]) == 0
    methods = json.loads(file.read_text())["methods"]
    assert list(methods) == ["masks alone (training views)", "Euclidean + HDBSCAN", "ultrametric"]
    assert all(0 < row["nc"]["mean"] <= 1 for row in methods.values())


def test_a_part_is_taken_out_and_alone_is_a_field(radiance, segmented, tmp_path, capsys):
    """What edits by part leave: without the largest part less is seen, and it alone shows nothing of the others."""
    tree = read_hierarchy(segmented)
    other, row = tree.parts(float(tree.thresholds(3)[1]))[:2]
    part = str(int(tree.ids[row]))
    others = tree.points[~tree.within(row)]
    for verb, name in (("remove", part), ("keep", tree.names[row])):
        made = main(["edit", str(segmented), f"{verb} part {name}", "--out", str(tmp_path / verb), "--device", "cpu"])
        assert made == 0
    before, _ = load_run(segmented)
    without, _ = load_run(tmp_path / "remove")
    alone, _ = load_run(tmp_path / "keep")
    own = tree.points[tree.within(row)]
    was, now, kept = (model.density(own) for model in (before, without, alone))
    assert float(now.mean()) < 0.05 * float(was.mean())
    assert float(kept.mean()) > 0.95 * float(was.mean())
    assert float(without.density(others).mean()) > 0.9 * float(before.density(others).mean())
    assert float(alone.density(others).mean()) < 0.1 * float(before.density(others).mean())
    base = ["edit", str(segmented), "--out", str(tmp_path / "none")]
    assert "no such segment" in failure(capsys, [*base, "remove part 99999"])
    assert "no segment has this name" in failure(capsys, [*base, "remove part handle"])
    away = f"remove part {int(tree.ids[other])}"
    gone = failure(capsys, ["edit", str(tmp_path / "keep"), away, "--out", str(tmp_path / "x")])
    assert "earlier edits left nothing" in gone
    assert "fieldlab segment" in failure(capsys, ["edit", str(radiance), "remove part 1", "--out", "x"])
