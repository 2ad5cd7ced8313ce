"""The page holds the mesh it was made of."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from fieldlab.errors import ConfigError
from fieldlab.export.web.page import SCRIPTS, check_page_path, write_page
from fieldlab.export.web.parts import parts_facts
from fieldlab.mesh.mesh import Mesh
from fieldlab.segment.hierarchy import APART
from tests.export.two_balls import HOSTILE, RADIUS, halves, textured, two_balls


class Scripts(HTMLParser):
    """Texts of the elements of a page that hold data, by id, and of the others by tag; and its policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.policy, self.at = "", ""
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        self.at = given.get("id", tag) if tag in ("script", "style", "title", "h1") else ""

    def handle_endtag(self, tag):
        self.at = ""

    def handle_data(self, data):
        if self.at:
            self.found[self.at] = self.found.get(self.at, "") + data


def page_of(tmp_path, *args, **options) -> tuple[Scripts, dict, dict[str, np.ndarray]]:
    """A page as written: its elements, facts and arrays."""
    write_page(tmp_path / "page.html", *args, title="balls", **options)
    page = Scripts((tmp_path / "page.html").read_text(encoding="utf-8"))
    facts = json.loads(page.found["facts"])
    data, at, arrays = gzip.decompress(base64.b64decode(page.found["arrays"])), 0, {}
    for listed in facts["arrays"]:
        size, count = listed["bytes"], listed["rows"] * listed["columns"]
        rows = []
        for i in range(count):
            code = sum(data[at + k * count + i] << (8 * k) for k in range(size))
            before = rows[i - listed["columns"]] if i >= listed["columns"] else 0
            rows.append((before + (code >> 1 if code % 2 == 0 else -(code + 1 >> 1))) % 256**size)
        arrays[listed["name"]] = np.array(rows).reshape(-1, listed["columns"])
        at += count * size
    assert at == len(data)
    return page, facts, arrays


def corners_of(facts: dict, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """World positions [F,3,3] that the page shows."""
    position = np.array(facts["low"]) + arrays["position"] / 65535 * np.array(facts["size"])
    return position[arrays["index"].reshape(-1, 3)]


def unfolded(flat: np.ndarray) -> np.ndarray:
    """Unit vectors [N,3] of an octahedral layout [N,2]."""
    below = 1 - np.abs(flat).sum(1) < 0
    sign = np.where(flat < 0, -1, 1)
    across = np.where(below[:, None], (1 - np.abs(flat[:, ::-1])) * sign, flat)
    vectors = np.concatenate((across, 1 - np.abs(flat).sum(1, keepdims=True)), 1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_page_holds_the_mesh(tmp_path):
    mesh = two_balls()
    leaf, tree = halves(mesh)
    _, facts, arrays = page_of(tmp_path, mesh, leaf=leaf, tree=tree)
    assert np.abs(corners_of(facts, arrays) - mesh.vertices[mesh.faces]).max() < 0.51 * 3.2 / 65535
    index = arrays["index"].reshape(-1, 3)
    assert (arrays["color"][index] == mesh.colors[mesh.faces]).all()
    row = arrays["row"][:, 0][index]
    assert (row == row[:, :1]).all()
    nodes = facts["parts"]["nodes"]
    assert [nodes[r]["id"] for r in row[:, 0]] == tree.ids.numpy()[leaf].tolist()
    normal = unfolded((arrays["normal"] - 128) / 127)
    assert (normal[index] * mesh.normals()[mesh.faces]).sum(2).min() > np.cos(np.radians(1))


def test_the_page_holds_a_texture_with_seams(tmp_path):
    mesh = textured(two_balls().kept(np.arange(2560) < 90))
    page, facts, arrays = page_of(tmp_path, mesh)
    assert facts["parts"] is None
    assert "color" not in arrays
    assert np.abs(corners_of(facts, arrays) - mesh.vertices[mesh.faces]).max() < 1e-4
    uv = arrays["uv"][arrays["index"].reshape(-1, 3)] / 65535
    assert np.abs(uv - mesh.texture.uv[mesh.texture.corners]).max() < 1e-5
    picture = Image.open(io.BytesIO(base64.b64decode(page.found["picture"].partition(",")[2])))
    assert np.abs(np.asarray(picture, float) - mesh.texture.color).mean() < 3


def test_a_flat_mesh_and_one_without_colors_make_pages(tmp_path):
    flat = Mesh(np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, 2]]), np.array([[0, 1, 2]]))
    _, facts, arrays = page_of(tmp_path, flat)
    assert np.allclose(corners_of(facts, arrays), flat.vertices[flat.faces], atol=1e-4)
    assert sorted(arrays) == ["index", "normal", "position", "row"]


