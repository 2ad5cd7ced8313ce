"""Trees on disk, and what people make of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fieldlab.errors import DataError
from fieldlab.segment.files import ARRAYS, TREE, back_up_edits, copy_hierarchy, read_hierarchy, write_hierarchy
from fieldlab.segment.hierarchy import Hierarchy, palette

# 0 over 1 and 2; 1 over 3 and 4. Points 0-3 in leaf 3, 4-5 in 4, 6-9 in 2.
PARENT = torch.tensor([-1, 0, 0, 1, 1])
BIRTH = torch.tensor([0.9, 0.5, 0.2, 0.1, 0.1])
LEAF = torch.tensor([3] * 4 + [4] * 2 + [2] * 4)


@pytest.fixture
def made() -> Hierarchy:
    ids = torch.tensor([0, 1, 2, 3, 4], dtype=torch.int32)
    points = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    return Hierarchy(ids, PARENT.clone(), BIRTH.clone(), [f"part_{i}" for i in range(5)], palette(ids), points, LEAF)


@pytest.fixture
def stored(made, tmp_path):
    write_hierarchy(tmp_path, made)
    return tmp_path


def edit(folder, change) -> None:
    tree = json.loads((folder / TREE).read_text())
    change({node["id"]: node for node in tree["nodes"]}, tree["nodes"])
    (folder / TREE).write_text(json.dumps(tree))


def cuts(hierarchy) -> list[list[int]]:
    return [hierarchy.labels(t).tolist() for t in (0.05, 0.3, 0.6, 1.0)]


def test_what_is_written_is_read(made, stored):
    again = read_hierarchy(stored)
    assert cuts(again) == cuts(made)
    assert again.names[again.row_of(3)] == "part_3"
    assert torch.equal(again.points, made.points)
    assert torch.equal(again.colors[again.row_of(2)], made.colors[2])
    entry = next(n for n in json.loads((stored / TREE).read_text())["nodes"] if n["id"] == 1)
    assert entry["points"] == 6
    assert (entry["birth"], entry["death"], entry["persistence"]) == (0.5, 0.9, 0.4)


def test_parts_are_renamed(stored):
    edit(stored, lambda node, _: node[2].update(name="the lid", color="#ff0080"))
    again = read_hierarchy(stored)
    assert again.names[again.row_of(2)] == "the lid"
    assert again.colors[again.row_of(2)].tolist() == [255, 0, 128]


def test_parts_are_merged_by_taking_them_out(stored):
    edit(stored, lambda node, nodes: (nodes.remove(node[3]), nodes.remove(node[4])))
    again = read_hierarchy(stored)
    assert again.labels(0.05).tolist() == [1] * 6 + [2] * 4


def test_parts_are_merged_under_a_new_one(stored):
    def over(node, nodes):
        nodes.append({"id": 77, "parent": 0, "name": "both"})
        node[4]["parent"] = node[2]["parent"] = 77

    edit(stored, over)
    again = read_hierarchy(stored)
    # Part 1 has only part 3 now; 77 is born with the later of its children, 2 at 0.2.
    assert again.labels(0.21).tolist() == [3] * 4 + [77] * 6
    assert again.labels(0.6).tolist() == [1] * 4 + [77] * 6
    assert again.labels(1.0).tolist() == [0] * 10


def test_parts_are_split_by_taking_out_what_is_over_them(stored):
    def out(node, nodes):
        nodes.remove(node[1])
        node[3]["parent"] = node[4]["parent"] = 0

    edit(stored, out)
    again = read_hierarchy(stored)
    assert again.labels(0.6).tolist() == [3] * 4 + [4] * 2 + [2] * 4
    assert again.labels(1.0).tolist() == [0] * 10


def test_births_stay_in_order(stored):
    edit(stored, lambda node, _: node[3].update(birth=0.7))
    again = read_hierarchy(stored)
    assert float(again.birth[again.row_of(1)]) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda node, _: node[0].update(parent=3), "above themselves"),
        (lambda node, _: node[0].update(parent=0), "above themselves"),
        (lambda node, _: node[3].update(parent=99), "not there"),
        (lambda node, nodes: nodes.append(dict(node[3])), "one id"),
        (lambda node, _: node[3].update(id="3"), "has an id"),
        (lambda node, _: node[3].update(id=-3), "has an id"),
        (lambda node, _: node[3].update(parent="1"), "is an id"),
        (lambda node, _: node[3].update(birth="low"), "is a threshold"),
        (lambda node, _: node[3].update(birth=1e300), "is a threshold"),
        (lambda node, _: node[3].update(birth=10**400), "is a threshold"),
        (lambda node, _: node[3].update(birth=-0.1), "is a threshold"),
        (lambda node, _: node[3].update(birth=True), "is a threshold"),
        (lambda node, _: node[3].update(birth=float("nan")), "is a threshold"),
        (lambda node, _: node[3].update(name=3), "is text"),
        (lambda node, _: node[3].update(color="red"), "#rrggbb"),
        (lambda node, nodes: [nodes.remove(node[i]) for i in (0, 1, 3)] and node[2].update(parent=None), "not there"),
        (lambda node, nodes: nodes.clear(), "has nodes"),
    ],
)
def test_what_is_no_tree(stored, change, words):
    edit(stored, change)
    with pytest.raises(DataError, match=words):
        read_hierarchy(stored)


def test_what_is_missing_or_damaged(stored, tmp_path):
    with pytest.raises(DataError, match="no hierarchy"):
        read_hierarchy(tmp_path / "elsewhere")
    for text, words in (("{", "cannot be read"), ("[" * 200_000, "cannot be read"), ("[]", "is an object"),
                        ('{"format": 2, "nodes": [{"id": 0}]}', "another format"),
                        ('{"format": true, "nodes": [{"id": 0}]}', "another format")):  # fmt: skip
        (stored / TREE).write_text(text)
        with pytest.raises(DataError, match=words):
            read_hierarchy(stored)
    (stored / TREE).unlink()
    with pytest.raises(DataError, match="no tree"):
        read_hierarchy(stored)
    (stored / ARRAYS).write_bytes((stored / ARRAYS).read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        read_hierarchy(stored)
    np.savez(stored / ARRAYS, format=1, points=np.zeros((3, 2)), leaf=np.zeros(3), ids=[0], parent=[-1], birth=[0.0])
    with pytest.raises(DataError, match="do not fit"):
        read_hierarchy(stored)


def test_edits_are_kept_and_what_nobody_edited_is_not(made, stored):
    assert back_up_edits(stored) is None
    (stored / TREE).write_text(json.dumps(json.loads((stored / TREE).read_text())))  # only written otherwise
    assert back_up_edits(stored) is None
    edit(stored, lambda node, _: node[2].update(name="the lid"))
    renamed = (stored / TREE).read_text()
    assert back_up_edits(stored) == stored / "hierarchy.json.bak"
    write_hierarchy(stored, made)
    assert (stored / "hierarchy.json.bak").read_text() == renamed
    (stored / TREE).write_text("{ half an edit")
    assert back_up_edits(stored) == stored / "hierarchy.json.bak2"
    assert (stored / "hierarchy.json.bak").read_text() == renamed
    (stored / TREE).unlink()
    assert back_up_edits(stored) is None


def test_a_tree_is_carried_to_where_none_is(made, stored, tmp_path):
    student = tmp_path / "student"
    student.mkdir()
    copy_hierarchy(stored, student)
    assert cuts(read_hierarchy(student)) == cuts(made)
    edit(student, lambda node, _: node[2].update(name="the lid"))
    copy_hierarchy(stored, student)
    assert "the lid" in read_hierarchy(student).names


def test_points_of_nothing(stored):
    def orphan(node, nodes):
        for i in (0, 1, 3):
            nodes.remove(node[i])
        node[2]["parent"] = node[4]["parent"] = None

    edit(stored, orphan)
    with pytest.raises(DataError, match="belong to nothing"):
        read_hierarchy(stored)
