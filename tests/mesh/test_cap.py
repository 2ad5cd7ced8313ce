"""Caps close whatever is open, without changing what was there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldlab.mesh import sheet as sheets
from fieldlab.mesh.cap import capped, mended
from fieldlab.mesh.mesh import Mesh
from fieldlab.mesh.sheet import sheet
from tests.mesh.textured import colored, textured


def of(made: trimesh.Trimesh) -> Mesh:
    return Mesh(np.array(made.vertices), np.array(made.faces))


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def assert_closed(mesh: Mesh) -> None:
    """Every edge has two faces that go opposite ways along it, and every vertex is used."""
    edges = np.concatenate((mesh.faces[:, :2], mesh.faces[:, 1:], mesh.faces[:, [2, 0]]))
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert np.array_equal(np.unique(edges, axis=0), np.unique(edges[:, ::-1], axis=0))
    assert np.array_equal(np.unique(mesh.faces), np.arange(len(mesh.vertices)))
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
    assert np.isfinite(mesh.vertices).all()


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-0.8, 0.8))
def test_cut_balls_get_flat_caps_and_their_volume(seed, height):
    normal = np.random.default_rng(seed).normal(size=3)
    normal /= np.linalg.norm(normal)
    ball = trimesh.creation.icosphere(3)
    sliced = trimesh.intersections.slice_faces_plane(ball.vertices, ball.faces, normal, height * normal)
    cut = trimesh.Trimesh(*sliced[:2])
    cut.merge_vertices()
    closed = capped(of(cut))
    assert_closed(closed)
    assert volume(closed) == pytest.approx(np.pi * (1 - height) ** 2 * (2 + height) / 3, rel=0.03, abs=0.005)
    added = closed.vertices[len(cut.vertices) :]
    assert np.abs(added @ normal - height).max(initial=0) < 1e-9


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.02, 0.98))
def test_whatever_is_left_of_a_surface_can_be_closed(seed, share):
    rng = np.random.default_rng(seed)
    made = of(trimesh.creation.icosphere(2)) if seed % 2 else of(trimesh.creation.torus(1.0, 0.4, 12, 8))
    left = rng.random(len(made.faces)) < share
    left[rng.integers(len(left))] = True
    closed = capped(made.kept(left))
    assert_closed(closed)
    triangles = made.vertices[made.faces[left]]
    assert np.array_equal(closed.vertices[closed.faces[: left.sum()]], triangles)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_parts_of_a_labeled_mesh_fill_it(seed):
    made = of(trimesh.creation.icosphere(3))
    seeds = np.random.default_rng(seed).normal(size=(5, 3))
    label = np.linalg.norm(made.vertices[made.faces].mean(1)[:, None] - seeds, axis=2).argmin(1)
    parts = [capped(made.kept(label == k)) for k in np.unique(label)]
    for part in parts:
        assert_closed(part)
    assert all(volume(part) > -1e-9 for part in parts)


@pytest.mark.parametrize("missing", [[0, 1], [0, 1, 2, 3], [0, 1, 10, 11], list(range(1, 12))])
def test_boxes_with_missing_faces(missing):
    made = of(trimesh.creation.box(extents=(1.0, 2.0, 3.0)))
    order = np.argsort(np.abs(made.normals()[made.faces].mean(1)).argmax(1), kind="stable")
    left = np.ones(12, dtype=bool)
    left[order[missing]] = False
    assert_closed(capped(made.kept(left)))


def test_an_open_box_gets_its_lid_back():
    made = of(trimesh.creation.box(extents=(1.0, 2.0, 3.0)))
    lid = (made.vertices[made.faces][..., 2] > 1).all(1)
    closed = capped(made.kept(~lid))
    assert_closed(closed)
    assert volume(closed) == pytest.approx(6)


def test_closed_surfaces_stay_as_they_are():
    mesh = colored()
    same = capped(mesh)
    assert np.array_equal(same.vertices, mesh.vertices)
    assert np.array_equal(same.faces, mesh.faces)
    assert np.array_equal(same.colors, mesh.colors)


def test_what_meets_in_a_vertex_or_an_edge_comes_apart():
    tip = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 1], [0, -1, 1]]), np.array([[0, 1, 2], [0, 3, 4]]))
    closed = capped(tip)
    assert len(closed.vertices) == 6
    assert_closed(closed)
    flaps = Mesh(np.array([[0.0, 0, 0], [0, 0, 1], [1, 0, 0], [-1, 1, 0], [-1, -1, 0]]),
                 np.array([[0, 1, 2], [0, 1, 3], [1, 0, 4]]))  # fmt: skip
    assert_closed(capped(flaps))
    folded = Mesh(tip.vertices, np.array([[0, 1, 2], [0, 1, 1], [3, 4, 0]]))
    assert_closed(capped(folded))


def test_colors_spread_from_the_rim():
    mesh = colored()
    mesh.colors = np.where(mesh.vertices[:, :1] > 0, 200, 100).repeat(3, axis=1).astype(np.uint8)
    open_ball = mesh.kept((mesh.vertices[mesh.faces][..., 2] < 0.5).all(1))
    open_ball.vertex_normals = open_ball.normals().astype(np.float32)
    closed = capped(open_ball)
    assert_closed(closed)
    added = slice(len(open_ball.vertices), None)
    shades = closed.colors[added, 0]
    assert 100 <= shades.min() < 120
    assert 180 < shades.max() <= 200
    assert shades[closed.vertices[added, 0] > 0].mean() > shades[closed.vertices[added, 0] < 0].mean() + 30
    assert closed.vertex_normals[added, 2].min() > 0.5
    assert closed.vertex_normals.dtype == np.float32


def test_faces_of_caps_show_one_color_of_the_texture():
    mesh = textured()
    lid = (mesh.vertices[mesh.faces][..., 2] > 1).all(1)
    box = mesh.kept(~lid)
    closed = capped(box)
    assert_closed(closed)
    assert closed.texture.color is mesh.texture.color
    assert len(closed.texture.corners) == len(closed.faces)
    assert np.array_equal(closed.texture.corners[:10], box.texture.corners)
    new = closed.texture.corners[10:]
    assert (new == new[:, :1]).all()
    rim = {int(box.texture.corners[f, k]) for f, k in np.argwhere(box.vertices[box.faces][..., 2] > 1)}
    assert set(new.ravel().tolist()) <= rim


def star(count: int) -> np.ndarray:
    angle = np.arange(count) / count * 2 * np.pi
    return np.stack((np.cos(angle), np.sin(angle)), 1) * np.where(np.arange(count) % 2, 1.0, 0.35)[:, None]


@pytest.mark.parametrize("count", [4, 5, 14, 60])
def test_sheets_fill_outlines_that_turn_inwards(count):
    flat = star(count)
    triangles, inner = sheet(np.pad(flat, ((0, 0), (0, 1))))
    points = np.concatenate((flat, inner[:, :2]))
    a, b, c = (points[triangles[:, k]] for k in range(3))
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    outline = (flat[:, 0] * np.roll(flat[:, 1], -1) - flat[:, 1] * np.roll(flat[:, 0], -1)).sum() / 2
    assert areas.min() > 0  # nothing folds over
    assert areas.sum() == pytest.approx(outline)


def test_long_rims_are_closed_quickly(monkeypatch):
    rim = np.pad(star(400), ((0, 0), (0, 1)))
    rim[:, 2] = np.sin(3 * np.arctan2(rim[:, 1], rim[:, 0]))
    ears = sheet(rim)
    monkeypatch.setattr(sheets, "MOST_EARS", 100)
    fan = sheet(rim)
    for triangles, inner in (ears, fan):
        assert np.abs(inner[:, 2]).max() <= 1  # no higher than the rim
        assert len(triangles) < 4 * sheets.ENOUGH * len(rim)
        assert len(np.unique(triangles)) == len(rim) + len(inner)


def test_rims_that_enclose_nothing():
    line = np.zeros((6, 3))
    line[:, 0] = [0, 1, 2, 3, 2, 1]
    for rim in (line, np.zeros((5, 3)), np.hstack((line, np.arange(6.0)[:, None]))):
        triangles, inner = sheet(rim)
        assert np.isfinite(inner).all()
        assert len(np.unique(triangles)) == len(rim) + len(inner)


def test_a_mesh_without_faces():
    nothing = colored().kept(np.zeros(320, dtype=bool))
    assert len(capped(replace(nothing)).faces) == 0


def test_crowded_edges_are_mended_and_other_holes_stay():
    """Two boxes that share an edge, one of them without its far side."""
    one = trimesh.creation.box().subdivide().subdivide()
    other = one.copy().apply_translation((1, 1, 0))
    far = np.asarray(other.triangles_center)[:, 0] > 1.49
    other.update_faces(~far)
    both = trimesh.util.concatenate((one, other))
    both.merge_vertices()
    made = of(both)
    edges = np.sort(np.concatenate((made.faces[:, :2], made.faces[:, 1:], made.faces[:, [2, 0]])), axis=1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() == 4
    after = mended(made)
    edges = np.sort(np.concatenate((after.faces[:, :2], after.faces[:, 1:], after.faces[:, [2, 0]])), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    assert counts.max() == 2
    assert (counts == 1).sum() == 16
    whole = trimesh.creation.icosphere(3)
    assert mended(of(whole)).faces.shape == whole.faces.shape