def test_facts_of_parts():
    mesh = two_balls()
    leaf, tree = halves(mesh)
    facts, _ = parts_facts(mesh, leaf, tree)
    nodes = facts["nodes"]
    assert sorted(node["id"] for node in nodes) == [0, 1, 2, 7, 9]  # 11 has no faces
    assert all(node["parent"] < at for at, node in enumerate(nodes))
    by_id = {node["id"]: node for node in nodes}
    assert nodes[by_id[7]["parent"]]["name"] == "left"
    assert [by_id[k]["area"] for k in (2, 0, 1)] == [pytest.approx(4 * np.pi * RADIUS**2, rel=0.02), 0, 0]
    assert np.allclose(by_id[2]["box"], [[0.4, -0.6, -0.6], [1.6, 0.6, 0.6]], atol=1e-6)
    assert by_id[0]["box"] is None
    cuts = [len(np.unique(tree.cut(level).numpy()[leaf])) for level in facts["levels"]]
    assert cuts == [1, 2, 3]
    assert facts["level"] == 2


def test_what_is_of_no_finest_part_is_a_node_of_its_own():
    mesh = two_balls()
    leaf, tree = halves(mesh)
    leaf[leaf == 4] = 1
    leaf[leaf == 2] = 0
    tree.birth[0] = APART
    facts, row = parts_facts(mesh, leaf, tree)
    nodes = facts["nodes"]
    names = np.array([node["name"] for node in nodes])
    assert names.tolist() == ["toy", "left", "top", "rest of toy", "rest of left"]
    assert [node["id"] for node in nodes[3:]] == [None, None]
    assert (names[row] == np.where(leaf == 3, "top", np.where(leaf == 1, "rest of left", "rest of toy"))).all()
    assert set(row) == set(range(5)) - {node["parent"] for node in nodes}
    assert len(facts["levels"]) == 2  # all that nothing connects is no level


def test_names_and_titles_are_text_and_the_policy_is_of_this_script(tmp_path):
    mesh = two_balls()
    leaf, tree = halves(mesh)
    write_page(tmp_path / "page.html", mesh, title=f'"{HOSTILE} $style &amp; \udc80', leaf=leaf, tree=tree)
    page = Scripts((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "b" not in page.tags
    assert page.found["title"] == page.found["h1"] == f'"{HOSTILE} $style &amp; ?'
    assert HOSTILE in [node["name"] for node in json.loads(page.found["facts"])["parts"]["nodes"]]
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.found[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'")


def test_all_scripts_are_in_the_page():
    there = {file.name for file in files("fieldlab.export.web").iterdir() if file.name.endswith(".js")}
    assert there == set(SCRIPTS)


def test_what_makes_no_page_is_said(tmp_path):
    mesh = two_balls()
    leaf, tree = halves(mesh)
    check_page_path(tmp_path / "page.HTM")
    with pytest.raises(ConfigError, match="kind of file"):
        check_page_path(tmp_path / "page.txt")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ConfigError, match="folder in the place"):
        write_page(tmp_path / "folder.html", mesh, title="")
    with pytest.raises(ConfigError, match="without triangles"):
        write_page(tmp_path / "page.html", mesh.kept(np.zeros(len(mesh.faces), bool)), title="")
    for wrong in ({"leaf": leaf}, {"tree": tree}, {"leaf": leaf[1:], "tree": tree}):
        with pytest.raises(ConfigError, match="belongs to one"):
            write_page(tmp_path / "page.html", mesh, title="", **wrong)
    assert not (tmp_path / "page.html").exists()
