"""The page of two runs in a real browser: they are compared, edited, exported, and what is written can be used."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.training.session import train_session
from fieldlab.view.channels import paint
from fieldlab.view.gbuffer import render_gbuffer
from fieldlab.view.server import Viewer
from fieldlab.view.shown_run import ShownRun
from tests.scenes import RADIUS, ball_scene, run_config
from tests.view.browsing import PATIENCE, Controls, drag, in_a_browser, opened, redrawn, screenshot, until

pytestmark = in_a_browser

STEPS = 120  # of the run that has learnt something
SHARPNESS = 0.25  # edited fields are drawn slowly


def trained(path, steps: int) -> ShownRun:
    config = run_config(steps=steps, samples_per_step=2048)
    for _ in train_session(RunFolder.create(path, config), ball_scene(12, 24), config, torch.device("cpu")).events():
        pass
    return ShownRun.load(path)


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    made = Viewer([trained(folder / "long", STEPS), trained(folder / "short", 5)], port=19400 + os.getpid() % 1000,
                  panels=[Controls()])  # fmt: skip
    yield made
    made.stop()


@pytest.fixture
def page(browser, viewer):
    with opened(browser, viewer, SHARPNESS) as made:
        yield made


def choose(page, label: str, option: str) -> None:
    """In a dropdown of the tab that is open."""
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    page.get_by_role("option", name=option, exact=True).locator("visible=true").click()


def test_two_runs_are_split_and_exchanged(viewer, page):
    visitor = page.visitor
    page.get_by_role("tab", name="A/B").click()
    page.get_by_role("cell", name=f"{STEPS} steps").wait_for()
    shown = redrawn(viewer, page, lambda: choose(page, "Show", "split"))
    assert visitor.display.compare == "split"
    _is_split(shown, visitor, *viewer.runs)
    shown = redrawn(viewer, page, page.get_by_role("button", name="Swap").click)
    _is_split(shown, visitor, *reversed(viewer.runs))
    shown = redrawn(viewer, page, lambda: choose(page, "Show", "difference"))
    assert visitor.display.compare == "difference"
    assert shown.std() > 5


def _is_split(shown: np.ndarray, visitor, left: ShownRun, right: ShownRun) -> None:
    height, width = shown.shape[:2]
    cameras = visitor.eye().cameras(width, height)
    wanted = [paint(render_gbuffer(run.model, cameras), run, visitor.display).numpy() for run in (left, right)]
    half, other = slice(0, width // 2 - 2), slice(width // 2 + 4, width)
    assert np.abs(shown[:, half] / 255 - wanted[0][:, half]).max() < 0.02
    assert np.abs(shown[:, other] / 255 - wanted[1][:, other]).max() < 0.02
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1


def test_an_edit_is_seen_undone_and_kept_as_a_run(viewer, page):
    visitor, original = page.visitor, viewer.runs[0]
    page.get_by_role("tab", name="Edit").click()
    choose(page, "Select by", "sphere")
    page.get_by_text("Show the selection").click()
    diameter = page.locator("input[inputmode=decimal]:visible, input[inputmode=numeric]:visible").first
    diameter.fill("4")
    diameter.press("Enter")
    until(page, lambda: page.controls.edit.size.value[0] == 4)
    before = visitor.shown.astype(int)
    choose(page, "Operation", "recolor")
    page.get_by_role("button", name="Apply").click()
    until(page, lambda: visitor.runs[0] is not original)
    until(page, lambda: _red(visitor.shown.astype(int)) > max(2 * _red(before), 0.02))
    page.get_by_role("button", name="Save as a run").click()
    made = original.folder / "edited" / "edited"
    until(page, lambda: (made / "checkpoints").exists() and list((made / "checkpoints").iterdir()))
    page.get_by_text("A field of its own").wait_for()
    model, _ = load_run(made)
    inside = torch.tensor([[RADIUS - 0.05, 0.0, 0.0]])
    red, green, blue = model.rgb(inside, torch.tensor([[-1.0, 0.0, 0.0]]))[0].tolist()
    assert green / blue == pytest.approx(60 / 40, abs=0.05)  # the hue, as bright as before
    assert red > 1.5 * green
    page.get_by_role("button", name="undo all").click()
    until(page, lambda: visitor.runs[0] is original)


def _red(picture: np.ndarray) -> float:
    return float((picture[..., 0] > picture[..., 1] + 80).mean())


def test_exports_can_be_used(viewer, page, browser):
    folder = viewer.runs[0].folder / "exports"
    page.get_by_role("tab", name="Export").click()
    choose(page, "Resolution", "128")
    made = {}
    for kind, suffix in (("mesh", ".glb"), ("point cloud", ".ply"), ("picture", ".png"), ("web page", ".html")):
        choose(page, "What", kind)
        with page.expect_download(timeout=1000 * PATIENCE):
            page.get_by_role("button", name="Export", exact=True).click()
        made[kind] = folder / f"long{suffix}"
        assert made[kind].exists()
    mesh = trimesh.load(made["mesh"], force="mesh")
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - RADIUS).mean() < 0.1
    assert len(trimesh.load(made["point cloud"]).vertices) > 1000
    picture = np.asarray(Image.open(made["picture"]))
    assert picture.shape[0] == 1080
    assert picture.std() > 10
    alone = browser.new_page(viewport={"width": 300, "height": 200}, offline=True)
    try:
        alone.goto(made["web page"].as_uri())
        until(alone, lambda: screenshot(alone)[:, :, :3].std() > 0.05)
    finally:
        alone.close()
    drag(viewer, page, 30, 10)
